"""What the ledger says about campaigns, for people: a constant number of statements, whatever their number of recipients.

A million recipients are counted in about two seconds, and while a campaign goes on people look again and again. So the ledger is not
asked by the number of the run alone, as the view `recipient_status` would have it: what PostgreSQL knows of a run tells it nothing
of where its recipients, submissions and reports lie, and it reads all there are, or goes from one index to the next for each
recipient. The rows of a run lie close together; between which numbers is asked first, and then only those are read, once each.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    null,
    or_,
    select,
    text,
    tuple_,
)

from worker.domain.campaigns.campaign import Campaign, Run, RunState, caller_of
from worker.domain.campaigns.figures import MINUTE, Figures, Walk, Walked, figures, walked
from worker.domain.carrier import PREFIX
from worker.domain.status import LeftOut, Report, State
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS

_CALLED = (State.ACCEPTED, State.REJECTED, State.UNKNOWN)
"""The states whose `updated_at` is when the call was over."""
_HAD_A_CALL = frozenset({*_CALLED, State.UNREPORTED, *Report})


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from `at` on, until the next one begins: to how many recipients calls went, and what was reported of how many."""

    at: datetime
    called: int
    delivered: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class OverTime:
    """A run over time, in steps that fit its length. `later` is what happened after the last of them."""

    step: timedelta
    buckets: tuple[Bucket, ...]
    later: Bucket


@dataclass(frozen=True, slots=True)
class ByResult:
    """How many recipients the gateway answered for with that code and these tips, for each that it gave; `None, None`: no reply."""

    result: str | None
    tips: str | None
    recipients: int


