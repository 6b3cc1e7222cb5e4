"""Accept: a message becomes rows in the ledger, its recipients dealt out to submissions. From then on it cannot be
lost.

The caps of a lane are looked at before the transaction, and counted after it. So each message is counted once, and a
message that is tried again is not suppressed by its own first try. A worker that is killed in between leaves its
messages uncounted. Two workers that accept messages to one mobile at the same moment may both find room. Both errors
send one text too many; the opposite order would withhold a code.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from worker.domain.caps import CapKey, Room
from worker.domain.message import Message
from worker.domain.message_json import to_json
from worker.domain.policy import Policy
from worker.domain.status import State, Suppression
from worker.domain.submission import NewSubmission
from worker.ledger.sending import messages as ledger_messages
from worker.ledger.sending import optouts, submissions
from worker.ledger.sending.accounts import MsgIds

log = logging.getLogger(__name__)

LIKE = timedelta(minutes=1)
"""Messages share a call if they expire within this time of each other, or within a hundredth of their validity if that
is less.
"""

Count = Callable[[Sequence[CapKey]], object]
"""Counts that they are sent to, each as often as it occurs."""

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
class _CallPlan:
    """Messages that share a call, and those of their recipients that the call goes to."""

    messages: Sequence[Message]
    recipients: Sequence[Recipient]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages to be kept in one transaction, with what was looked up before it."""

    messages: Sequence[Message]
    by_id: Mapping[str, Message]
    """The first message of each id."""
    room: Mapping[CapKey, int]
    """How often each capped mobile may still be sent to."""
    calls: Sequence[_CallPlan]
    msg_ids: Mapping[str, Iterator[int]]
    """A msgId for each call, by the name of its account."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The result of the transaction."""

    row_ids: Mapping[str, int]
    """The row id of each new message, by its id."""
    sent: Sequence[CapKey]
    """The capped mobiles to be sent to, each as often as it is."""
    opted_out: Collection[Recipient]
    over_cap: Collection[Recipient]
    clashing: int
    """The number of messages whose id the ledger has for another one."""


def accept(
    reception: Reception,
    messages: Sequence[Message],
    *,
    now: datetime,
    only_if: Callable[[Connection], bool] = lambda _: True,
) -> bool:
    """Keeps the messages in one transaction. Messages that the ledger has already stay as they are.

    `only_if` is called first, in that transaction. Where it returns False nothing is kept, and this returns False.

    Recipients who opted out are kept as suppressed, in a lane that heeds opt-outs. So are those for whom the caps of
    their lane have no room left. Only lanes with caps ask for room.
    """
    batch = _prepare(reception, messages)
    with reception.engine.begin() as connection:
        if not only_if(connection):
            return False
        kept = _keep(connection, batch, reception.policy, now)
    if kept.sent:
        reception.count(kept.sent)
    _log(batch, kept)
    return True


def _prepare(reception: Reception, messages: Sequence[Message]) -> _Batch:
    policy = reception.policy
    by_id: dict[str, Message] = {}
    for message in messages:
        by_id.setdefault(message.id, message)
    capped = {each for message in by_id.values() if policy.lanes[message.lane].caps for each in _capped(message)}
    room = reception.room(capped) if capped else {}
    calls = _calls(by_id.values(), policy, full={each for each, times in room.items() if times < 1})
    # The msgIds are taken before the transaction, because that may need one of its own. Those of messages that the
    # ledger has already are wasted.
    return _Batch(messages, by_id, room, calls, _msg_ids(reception, calls))


def _keep(connection: Connection, batch: _Batch, policy: Policy, now: datetime) -> _Kept:
    row_ids = ledger_messages.add(connection, list(batch.by_id.values()), policy.account_ids, now=now)
    new = [message for message in batch.by_id.values() if message.id in row_ids]
    opted_out = _opted_out(connection, new, policy)
    sent, over_cap = _within_caps(new, batch.room, opted_out)
    if rows := list(_submissions(batch, row_ids, opted_out | over_cap, policy, now)):
        submissions.add(connection, rows, now=now)
    for left_out, reason in ((opted_out, Suppression.OPTOUT), (over_cap, Suppression.CAP)):
        if left_out:
            recipients = [(row_ids[message_id], mobile) for message_id, mobile in left_out]
            ledger_messages.suppress(connection, recipients, reason)
    known = [
        message for message in batch.messages if message.id not in row_ids or batch.by_id[message.id] is not message
    ]
    return _Kept(row_ids, sent, opted_out, over_cap, _refuse_clashing(connection, known, now))


def _log(batch: _Batch, kept: _Kept) -> None:
    if kept.opted_out or kept.over_cap:
        log.info(
            "%d recipients opted out, and %d are over the caps of their lanes", len(kept.opted_out), len(kept.over_cap)
        )
    for message_id in batch.by_id.keys() - kept.row_ids.keys():
        log.info("message %s is in the ledger already", message_id)
    if kept.clashing:
        log.warning(
            "%d messages have the id of another one and are refused, see `sms messages --refused`", kept.clashing
        )


