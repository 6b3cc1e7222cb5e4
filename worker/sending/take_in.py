"""Take in: what waits in the intake of a lane is accepted, kept as refused, or left to a worker that has its account."""

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
from worker.ledger.errors import is_its_own
from worker.ledger.sending import messages as kept
from worker.redis_store import intake, intake_parked

log = logging.getLogger(__name__)

Accept = Callable[[Sequence[Message]], object]
"""Keeps these messages in the ledger."""

Refuse = Callable[[str, Sequence[str], str | bytes, datetime], object]
"""Keeps as refused the message of this id, with its faults and its payload as it came."""


def take_in(
    redis: Redis, accept_together: Accept, refuse: Refuse, lane: Lane, accounts: Collection[str], *, now: datetime
) -> bool:
    """Accepts what waits in the intake of the lane, and takes it out once the ledger has it. Returns whether there was any.

    A message of an account that is not among `accounts` is parked there while it is valid: another worker may have newer settings.
    """
    items = intake.take(redis, lane.name, accounts=accounts, now=now)
    messages = []
    unknown: defaultdict[str, dict[bytes, datetime]] = defaultdict(dict)
    for item_id, item in items.items():
        try:
            message = intake.read(lane.name, item_id, item)
        except Refused as why:
            name = item_id.decode("ascii", "replace")
            name = name if is_id(name) else id_of(item_id)
            refuse(name, [str(fault) for fault in why.faults], intake.payload(item), now)
            continue
        if message.account in accounts:
            messages.append(message)
        elif now < expires_at(message, lane):
            unknown[message.account][item_id] = expires_at(message, lane)
        else:
            fault = f"account {message.account!r} was unknown for as long as it was valid; the accounts are: {', '.join(sorted(accounts))}"
            refuse(message.id, [fault], item, now)
    if messages:
        accept_each(accept_together, refuse, messages, now=now)
    for account, parked in unknown.items():
        intake_parked.park(redis, lane.name, account, parked)
        log.warning("%d messages wait for a worker that has the account %r", len(parked), account)
    if done := items.keys() - {item_id for parked in unknown.values() for item_id in parked}:
        intake.remove(redis, lane.name, done)
    return bool(items)


def accept_each(accept_together: Accept, refuse: Refuse, messages: Sequence[Message], *, now: datetime) -> None:
    """Accepts the messages together. If the ledger will not have one of them, that one is refused, and the others are accepted.

    The one is looked for by halves: of 500 messages, with one that is bad, that takes some ten transactions.
    """
    try:
        accept_together(messages)
    except Exception as error:
        if not is_its_own(error):
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
        kept.refuse(connection, message_id, faults, payload, now=now)
    log.warning("message %s is refused, see `sms messages --refused`: %d faults", message_id, len(faults))
