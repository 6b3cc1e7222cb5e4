"""Accept: a message becomes rows in the ledger, its recipients dealt out to submissions. From then on it cannot be lost."""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from redis import Redis
from sqlalchemy import Engine

from worker import intake
from worker.domain.message import Message, Refused, from_json, id_of_key, is_id, read_message
from worker.domain.status import State
from worker.ledger import messages as kept
from worker.ledger import submissions
from worker.ledger.accounts import MsgIds
from worker.ledger.statements import chunks
from worker.ledger.submissions import STRAY_AFTER, Planned

log = logging.getLogger(__name__)

Accepted = Mapping[str, Sequence[int]]
"""Under each lane, the numbers of the submissions that are queued and want to be submitted now."""

Refuse = Callable[[str, Sequence[str], str, datetime], object]
"""Keeps as refused the message of this id, with its faults and its payload as it came."""


def accept(
    engine: Engine,
    msg_ids: MsgIds,
    account_ids: Mapping[str, int],
    messages: Sequence[Message],
    *,
    max_mobiles: int,
    now: datetime,
) -> dict[str, list[int]]:
    """Keeps the messages in one transaction; those that the ledger has already are left as they are.

    Returns, under each new message's id, the numbers of its submissions that are queued.
    """
    wanted = {message.id: message for message in reversed(messages)}
    # Taken first: it may need a transaction of its own. What a message that is there already would have had is wasted.
    ids = {
        message.id: iter(msg_ids.take(account_ids[message.account], -(-len(message.to) // max_mobiles)))
        for message in wanted.values()
    }
    with engine.begin() as connection:
        added = kept.add(connection, list(wanted.values()), account_ids, now=now)
        planned = [
            Planned(
                message_no=no,
                account_id=account_ids[message.account],
                lane=message.lane,
                msg_id=next(ids[message.id]),
                mobiles=mobiles,
                # A message for later is held until then; any other is queued, and a stray if nobody claims it.
                state=State.HELD if message.at and message.at > now else State.QUEUED,
                due_at=message.at if message.at and message.at > now else now + STRAY_AFTER,
                expires_at=message.expires_at,
            )
            for message, no in ((wanted[message_id], no) for message_id, no in added.items())
            for mobiles in chunks(message.to, max_mobiles)
        ]
        nos = submissions.add(connection, planned, now=now) if planned else []
    for message_id in wanted.keys() - added.keys():
        log.info("message %s is in the ledger already", message_id)
    id_of = {no: message_id for message_id, no in added.items()}
    queued: dict[str, list[int]] = {message_id: [] for message_id in added}
    for one, no in zip(planned, nos, strict=True):
        if one.state is State.QUEUED:
            queued[id_of[one.message_no]].append(no)
    return queued


def accept_by_name(
    accept_together: Callable[[Sequence[Message]], Accepted],
    refuse: Refuse,
    fields: object,
    task_id: str,
    accounts: Collection[str],
    *,
    now: datetime,
) -> Accepted:
    """Accepts a message that somebody published by name, or keeps it as refused, with its faults."""
    default_id = task_id if is_id(task_id) else id_of_key(task_id)
    try:
        message = read_message(fields, now=now, default_id=default_id, accounts=accounts)
    except Refused as why:
        refuse(default_id, [str(fault) for fault in why.faults], json.dumps(fields), now)
        return {}
    return accept_together([message])


def accept_from_intake(
    redis: Redis,
    accept_together: Callable[[Sequence[Message]], Accepted],
    refuse: Refuse,
    lane: str,
    ids: Sequence[str],
    accounts: Collection[str],
    *,
    now: datetime,
) -> Accepted:
    """Accepts the messages of these ids that still lie in the intake, and takes them out once the ledger has them."""
    found = intake.read(redis, lane, ids)
    messages = []
    for message_id, text in found.items():
        try:
            message = from_json(text)
        except (ValueError, TypeError, KeyError) as why:
            refuse(message_id, [f"it lay in the intake and cannot be read: {why!r}"], text, now)
            continue
        if message.account in accounts:
            messages.append(message)
        else:
            fault = f"account {message.account!r} is unknown; there are {', '.join(sorted(accounts))}"
            refuse(message_id, [fault], text, now)
    accepted = accept_together(messages) if messages else {}
    if found:
        intake.remove(redis, lane, found.keys())
    return accepted


def by_lane(messages: Sequence[Message], queued: Mapping[str, list[int]]) -> Accepted:
    """The queued submissions of these messages, by lane."""
    lanes: defaultdict[str, list[int]] = defaultdict(list)
    for message in messages:
        lanes[message.lane] += queued.get(message.id, [])
    return lanes


def refuse(engine: Engine, message_id: str, faults: Sequence[str], payload: str, now: datetime) -> None:
    """Keeps a message that cannot be sent, with its faults, for its sender to see."""
    with engine.begin() as connection:
        kept.refuse(connection, message_id, faults, payload, now=now)
    log.warning("message %s is refused, see `sms messages --refused`: %d faults", message_id, len(faults))
