"""Accept: a message becomes rows in the ledger, its recipients dealt out to submissions. From then on it cannot be lost.

The caps of a lane are looked at before the transaction and counted after it: only what it added is counted, and once, and
nothing is suppressed by its own first try. A worker that is killed in between leaves its messages uncounted. Those who accept
messages to one mobile in the same moment may each find room. To err on that side sends one text too many, on the other it would withhold a code.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from redis import Redis
from sqlalchemy import Connection, Engine

from worker.domain.caps import Capped
from worker.domain.lane import LANES, Lane, lane_of_queue
from worker.domain.message import Fault, Message, Refused, as_caller, id_of, is_id, read_message, to_json
from worker.domain.status import State, Suppression
from worker.ledger.errors import is_its_own
from worker.ledger.sending import messages as kept
from worker.ledger.sending import optouts, submissions
from worker.ledger.sending.accounts import MsgIds
from worker.ledger.sending.submissions import Planned
from worker.redis_store import intake

log = logging.getLogger(__name__)

LIKE = timedelta(minutes=1)
"""Messages share a call where they expire within so much of each other, or within a hundredth of their validity if that is less."""

Accept = Callable[[Sequence[Message]], object]
"""Keeps these messages in the ledger."""

Refuse = Callable[[str, Sequence[str], str | bytes, datetime], object]
"""Keeps as refused the message of this id, with its faults and its payload as it came."""

Earliest = Callable[[str, Lane, datetime], datetime]
"""The first moment from then on at which a message of that account (its name) and lane may be sent."""

LargestCall = Callable[[str, Lane], int]
"""How many mobiles a call of that account (its name) and lane may have."""

Room = Callable[[Collection[Capped]], dict[Capped, int]]
"""How often each of them may still be sent to. Raises where nobody can say."""

Count = Callable[[Sequence[Capped]], object]
"""Counts that they are sent to, each as often as it is there."""


def accept(
    engine: Engine,
    msg_ids: MsgIds,
    account_ids: Mapping[str, int],
    messages: Sequence[Message],
    *,
    max_mobiles: LargestCall,
    lanes: Mapping[str, Lane],
    earliest: Earliest,
    room: Room,
    count: Count,
    now: datetime,
    only_if: Callable[[Connection], bool] = lambda _: True,
) -> bool:
    """Keeps the messages in one transaction; those that the ledger has already are left as they are.

    Whatever `only_if` does is done in that transaction, before anything else; where it says False nothing is kept, and this is False.

    Recipients who opted out, in a lane that heeds it, are kept as suppressed, and so are those for whom their lane's caps have no
    room left; `room` and `count` are for those of lanes with caps alone.
    """
    wanted: dict[str, Message] = {}
    for message in messages:
        wanted.setdefault(message.id, message)
    capped = {one for message in wanted.values() if lanes[message.lane].caps for one in _capped(message)}
    left = room(capped) if capped else {}
    full = {one for one, times in left.items() if times < 1}
    calls = [
        (together, recipients)
        for together in _together(wanted.values(), lanes)
        for recipients in _dealt(_recipients(together, full), max_mobiles(together[0].account, lanes[together[0].lane]))
    ]
    # Taken first: it may need a transaction of its own. What a message that is there already would have had is wasted.
    wants = Counter(together[0].account for together, _ in calls)
    ids = {account: iter(msg_ids.take(account_ids[account], count)) for account, count in wants.items()}
    with engine.begin() as connection:
        if not only_if(connection):
            return False
        added = kept.add(connection, list(wanted.values()), account_ids, now=now)
        new = [message for message in wanted.values() if message.id in added]
        opted_out = _opted_out(connection, new, account_ids, lanes)
        sent, over_cap = _within_caps(new, left, opted_out)
        left_out = opted_out | over_cap
        planned = []
        for together, recipients in calls:
            first = together[0]
            due_at = earliest(first.account, lanes[first.lane], first.at or now)
            to = [
                (added[message_id], mobile)
                for message_id, mobile in recipients
                if message_id in added and (message_id, mobile) not in left_out
            ]
            if to:
                planned.append(
                    Planned(
                        account_id=account_ids[first.account],
                        lane=first.lane,
                        caller=first.caller,
                        msg_id=next(ids[first.account]),
                        recipients=to,
                        state=State.HELD if due_at > now else State.QUEUED,
                        due_at=due_at,
                        expires_at=min(_expires_at(one, lanes[one.lane]) for one in together),
                    )
                )
        if planned:
            submissions.add(connection, planned, now=now)
        for some, why in ((opted_out, Suppression.OPTOUT), (over_cap, Suppression.CAP)):
            if some:
                kept.suppress(connection, [(added[message_id], mobile) for message_id, mobile in some], why)
        others = kept.others(connection, [one for one in messages if one.id not in added or wanted[one.id] is not one])
        for one in others:
            fault = "its id or key is that of another message, see `sms show`; give it one of its own"
            kept.refuse(connection, one.id, [fault], to_json(one), now=now)
    if sent:
        count(sent)
    if left_out:
        log.info("%d recipients opted out, and %d are over the caps of their lanes", len(opted_out), len(over_cap))
    for message_id in wanted.keys() - added.keys():
        log.info("message %s is in the ledger already", message_id)
    if others:
        log.warning("%d messages have the id of another one and are refused, see `sms messages --refused`", len(others))
    return True


def _expires_at(message: Message, lane: Lane) -> datetime:
    return (message.at or message.created_at) + (message.valid_for or lane.validity)


def _capped(message: Message) -> Iterable[Capped]:
    return (Capped(message.account, message.lane, mobile) for mobile in message.to)


def _recipients(messages: Iterable[Message], full: Collection[Capped]) -> Iterable[tuple[str, str]]:
    """The recipients, (message id, mobile) each, without those for whom there is no room in any case."""
    for message in messages:
        for mobile in message.to:
            if not full or Capped(message.account, message.lane, mobile) not in full:
                yield message.id, mobile


def _opted_out(
    connection: Connection, messages: Sequence[Message], account_ids: Mapping[str, int], lanes: Mapping[str, Lane]
) -> set[tuple[str, str]]:
    """Who opted out of what is sent to them: (message id, mobile) each."""
    heeding = [message for message in messages if lanes[message.lane].heeds_optouts]
    mobiles: defaultdict[str, set[str]] = defaultdict(set)
    for message in heeding:
        mobiles[message.account].update(message.to)
    found = {account: optouts.of(connection, account_ids[account], some) for account, some in mobiles.items()}
    return {(message.id, mobile) for message in heeding for mobile in found[message.account].intersection(message.to)}


def _within_caps(
    messages: Iterable[Message], left: Mapping[Capped, int], but: Collection[tuple[str, str]]
) -> tuple[list[Capped], set[tuple[str, str]]]:
    """Who but those takes the room that is left, in this order, and who finds none: (message id, mobile) each."""
    left = dict(left)
    sent: list[Capped] = []
    left_out: set[tuple[str, str]] = set()
    for message in messages if left else ():
        for one in _capped(message):
            if (message.id, one.mobile) in but:
                continue
            if left.get(one, 0) > 0:
                left[one] -= 1
                sent.append(one)
            elif one in left:
                left_out.add((message.id, one.mobile))
    return sent, left_out


def _together(messages: Iterable[Message], lanes: Mapping[str, Lane]) -> Iterable[Sequence[Message]]:
    """The messages that may share a call: the same text at the same time, in a lane that lets them, and with like expiries.

    A shared call expires with the first of its messages.
    """
    same: defaultdict[tuple[object, ...], list[Message]] = defaultdict(list)
    for message in messages:
        lane = lanes[message.lane]
        valid_for = message.valid_for or lane.validity
        like = _expires_at(message, lane).timestamp() // max(min(valid_for / 100, LIKE).total_seconds(), 0.001)
        alike = (message.content, message.at, valid_for, like) if lane.shares_calls else message.id
        same[message.account, message.lane, message.caller, alike].append(message)
    return same.values()


def _dealt(recipients: Iterable[tuple[str, str]], most: int) -> list[list[tuple[str, str]]]:
    """The recipients, (message id, mobile) each, dealt out to calls of at most so many; nobody is twice in one call."""
    full: list[dict[str, str]] = []
    open_: list[dict[str, str]] = []
    for message_id, mobile in recipients:
        call = next((call for call in open_ if mobile not in call), None)
        if call is None:
            call = {}
            open_.append(call)
        call[mobile] = message_id
        if len(call) == most:
            open_.remove(call)
            full.append(call)
    return [[(message_id, mobile) for mobile, message_id in call.items()] for call in full + open_]


def accept_by_name(
    redis: Redis,
    fields: object,
    task_id: str,
    *,
    caller: str,
    queue: str | None = None,
    now: datetime,
) -> str:
    """Puts a message that somebody published by name into the intake, or what cannot be sent, to be kept as refused. Its lane.

    The queue that it came by says which lane it is of, where it does not say so itself; both may not differ. Where neither
    says so it is refused: taken for a notice, a code would be sent for a day.
    """
    default_id = task_id if is_id(task_id) else id_of(task_id.encode("utf-8", "surrogatepass"))
    lane = lane_of_queue(queue)
    try:
        if lane is None and queue is not None and isinstance(fields, Mapping) and not fields.get("lane"):
            queues = ", ".join(one.queue for one in LANES.values())
            raise Refused(
                [Fault("lane", f"is missing, and the queue {queue} is that of no lane; send it to one of {queues}")]
            )
        # Of any account: a worker that does not know it leaves it in the intake, for another may have newer settings.
        message = read_message(fields, now=now, default_id=default_id, caller=as_caller(caller), lane=lane)
        intake.put(redis, [message], now=now, if_full=True)
    except Refused as why:
        lane = lane or next(iter(LANES))
        intake.put_foreign(redis, lane, default_id, _payload(fields).encode(), why.faults, now=now)
        return lane
    return message.lane


def _payload(fields: object) -> str:
    # Celery's JSON also carries times and the like, and something may be nested deeper than can be written.
    try:
        return json.dumps(fields, default=str)
    except (TypeError, ValueError, RecursionError) as why:
        return f"a {type(fields).__name__} that cannot be written as JSON: {type(why).__name__}"


def accept_from_intake(
    redis: Redis, accept_together: Accept, refuse: Refuse, lane: Lane, accounts: Collection[str], *, now: datetime
) -> bool:
    """Accepts what waits in the intake of the lane, and takes it out once the ledger has it. Whether there was any.

    A message of an account that is not among `accounts` is parked there while it is valid: another worker may have newer settings.
    """
    found = intake.take(redis, lane.name, accounts=accounts, now=now)
    messages = []
    unknown: defaultdict[str, dict[bytes, datetime]] = defaultdict(dict)
    for item_id, item in found.items():
        try:
            message = intake.read(lane.name, item_id, item)
        except Refused as why:
            name = item_id.decode("ascii", "replace")
            name = name if is_id(name) else id_of(item_id)
            refuse(name, [str(fault) for fault in why.faults], intake.payload(item), now)
            continue
        if message.account in accounts:
            messages.append(message)
        elif now < _expires_at(message, lane):
            unknown[message.account][item_id] = _expires_at(message, lane)
        else:
            fault = f"account {message.account!r} was unknown for as long as it was valid; the accounts are: {', '.join(sorted(accounts))}"
            refuse(message.id, [fault], item, now)
    if messages:
        accept_each(accept_together, refuse, messages, now=now)
    for account, some in unknown.items():
        intake.park(redis, lane.name, account, some)
        log.warning("%d messages wait for a worker that has the account %r", len(some), account)
    if done := found.keys() - {item_id for some in unknown.values() for item_id in some}:
        intake.remove(redis, lane.name, done)
    return bool(found)


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