@dataclass(frozen=True, slots=True)
class ByPrefix:
    """The recipients whose mobiles begin with these digits: those called, and what was reported of them."""

    prefix: str
    called: int
    delivered: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A campaign, or one of its runs, from all sides. `results` are the most frequent, `other_results` recipients of the rest."""

    figures: Figures
    over_time: OverTime | None
    results: tuple[ByResult, ...]
    other_results: int
    prefixes: tuple[ByPrefix, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody wrote back to a message of a campaign; `optout` says whether he opted out with it."""

    received_at: datetime
    mobile: str
    content: str
    message: str
    optout: bool


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A recipient of a campaign, and what has become of it."""

    mobile: str
    status: str
    suppressed: str | None
    result: str | None
    tips: str | None
    message: str
    msg_id: int | None
    updated_at: datetime


def walks(connection: Connection, campaigns: Sequence[Campaign]) -> dict[int, Walked]:
    """How far the runs of each of these campaigns have gone through its audience, under its number."""
    if not campaigns:
        return {}
    goods = select(t.audiences.c.id, t.audiences.c.good).where(
        t.audiences.c.id.in_({one.audience_id for one in campaigns})
    )
    good: dict[int, int] = dict(connection.execute(goods).all())
    grouped = (
        select(t.runs.c.campaign_id, t.runs.c.state, func.sum(t.runs.c.made), func.sum(t.runs.c.refused), func.count())
        .where(t.runs.c.campaign_id.in_([one.id for one in campaigns]))
        .group_by(t.runs.c.campaign_id, t.runs.c.state)
    )
    of_campaign: defaultdict[int, list[Walk]] = defaultdict(list)
    for row_id, state, made, refused, count in connection.execute(grouped):
        of_campaign[row_id].append(Walk(RunState(state), int(made), int(refused), count))
    return {one.id: walked(good[one.audience_id], of_campaign[one.id], one.state) for one in campaigns}


def look(
    connection: Connection, campaign: Campaign, of: Sequence[Run], *, report_wait: timedelta, now: datetime
) -> Figures:
    """How these runs of the campaign stand now. `report_wait` is how long a submission waits for its reports."""
    span = _span(connection, of, now, report_wait)
    return _figures(connection, campaign, of, span, _counts(connection, campaign, span))


def breakdown(
    connection: Connection, campaign: Campaign, of: Sequence[Run], *, report_wait: timedelta, now: datetime
) -> Breakdown:
    """These runs of the campaign from all sides. `report_wait` is how long a submission waits for its reports."""
    span = _span(connection, of, now, report_wait)
    scale = _scale(span, ZoneInfo(campaign.time_zone))
    counts = _counts(connection, campaign, span, scale)
    results, other_results = _results(connection, span)
    return Breakdown(
        figures=_figures(connection, campaign, of, span, counts),
        over_time=_over_time(scale, _called(connection, span, scale, report_wait), counts) if scale else None,
        results=results,
        other_results=other_results,
        prefixes=_prefixes(counts),
    )


def answers(
    connection: Connection, campaign: Campaign, of: Sequence[Run], *, report_wait: timedelta, now: datetime
) -> Iterator[Answer]:
    """What people wrote back to these runs, the newest first, however much it is: it is read in pages."""
    if not of:
        return
    span = _span(connection, of, now, report_wait)
    reply = t.first_replies.c
    # A reply that opted its mobile out is kept there in its own words.
    opted_out = exists().where(
        t.optouts.c.account_id == reply.account_id,
        t.optouts.c.mobile == reply.mobile,
        t.optouts.c.since == reply.received_at,
        t.optouts.c.msg_id == reply.msg_id,
        t.optouts.c.why == reply.content,
    )
    columns = reply.id, reply.received_at, reply.mobile, reply.content, reply.msg_id, opted_out.label("opted_out")
    newest = reply.received_at, reply.id
    pages = (
        select(*columns)
        .where(*_may_answer(t.first_replies, reply.received_at, campaign, of, span))
        .order_by(*(column.desc() for column in newest))
        .limit(ROWS)
    )
    for page in _paged(connection, pages, lambda row: tuple_(*newest) < (row.received_at, row.id)):
        sent = _sent_under(connection, {int(row.msg_id) for row in page}, campaign, span)
        for row in page:
            if message := sent.get((row.msg_id, row.mobile)):
                yield Answer(row.received_at, row.mobile, row.content, message, row.opted_out)


def recipient_rows(connection: Connection, of: Sequence[Run]) -> Iterator[RecipientRow]:
    """The recipients of these runs, of each in the order in which they were made, however many: they are read in pages."""
    status, row_id = t.recipient_status.c, t.messages.c.id
    columns = (
        status.mobile,
        status.status,
        status.suppressed,
        status.result,
        status.tips,
        t.messages.c.public_id,
        status.msg_id,
    )
    pages = (
        select(*columns, status.updated_at, row_id)
        .join(t.messages, row_id == status.message_id)
        .order_by(row_id, status.mobile)
        .limit(ROWS)
    )

    def begin(first: int) -> ColumnElement[bool]:
        # Said of both tables: each database begins to read in the one that it prefers.
        return and_(row_id >= first, status.message_id >= first)

    def after(row: Any) -> ColumnElement[bool]:
        return and_(begin(row.id), or_(row_id > row.id, status.mobile > row.mobile))

    for run in of:
        first = connection.scalar(select(func.min(row_id)).where(t.messages.c.run_id == run.id))
        if first is not None:
            of_run = pages.where(t.messages.c.run_id == run.id, begin(first))
            for page in _paged(connection, of_run, after):
                yield from (RecipientRow(*row[:-1]) for row in page)


def _paged(
    connection: Connection, pages: Select[Any], after: Callable[[Any], ColumnElement[bool]]
) -> Iterator[Sequence[Any]]:
    """The pages of what is found, one by one; `after` says what comes after a row."""
    page = connection.execute(pages).all()
    while page:
        yield page
        page = connection.execute(pages.where(after(page[-1]))).all() if len(page) == ROWS else []


@dataclass(frozen=True, slots=True)
class _Span:
    """Between which numbers that of some runs lies, both ends included, and None where there is nothing; when their first call
    was over, and their last; and to how many recipients those of the last minute went."""

    run_ids: Sequence[int]
    messages: tuple[int | None, int | None]
    submissions: tuple[int | None, int | None]
    msg_ids: tuple[int | None, int | None]
    first_call: datetime | None
    last_call: datetime | None
    per_minute: int


def _span(connection: Connection, of: Sequence[Run], now: datetime, report_wait: timedelta) -> _Span:
    run_ids = [run.id for run in of]
    # Asked of each run by itself, either end is one look into the index.
    first_id, last_id = (
        select(end(t.messages.c.id)).where(t.messages.c.run_id == t.runs.c.id).scalar_subquery()
        for end in (func.min, func.max)
    )
    ends = select(func.min(first_id), func.max(last_id)).where(t.runs.c.id.in_(run_ids))
    of_messages = connection.execute(ends).one()
    column = t.recipients.c.submission_id
    ends = select(func.min(column), func.max(column)).where(_between(t.recipients.c.message_id, of_messages))
    of_submissions = connection.execute(ends).one()
    at = t.submissions.c.updated_at
    recent = case((at > now - MINUTE, t.submissions.c.mobiles), else_=0)
    by_state = (
        select(
            t.submissions.c.state,
            func.min(t.submissions.c.msg_id),
            func.max(t.submissions.c.msg_id),
            func.min(at),
            func.max(at),
            func.sum(recent),
        )
        .where(*_of_runs(run_ids, of_submissions))
        .group_by(t.submissions.c.state)
    )
    rows = connection.execute(by_state).all()
    # When the wait for its reports was over is when a submission became unreported.
    waited = {State.UNREPORTED: report_wait} | dict.fromkeys(_CALLED, timedelta(0))
    calls = [(first - waited[state], last - waited[state]) for state, _, _, first, last, _ in rows if state in waited]
    return _Span(
        run_ids=run_ids,
        messages=of_messages,
        submissions=of_submissions,
        msg_ids=(min((row[1] for row in rows), default=None), max((row[2] for row in rows), default=None)),
        first_call=min((first for first, _ in calls), default=None),
        last_call=max((last for _, last in calls), default=None),
        per_minute=sum(int(row[5]) for row in rows if row.state in _CALLED),
    )


def _between(column: ColumnElement[Any], ends: tuple[int | None, int | None]) -> ColumnElement[bool]:
    # In the text of the statement: so PostgreSQL's plan is for these numbers, also where it is asked for the tenth time.
    low, high = (null() if end is None else literal(end, BigInteger, literal_execute=True) for end in ends)
    return column.between(low, high)


def _of_runs(run_ids: Sequence[int], ends: tuple[int | None, int | None]) -> tuple[ColumnElement[bool], ...]:
    """The submissions of these runs, which lie between those numbers."""
    return _between(t.submissions.c.id, ends), t.submissions.c.caller.in_([caller_of(row_id) for row_id in run_ids])


@dataclass(frozen=True, slots=True)
class _Scale:
    """Steps of so many seconds, from `start` on. `begin` is that in seconds since 1970; what is after the last counts as one more."""

    start: datetime
    begin: int
    step: int
    steps: int

    def place(self, seconds: ColumnElement[int]) -> ColumnElement[int]:
        """In which of the steps that second is. What is said to have been before the first was in it."""
        since = seconds - self.begin
        return case((since < 0, 0), (since >= self.step * self.steps, self.steps), else_=since // self.step)


_STEPS = (60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400)
_MOST_STEPS = 40


def _scale(span: _Span, zone: ZoneInfo) -> _Scale | None:
    """The steps in which the calls of the span are told, and some more for the reports that come after the last."""
    if span.first_call is None or span.last_call is None:
        return None
    first = span.first_call.astimezone(zone)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    for step in _STEPS:
        start = midnight + (first - midnight) // timedelta(seconds=step) * timedelta(seconds=step)
        steps = (span.last_call - start) // timedelta(seconds=step) + 1
        if steps <= _MOST_STEPS:
            break
    return _Scale(start, int(start.timestamp()), step, steps + max(5, steps // 4))


def _second(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[int]:
    """The second since 1970 in which that was: SQLite counts them whole."""
    seconds = extract("epoch", column)
    return cast(func.floor(seconds), BigInteger) if connection.dialect.name == "postgresql" else seconds


@dataclass(frozen=True, slots=True)
class _Count:
    """So many recipients with mobiles of that prefix have that status; `place` is where in the scale it was reported."""

    prefix: str
    status: str
    suppressed: str | None
    place: int | None
    recipients: int


def _counts(connection: Connection, campaign: Campaign, span: _Span, scale: _Scale | None = None) -> list[_Count]:
    """The recipients of the span, counted by the rule of `domain.status.recipient_status`.

    By prefix and place too where there is a scale; to tell them apart takes half as long again.
    """
    delivered = case((t.reports.c.status == Report.DELIVERED, t.reports.c.received_at))
    settled = (
        select(
            t.reports.c.msg_id,
            t.reports.c.mobile,
            # `delivered` wins over `undelivered`, and comes first in the alphabet too.
            func.min(t.reports.c.status).label("status"),
            func.coalesce(func.min(delivered), func.min(t.reports.c.received_at)).label("at"),
        )
        .where(t.reports.c.account_id == campaign.account_id, _between(t.reports.c.msg_id, span.msg_ids))
        .group_by(t.reports.c.msg_id, t.reports.c.mobile)
        .subquery()
    )
    prefix: ColumnElement[Any] = literal("", String)
    place: ColumnElement[Any] = cast(null(), Integer)
    if scale:
        prefix = func.substr(t.recipients.c.mobile, 1, PREFIX)
        place = case((settled.c.at.is_not(None), scale.place(_second(connection, settled.c.at))))
    called = (
        select(
            prefix.label("of_prefix"),
            func.coalesce(settled.c.status, t.submissions.c.state).label("of_status"),
            cast(null(), String),
            place.label("of_place"),
            func.count(),
        )
        .select_from(t.recipients)
        .join(t.submissions, t.submissions.c.id == t.recipients.c.submission_id)
        .outerjoin(settled, and_(settled.c.msg_id == t.submissions.c.msg_id, settled.c.mobile == t.recipients.c.mobile))
        .where(_between(t.recipients.c.message_id, span.messages), *_of_runs(span.run_ids, span.submissions))
        .group_by("of_prefix", "of_status", "of_place")
    )
    left_out = (
        select(
            prefix.label("of_prefix"),
            literal(LeftOut.SUPPRESSED, String),
            t.recipients.c.suppressed,
            cast(null(), Integer),
            func.count(),
        )
        .select_from(t.recipients)
        .join(t.messages, t.messages.c.id == t.recipients.c.message_id)
        .where(
            _between(t.recipients.c.message_id, span.messages),
            t.recipients.c.suppressed.is_not(None),
            t.messages.c.run_id.in_(span.run_ids),
        )
        .group_by("of_prefix", t.recipients.c.suppressed)
    )
    with _each_read_once(connection):
        return [_Count(*row) for query in (called, left_out) for row in connection.execute(query)]


@contextmanager
def _each_read_once(connection: Connection) -> Iterator[None]:
    """Has PostgreSQL read what it joins once each. While a campaign goes on it has no statistics of it yet, takes a million reports for
    one, and would go through all of them for each recipient."""
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.execute(_NO_LOOPS)
    try:
        yield
    finally:
        connection.execute(_LOOPS)


_NO_LOOPS, _LOOPS = text("SET enable_nestloop = off"), text("RESET enable_nestloop")


def _figures(
    connection: Connection, campaign: Campaign, of: Sequence[Run], span: _Span, counts: Sequence[_Count]
) -> Figures:
    statuses: Counter[str] = Counter()
    suppressed: Counter[str] = Counter()
    for count in counts:
        statuses[count.status] += count.recipients
        if count.suppressed:
            suppressed[count.suppressed] += count.recipients
    good = connection.execute(select(t.audiences.c.good).where(t.audiences.c.id == campaign.audience_id)).scalar_one()
    replies, opted_out = _answers_counted(connection, campaign, of, span)
    return figures(
        walked(good, (Walk(run.state, run.expanded, run.unrenderable) for run in of), campaign.state),
        statuses,
        dict(sorted(suppressed.items())),
        replies=replies,
        optouts=opted_out,
        first_call=span.first_call,
        last_call=span.last_call,
        per_minute=span.per_minute,
    )


def _answers_counted(connection: Connection, campaign: Campaign, of: Sequence[Run], span: _Span) -> tuple[int, int]:
    """How many replies answer these runs, and how many opt-outs."""

    def counted(origin: FromClause, time: ColumnElement[Any]) -> ColumnElement[int]:
        # Found first, and by itself: PostgreSQL cannot guess how few they are, and would begin with the million recipients.
        found = (
            select(origin.c.account_id, _number(origin.c.msg_id).label("msg_id"), origin.c.mobile)
            .where(*_may_answer(origin, time, campaign, of, span))
            .cte(f"of_{origin.description}")
            .prefix_with("MATERIALIZED")
        )
        to_us = t.submissions.c.account_id == found.c.account_id, t.submissions.c.msg_id == found.c.msg_id
        to_him = t.recipients.c.submission_id == t.submissions.c.id, t.recipients.c.mobile == found.c.mobile
        return (
            select(func.count())
            .select_from(found)
            .join(t.submissions, and_(*to_us))
            .join(t.recipients, and_(*to_him))
            .where(t.submissions.c.caller.in_([caller_of(row_id) for row_id in span.run_ids]))
            .scalar_subquery()
        )

    if not of:
        return 0, 0
    counts = counted(t.first_replies, t.first_replies.c.received_at), counted(t.optouts, t.optouts.c.since)
    replies, opted_out = connection.execute(select(*counts)).one()
    return replies, opted_out


def _may_answer(
    origin: FromClause, time: ColumnElement[Any], campaign: Campaign, of: Sequence[Run], span: _Span
) -> tuple[ColumnElement[bool], ...]:
    """What of `origin`, replies or opt-outs, may answer a message of these runs, for it came since and its msgId is between theirs."""
    return (
        origin.c.account_id == campaign.account_id,
        time >= min(run.started_at for run in of),
        _between(_number(origin.c.msg_id), span.msg_ids),
    )


def _number(msg_id: ColumnElement[str]) -> ColumnElement[int]:
    """The msgId as a number; null where it cannot be ours. It is kept as text, for it may be another program's: 007 is none of ours."""
    digits = and_(func.length(msg_id).between(1, 10), func.ltrim(msg_id, "0123456789") == "", msg_id.not_like("0%"))
    return case((digits, cast(msg_id, BigInteger)))


