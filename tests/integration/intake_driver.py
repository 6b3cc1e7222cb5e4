"""Takes what waits in the intake into the ledger, as a worker does."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial

from ledger_driver import NOW, Ledger
from redis import Redis

from worker.domain.lane import LANES
from worker.domain.message import Message
from worker.sending.take_in import refuse, take_in


def taken_in(
    ledger: Ledger,
    redis: Redis,
    lane: str = "notice",
    accept: Callable[[Sequence[Message]], object] | None = None,
    accounts: Collection[str] = ("default",),
    now: datetime = NOW,
) -> bool:
    return take_in(
        redis,
        accept or (lambda messages: ledger.accept(*messages)),
        partial(refuse, ledger.engine),
        LANES[lane],
        accounts,
        now=now,
    )