def _calls(messages: Iterable[Message], policy: Policy, *, full: Collection[CapKey]) -> list[_CallPlan]:
    return [
        _CallPlan(group, recipients)
        for group in _sharing_calls(messages, policy)
        for recipients in _deal(_recipients(group, full), policy.largest_call(group[0].account, group[0].lane))
    ]


def _msg_ids(reception: Reception, calls: Iterable[_CallPlan]) -> dict[str, Iterator[int]]:
    """Takes a msgId for each of the calls. Returns them by the name of the account."""
    counts = Counter(call.messages[0].account for call in calls)
    ids = reception.policy.account_ids
    return {account: iter(reception.msg_ids.take(ids[account], count)) for account, count in counts.items()}


def _submissions(
    batch: _Batch, row_ids: Mapping[str, int], left_out: Collection[Recipient], policy: Policy, now: datetime
) -> Iterator[NewSubmission]:
    """Yields a submission for each call that still has recipients: of new messages, and not left out."""
    for call in batch.calls:
        first = call.messages[0]
        recipients = [
            (row_ids[message_id], mobile)
            for message_id, mobile in call.recipients
            if message_id in row_ids and (message_id, mobile) not in left_out
        ]
        if recipients:
            due_at = policy.due_at(first, now)
            yield NewSubmission(
                account_id=policy.account_ids[first.account],
                lane=first.lane,
                caller=first.caller,
                msg_id=next(batch.msg_ids[first.account]),
                recipients=recipients,
                state=State.HELD if due_at > now else State.QUEUED,
                due_at=due_at,
                expires_at=min(map(policy.expires_at, call.messages)),
            )


def _refuse_clashing(connection: Connection, known: Sequence[Message], now: datetime) -> int:
    """Keeps those messages as refused whose id is another message's. Returns how many."""
    clashing = ledger_messages.others(connection, known)
    for message in clashing:
        fault = "its id or key is that of another message, see `sms show`; give it one of its own"
        ledger_messages.refuse(connection, message.id, [fault], to_json(message), now=now)
    return len(clashing)


def _capped(message: Message) -> Iterable[CapKey]:
    return (CapKey(message.account, message.lane, mobile) for mobile in message.to)


def _recipients(messages: Iterable[Message], full: Collection[CapKey]) -> Iterable[Recipient]:
    """Yields the recipients, without those for whom there is no room in any case."""
    for message in messages:
        for mobile in message.to:
            if not full or CapKey(message.account, message.lane, mobile) not in full:
                yield message.id, mobile


def _opted_out(connection: Connection, messages: Sequence[Message], policy: Policy) -> set[Recipient]:
    """Returns the recipients who opted out, of messages whose lane heeds opt-outs."""
    heeding = [message for message in messages if policy.lanes[message.lane].heeds_optouts]
    mobiles: defaultdict[str, set[str]] = defaultdict(set)
    for message in heeding:
        mobiles[message.account].update(message.to)
    opted_out = {
        account: optouts.opted_out(connection, policy.account_ids[account], its_mobiles)
        for account, its_mobiles in mobiles.items()
    }
    return {
        (message.id, mobile) for message in heeding for mobile in opted_out[message.account].intersection(message.to)
    }


def _within_caps(
    messages: Iterable[Message], room: Mapping[CapKey, int], opted_out: Collection[Recipient]
) -> tuple[list[CapKey], set[Recipient]]:
    """Returns the capped mobiles to be sent to, in this order, and the recipients for whom the caps have no room.
    Recipients who opted out take no room.
    """
    remaining = dict(room)
    sent: list[CapKey] = []
    over_cap: set[Recipient] = set()
    for message in messages if remaining else ():
        for capped in _capped(message):
            if (message.id, capped.mobile) in opted_out:
                continue
            if remaining.get(capped, 0) > 0:
                remaining[capped] -= 1
                sent.append(capped)
            elif capped in remaining:
                over_cap.add((message.id, capped.mobile))
    return sent, over_cap


def _sharing_calls(messages: Iterable[Message], policy: Policy) -> Iterable[Sequence[Message]]:
    """Groups the messages that may share a call: the same text at the same time, in a lane that shares calls, and with
    like expiries.

    A shared call expires with the first of its messages.
    """
    groups: defaultdict[tuple[object, ...], list[Message]] = defaultdict(list)
    for message in messages:
        lane = policy.lanes[message.lane]
        valid_for = message.valid_for or lane.validity
        like = policy.expires_at(message).timestamp() // max(min(valid_for / 100, LIKE).total_seconds(), 0.001)
        alike = (message.content, message.at, valid_for, like) if lane.shares_calls else message.id
        groups[message.account, message.lane, message.caller, alike].append(message)
    return groups.values()


def _deal(recipients: Iterable[Recipient], most: int) -> list[list[Recipient]]:
    """Deals the recipients out to calls of at most `most`. No mobile is twice in one call."""
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