def _sent_under(
    connection: Connection, msg_ids: Collection[int], campaign: Campaign, span: _Span
) -> dict[tuple[str, str], str]:
    """The ids of the messages that were sent under these msgIds, each under its msgId, as a reply has it, and mobile."""
    query = (
        select(t.submissions.c.msg_id, t.recipients.c.mobile, t.messages.c.public_id)
        .join(t.recipients, t.recipients.c.submission_id == t.submissions.c.id)
        .join(t.messages, t.messages.c.id == t.recipients.c.message_id)
        .where(
            t.submissions.c.account_id == campaign.account_id,
            t.submissions.c.msg_id.in_(msg_ids),
            t.messages.c.run_id.in_(span.run_ids),
        )
    )
    return {(str(msg_id), to): message for msg_id, to, message in connection.execute(query)}


def _called(connection: Connection, span: _Span, scale: _Scale, report_wait: timedelta) -> dict[int, int]:
    """To how many recipients the calls of each step of the scale went."""
    waited = case((t.submissions.c.state == State.UNREPORTED, int(report_wait.total_seconds())), else_=0)
    place = scale.place(_second(connection, t.submissions.c.updated_at) - waited)
    query = (
        select(place, func.sum(t.submissions.c.mobiles))
        .where(*_of_runs(span.run_ids, span.submissions), t.submissions.c.state.in_((*_CALLED, State.UNREPORTED)))
        .group_by(place)
    )
    return {at: int(count) for at, count in connection.execute(query)}


