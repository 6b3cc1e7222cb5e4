"""What the gateway allows an account."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls and mobiles a second; None where there is no limit. ValueError for what is no rate."""

    calls: float | None = None
    mobiles: float | None = None

    def __post_init__(self) -> None:
        for rate in (self.calls, self.mobiles):
            if rate is not None and not 0 < rate < inf:
                raise ValueError(f"a rate is more than 0 a second, or None for no limit: {self}")
