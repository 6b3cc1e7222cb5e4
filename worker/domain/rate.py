"""The rate that the gateway allows an account."""

from dataclasses import dataclass
from math import ceil, inf

BURST_SECONDS = 0.2
"""A bucket holds the tokens of this time (`redis_store/rate.lua` says why), but at least LEAST_BURST tokens."""
LEAST_BURST = 2


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls and mobiles a second; None where there is no limit. Raises ValueError if one is not above 0 and finite."""

    calls: float | None = None
    mobiles: float | None = None

    def __post_init__(self) -> None:
        for rate in (self.calls, self.mobiles):
            if rate is not None and not 0 < rate < inf:
                raise ValueError(f"a rate is more than 0 a second, or None for no limit: {self}")

    def largest_call(self, most: int, floor: float) -> int:
        """How many mobiles a call of a lane with that floor may have, up to `most`.

        The bucket always holds the tokens of such a call, so none leaves a debt. The call leaves the tokens below the
        floor to other lanes. It does not where the limit of calls is so low that smaller calls would waste that of
        mobiles.
        """
        if self.mobiles is None:
            return most
        holds = max(self.mobiles * BURST_SECONDS, LEAST_BURST)
        worth_a_call = ceil(self.mobiles / self.calls) if self.calls else 1
        return min(most, max(int(holds * (1 - floor)), min(worth_a_call, int(holds)), 1))