def _over_time(scale: _Scale, called: Mapping[int, int], counts: Sequence[_Count]) -> OverTime:
    reported: Counter[tuple[str, int]] = Counter()
    for count in counts:
        if count.place is not None:
            reported[count.status, count.place] += count.recipients
    step = timedelta(seconds=scale.step)
    buckets = [
        Bucket(
            (scale.start.astimezone(UTC) + place * step).astimezone(scale.start.tzinfo),
            called.get(place, 0),
            reported[Report.DELIVERED, place],
            reported[Report.UNDELIVERED, place],
        )
        for place in range(scale.steps + 1)
    ]
    *told, later = buckets
    while len(told) > 1 and not (told[-1].called or told[-1].delivered or told[-1].undelivered):
        told.pop()
    return OverTime(step, tuple(told), later)


_MOST_RESULTS = 12


def _results(connection: Connection, span: _Span) -> tuple[tuple[ByResult, ...], int]:
    """The most frequent answers of the gateway, and how many recipients had another: what follows a code may be any text."""
    recipients_of = func.sum(t.submissions.c.mobiles)
    query = (
        select(t.submissions.c.result, t.submissions.c.tips, recipients_of, func.sum(recipients_of).over())
        .where(*_of_runs(span.run_ids, span.submissions), t.submissions.c.state.in_((*_CALLED, State.UNREPORTED)))
        .group_by(t.submissions.c.result, t.submissions.c.tips)
        .order_by(recipients_of.desc(), t.submissions.c.result, t.submissions.c.tips)
        .limit(_MOST_RESULTS)
    )
    rows = connection.execute(query).all()
    results = tuple(ByResult(result, tips, int(count)) for result, tips, count, _ in rows)
    return results, int(rows[0][3]) - sum(one.recipients for one in results) if rows else 0


def _prefixes(counts: Sequence[_Count]) -> tuple[ByPrefix, ...]:
    """Those that were called, the most frequent prefix first."""
    called: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for count in counts:
        if count.status in _HAD_A_CALL:
            called[count.prefix][count.status] += count.recipients
    prefixes = (
        ByPrefix(prefix, of.total(), of[Report.DELIVERED], of[Report.UNDELIVERED]) for prefix, of in called.items()
    )
    return tuple(sorted(prefixes, key=lambda one: (-one.called, one.prefix)))
