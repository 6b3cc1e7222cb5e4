"""Probe: claims one submission through a closed gate, to see whether the gate can be opened again."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Engine

from worker.domain.policy import Policy
from worker.domain.submission import Claimed
from worker.ledger.sending import claims
from worker.ledger.sending.accounts import MsgIds

ClaimProbe = Callable[[int], Sequence[Claimed] | None]
"""Claims a probe for the account of that id. Returns None where only another process may make one."""


def prober(
    engine: Engine,
    msg_ids: MsgIds,
    policy: Policy,
    *,
    may_probe: Callable[[], bool],
    clock: Callable[[], datetime],
    lease: timedelta,
) -> ClaimProbe:
    """Returns the function that claims probes in this process. `may_probe` says whether this process reaches the
    gateway.
    """

    def claim_probe(account_id: int) -> Sequence[Claimed] | None:
        if account_id not in policy.account_ids.values() or not may_probe():
            return None
        [msg_id] = msg_ids.take(account_id, 1)
        with engine.begin() as connection:
            now = clock()
            lanes = policy.lanes_open(account_id, now)
            return claims.claim_probe(connection, account_id, lanes, msg_id=msg_id, now=now, lease=lease)

    return claim_probe
