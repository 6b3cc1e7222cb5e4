"""Take in: accepts the messages that wait in the intake of a lane, refuses them, or leaves them to a worker that has
their account.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from redis import Redis
from sqlalchemy import Engine

from worker.domain.lane import Lane
from worker.domain.message import Message, Refused, id_of, is_id
from worker.domain.message_json import to_json
from worker.domain.policy import expires_at
from worker.ledger.errors import is_row_fault
from worker.ledger.sending import messages as ledger_messages
from worker.redis_store import intake, intake_parked

log = logging.getLogger(__name__)

Accept = Callable[[Sequence[Message]], object]
"""Keeps these messages in the ledger."""

Refuse = Callable[[str, Sequence[str], str | bytes, datetime], object]
"""Keeps the message of this id as refused, with its faults and its payload as it came."""


def take_in(
    redis: Redis, accept_together: Accept, refuse: Refuse, lane: Lane, accounts: Collection[str], *, now: datetime
) -> bool:
    """Accepts the messages that wait in the intake of the lane, and removes them from it once the ledger has them.
    Returns whether there were any.

    A message of an account that is not among `accounts` is parked in the intake while it is valid: another worker may
    have newer settings.
    """
    items = intake.take(redis, lane.name, accounts=accounts, now=now)
    messages = []
    parked: defaultdict[str, dict[bytes, datetime]] = defaultdict(dict)
    for item_id, item in items.items():
        message = _read(lane, item_id, item, refuse, now)
        if message is None:
            continue
        if message.account in accounts:
            messages.append(message)
        elif now < expires_at(message, lane):
            parked[message.account][item_id] = expires_at(message, lane)
        else:
            names = ", ".join(sorted(accounts))
            fault = f"account {message.account!r} was unknown for as long as it was valid; the accounts are: {names}"
            refuse(message.id, [fault], item, now)
    if messages:
        accept_each(accept_together, refuse, messages, now=now)
    for account, ids in parked.items():
        intake_parked.park(redis, lane.name, account, ids)
        log.warning("%d messages wait for a worker that has the account %r", len(ids), account)
    if done := items.keys() - {item_id for ids in parked.values() for item_id in ids}:
        intake.remove(redis, lane.name, done)
    return bool(items)


def _read(lane: Lane, item_id: bytes, item: bytes, refuse: Refuse, now: datetime) -> Message | None:
    """Returns the message of an item of the intake. Refuses an item that is not a message, and returns None."""
    try:
        return intake.read(lane.name, item_id, item)
    except Refused as error:
        name = item_id.decode("ascii", "replace")
        name = name if is_id(name) else id_of(item_id)
        refuse(name, [str(fault) for fault in error.faults], intake.payload(item), now)
        return None


def accept_each(accept_together: Accept, refuse: Refuse, messages: Sequence[Message], *, now: datetime) -> None:
    """Accepts the messages together. If the ledger cannot hold one of them, that one is refused, and the others are
    accepted.

    It is found by halving: one bad message among 500 takes some ten transactions.
    """
    try:
        accept_together(messages)
    except Exception as error:
        if not is_row_fault(error):
            raise
        if len(messages) == 1:
            cause = getattr(error, "orig", None) or error
            fault = f"the ledger cannot hold it, {type(cause).__name__}: {str(cause)[:200]}"
            refuse(messages[0].id, [fault], to_json(messages[0]), now)
            return
        middle = len(messages) // 2
        for half in messages[:middle], messages[middle:]:
            accept_each(accept_together, refuse, half, now=now)


def refuse(engine: Engine, message_id: str, faults: Sequence[str], payload: str | bytes, now: datetime) -> None:
    """Keeps a message that cannot be sent, with its faults, for its sender to see."""
    with engine.begin() as connection:
        ledger_messages.refuse(connection, message_id, faults, payload, now=now)
    log.warning("message %s is refused, see `sms messages --refused`: %d faults", message_id, len(faults))
