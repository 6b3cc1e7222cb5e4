"""Accept: a message becomes rows in the ledger, its recipients dealt out to submissions. From then on it cannot be lost.

The caps of a lane are looked at before the transaction, and counted after it. So what the transaction added is counted once, and
a message that is tried again is not suppressed by its own first try. A worker that is killed in between leaves its messages
uncounted. Two workers that accept messages to one mobile at the same moment may both find room. Both errors send one text too
many; the other side would withhold a code.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from worker.domain.caps import Capped
from worker.domain.message import Message
from worker.domain.message_json import to_json
from worker.domain.policy import Policy
from worker.domain.status import State, Suppression
from worker.domain.submission import NewSubmission
from worker.ledger.sending import messages as kept
from worker.ledger.sending import optouts, submissions
from worker.ledger.sending.accounts import MsgIds

log = logging.getLogger(__name__)

LIKE = timedelta(minutes=1)
"""Messages share a call if they expire within this time of each other, or within a hundredth of their validity if that is less."""

Room = Callable[[Collection[Capped]], dict[Capped, int]]
"""How often each of them may still be sent to. Raises where nobody can say."""

Count = Callable[[Sequence[Capped]], object]
"""Counts that they are sent to, each as often as it is there."""

Recipient = tuple[str, str]
"""The id of a message, and a mobile."""


@dataclass(frozen=True, slots=True)
class Reception:
    """Where messages are accepted: a ledger with its msgIds, the policy, and the caps."""

    engine: Engine
    msg_ids: MsgIds
    policy: Policy
    room: Room
    count: Count


@dataclass(frozen=True, slots=True)
class _Call:
    """Messages that share a call, and those of their recipients that it would go to."""

    messages: Sequence[Message]
    recipients: Sequence[Recipient]


def accept(
    reception: Reception,
    messages: Sequence[Message],
    *,
    now: datetime,
    only_if: Callable[[Connection], bool] = lambda _: True,
) -> bool:
    """Keeps the messages in one transaction; those that the ledger has already are left as they are.

    `only_if` is called first, in that transaction. Where it returns False nothing is kept, and this returns False.

    Recipients who opted out, in a lane that heeds it, are kept as suppressed. So are those for whom the caps of their lane have
    no room left. The caps are asked for lanes that have some alone.
    """
    policy = reception.policy
    wanted: dict[str, Message] = {}
    for message in messages:
        wanted.setdefault(message.id, message)
    capped = {each for message in wanted.values() if policy.lanes[message.lane].caps for each in _capped(message)}
    room = reception.room(capped) if capped else {}
    calls = _calls(wanted.values(), policy, full={each for each, times in room.items() if times < 1})
    # Taken first: it may need a transaction of its own. What a message that is there already would have had is wasted.
    msg_ids = _msg_ids(reception, calls)
    with reception.engine.begin() as connection:
        if not only_if(connection):
            return False
        added = kept.add(connection, list(wanted.values()), policy.account_ids, now=now)
        new = [message for message in wanted.values() if message.id in added]
        opted_out = _opted_out(connection, new, policy)
        sent, over_cap = _within_caps(new, room, opted_out)
        if rows := list(_submissions(calls, added, opted_out | over_cap, msg_ids, policy, now)):
            submissions.add(connection, rows, now=now)
        for left_out, why in ((opted_out, Suppression.OPTOUT), (over_cap, Suppression.CAP)):
            if left_out:
                kept.suppress(connection, [(added[message_id], mobile) for message_id, mobile in left_out], why)
        known = [message for message in messages if message.id not in added or wanted[message.id] is not message]
        clashing = _refuse_clashing(connection, known, now)
    if sent:
        reception.count(sent)
    if opted_out or over_cap:
        log.info("%d recipients opted out, and %d are over the caps of their lanes", len(opted_out), len(over_cap))
    for message_id in wanted.keys() - added.keys():
        log.info("message %s is in the ledger already", message_id)
    if clashing:
        log.warning("%d messages have the id of another one and are refused, see `sms messages --refused`", clashing)
    return True


def _calls(messages: Iterable[Message], policy: Policy, *, full: Collection[Capped]) -> list[_Call]:
    return [
        _Call(together, recipients)
        for together in _together(messages, policy)
        for recipients in _dealt(
            _recipients(together, full), policy.largest_call(together[0].account, together[0].lane)
        )
    ]


def _msg_ids(reception: Reception, calls: Iterable[_Call]) -> dict[str, Iterator[int]]:
    """A msgId for each of the calls, by the name of its account."""
    counts = Counter(call.messages[0].account for call in calls)
    ids = reception.policy.account_ids
    return {account: iter(reception.msg_ids.take(ids[account], count)) for account, count in counts.items()}


def _submissions(
    calls: Iterable[_Call],
    added: Mapping[str, int],
    left_out: Collection[Recipient],
    msg_ids: Mapping[str, Iterator[int]],
    policy: Policy,
    now: datetime,
) -> Iterator[NewSubmission]:
    """The calls of which somebody is left, each as a submission: of messages that are new, to recipients who are not left out."""
    for call in calls:
        first = call.messages[0]
        to = [
            (added[message_id], mobile)
            for message_id, mobile in call.recipients
            if message_id in added and (message_id, mobile) not in left_out
        ]
        if to:
            due_at = policy.due_at(first, now)
            yield NewSubmission(
                account_id=policy.account_ids[first.account],
                lane=first.lane,
                caller=first.caller,
                msg_id=next(msg_ids[first.account]),
                recipients=to,
                state=State.HELD if due_at > now else State.QUEUED,
                due_at=due_at,
                expires_at=min(map(policy.expires_at, call.messages)),
            )


def _refuse_clashing(connection: Connection, known: Sequence[Message], now: datetime) -> int:
    """Keeps as refused those whose id is that of another message. Returns how many."""
    clashing = kept.others(connection, known)
    for message in clashing:
        fault = "its id or key is that of another message, see `sms show`; give it one of its own"
        kept.refuse(connection, message.id, [fault], to_json(message), now=now)
    return len(clashing)


def _capped(message: Message) -> Iterable[Capped]:
    return (Capped(message.account, message.lane, mobile) for mobile in message.to)


def _recipients(messages: Iterable[Message], full: Collection[Capped]) -> Iterable[Recipient]:
    """The recipients, without those for whom there is no room in any case."""
    for message in messages:
        for mobile in message.to:
            if not full or Capped(message.account, message.lane, mobile) not in full:
                yield message.id, mobile


def _opted_out(connection: Connection, messages: Sequence[Message], policy: Policy) -> set[Recipient]:
    """Recipients who opted out of what is sent to them."""
    heeding = [message for message in messages if policy.lanes[message.lane].heeds_optouts]
    mobiles: defaultdict[str, set[str]] = defaultdict(set)
    for message in heeding:
        mobiles[message.account].update(message.to)
    opted_out = {
        account: optouts.opted_out(connection, policy.account_ids[account], to) for account, to in mobiles.items()
    }
    return {
        (message.id, mobile) for message in heeding for mobile in opted_out[message.account].intersection(message.to)
    }


def _within_caps(
    messages: Iterable[Message], room: Mapping[Capped, int], opted_out: Collection[Recipient]
) -> tuple[list[Capped], set[Recipient]]:
    """Whom the caps have room for, in this order, and recipients they have none for. Those who opted out take no room."""
    left = dict(room)
    sent: list[Capped] = []
    over_cap: set[Recipient] = set()
    for message in messages if left else ():
        for capped in _capped(message):
            if (message.id, capped.mobile) in opted_out:
                continue
            if left.get(capped, 0) > 0:
                left[capped] -= 1
                sent.append(capped)
            elif capped in left:
                over_cap.add((message.id, capped.mobile))
    return sent, over_cap


def _together(messages: Iterable[Message], policy: Policy) -> Iterable[Sequence[Message]]:
    """The messages that may share a call: the same text at the same time, in a lane that lets them, and with like expiries.

    A shared call expires with the first of its messages.
    """
    same: defaultdict[tuple[object, ...], list[Message]] = defaultdict(list)
    for message in messages:
        lane = policy.lanes[message.lane]
        valid_for = message.valid_for or lane.validity
        like = policy.expires_at(message).timestamp() // max(min(valid_for / 100, LIKE).total_seconds(), 0.001)
        alike = (message.content, message.at, valid_for, like) if lane.shares_calls else message.id
        same[message.account, message.lane, message.caller, alike].append(message)
    return same.values()


def _dealt(recipients: Iterable[Recipient], most: int) -> list[list[Recipient]]:
    """Deals the recipients out to calls of at most `most`; nobody is twice in one call."""
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
