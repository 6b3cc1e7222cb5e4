"""The checker: compares the history of the backend app with the gateway's own log and the ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from chaos.workload import Sent
from chaos.world import Flush, World
from worker.devstack.stack import Stack
from worker.domain.status import STATUSES, WAITING
from worker.ledger.engine import reading
from worker.ledger.sending import evidence
from worker.ledger.tables import first_replies, messages, pushes, recipient_status, refused, reports, runs, submissions
from worker.redis_store import intake

LATER = timedelta(hours=1)
"""By then every report has come: the checker runs once all is pushed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much of each kind is not finished yet. None if a store or the gateway did not answer."""

    counts: Mapping[str, int] | None

    @property
    def total(self) -> int | None:
        return None if self.counts is None else sum(self.counts.values())

    def __str__(self) -> str:
        if self.counts is None:
            return "something does not answer"
        return ", ".join(f"{name} {count}" for name, count in self.counts.items() if count) or "nothing"


@dataclass
class CheckResult:
    """The result of a run. `must_be_none` are the promises, each with the ids, mobiles or texts that broke it."""

    counts: dict[str, int]
    statuses: dict[str, int]
    must_be_none: dict[str, list[Any]]
    remarks: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not any(self.must_be_none.values())


def still_waiting(stack: Stack, engine: Engine) -> Waiting:
    """Counts what waits in the intake, in the ledger and at the gateway."""
    try:
        with reading(engine) as connection, Redis.from_url(stack.redis_url, socket_timeout=5) as redis:
            waits = select(submissions.c.state, func.count()).group_by(submissions.c.state)
            states = connection.execute(waits.where(submissions.c.state.in_(WAITING)))
            counts = {str(state): int(count) for state, count in states}
            unread = select(func.count()).where(pushes.c.state == "received")
            counts["pushes unread"] = connection.execute(unread).scalar_one()
            # Between two of its top-ups a run of a campaign has nothing that waits, and is not over.
            under_way = select(func.count()).where(runs.c.state == "running")
            counts["runs under way"] = connection.execute(under_way).scalar_one()
            counts |= {f"intake {place}": count for place, count in intake.depth(redis).items()}
        summary = stack.ask_simulator("summary")
    except (SQLAlchemyError, RedisError, OSError):
        return Waiting(None)
    counts["calls in flight"] = summary["calls_in_flight"]
    counts["items to be pushed"] = summary["items_waiting"]
    return Waiting(counts)


def check(
    world: World, accepted: Mapping[str, Sent], engine: Engine, waiting: Waiting, deaf_workers: Sequence[str]
) -> CheckResult:
    """Checks the promises and counts the rest. To be called when everything has settled."""
    calls = world.stack.calls()
    rows = _read_ledger(engine)
    taken = Counter(mobile for call in calls for mobile in call["mobiles"])
    called = {call["msg_id"] for call in calls}
    known = rows.messages | rows.refused
    missing = [sent for sent in accepted.values() if sent.id not in known]
    flushed = [sent for sent in missing if _was_flushed(sent, world.flushes)]
    return CheckResult(
        counts={
            "messages accepted by send": len(accepted),
            "of them, lost in a flush": len(flushed),
            "of them, refused": len(rows.refused & accepted.keys()),
            "calls taken by the gateway": len(calls),
            "mobiles taken by the gateway": taken.total(),
            "replies made": len(world.replies),
            **_unknown_counts(world.stack, rows, called),
        },
        statuses=rows.statuses,
        must_be_none={
            "lost": sorted({sent.id for sent in missing} - {sent.id for sent in flushed}),
            "taken twice": sorted(mobile for mobile, times in taken.items() if times > 1),
            "taken, and said to be probably not": _wrongly_probable(rows, called, world.flushes),
            "reports lost": _lost_reports(rows, calls, world.flushes),
            **_wrong_replies(world, rows),
            "still waiting": [] if waiting.total == 0 else [str(waiting)],
            "workers that take no tasks": list(deaf_workers),
        },
        remarks=[*_unknown_remarks(rows), *_flush_remarks(world.flushes, flushed)],
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the ledger has at the end."""

    messages: set[str]
    refused: set[str]
    statuses: dict[str, int]
    """Recipients by status, in the order of the statuses."""
    reports: set[tuple[int, str]]
    """The msgId and the mobile of each."""
    replies: Counter[str]
    """By content."""
    unknown: dict[int, str]
    """The tips of the calls with an unknown outcome, by msgId."""
    probably_not_taken: set[int]
    """The msgIds of the unknown calls that the ledger says were probably not taken."""


def _read_ledger(engine: Engine) -> _Rows:
    probable = list(evidence.find_probably_not_taken(engine, now=datetime.now(UTC) + LATER))
    counted = select(recipient_status.c.status, func.count()).group_by(recipient_status.c.status)
    unknown = select(recipient_status.c.msg_id, recipient_status.c.tips).where(recipient_status.c.status == "unknown")
    with reading(engine) as connection:
        counts = {str(status): int(count) for status, count in connection.execute(counted)}
        return _Rows(
            messages=set(connection.execute(select(messages.c.public_id)).scalars()),
            refused=set(connection.execute(select(refused.c.id)).scalars()),
            statuses={str(status): counts[status] for status in STATUSES if status in counts},
            reports={
                (msg_id, mobile) for msg_id, mobile in connection.execute(select(reports.c.msg_id, reports.c.mobile))
            },
            replies=Counter(connection.execute(select(first_replies.c.content)).scalars()),
            unknown={msg_id: str(tips) for msg_id, tips in connection.execute(unknown)},
            probably_not_taken=set(
                connection.execute(select(submissions.c.msg_id).where(submissions.c.id.in_(probable))).scalars()
            ),
        )


def _unknown_counts(stack: Stack, rows: _Rows, called: set[int]) -> dict[str, int]:
    unknown = set(rows.unknown)
    refused_ids = {int(call["msg_id"]) for call in stack.ask_simulator("refused")["calls"] if call["msg_id"]}
    return {
        "unknown, and taken": len(unknown & called),
        "unknown, and the gateway refused it": len((unknown & refused_ids) - called),
        "unknown, and the gateway never saw it": len(unknown - called - refused_ids),
        "unknown, and not taken": len(unknown - called),
        "of them, said to be probably not taken": len(rows.probably_not_taken - called),
    }


def _wrongly_probable(rows: _Rows, called: set[int], flushes: Sequence[Flush]) -> list[int]:
    """The calls that were taken although the ledger says probably not.

    A flush may have deleted the report that tells.
    """
    return sorted((rows.probably_not_taken & called) - {msg_id for msg_id, _ in _flushed_reports(flushes)})


def _unknown_remarks(rows: _Rows) -> list[str]:
    return [f"unknown: {count} calls, {why}" for why, count in Counter(rows.unknown.values()).most_common()]


def _wrong_replies(world: World, rows: _Rows) -> dict[str, list[str]]:
    flushed = sum((flush.replies for flush in world.flushes), Counter[str]())
    return {
        "replies lost": sorted(reply for reply in world.replies if not rows.replies[reply] and not flushed[reply]),
        "replies doubled": sorted(content for content, times in rows.replies.items() if times > 1),
    }


def _lost_reports(rows: _Rows, calls: Sequence[Mapping[str, Any]], flushes: Sequence[Flush]) -> list[tuple[int, str]]:
    """Each mobile of a call that was taken has a report, and once all is pushed every report has been acknowledged."""
    pushed = {(call["msg_id"], mobile) for call in calls for mobile in call["mobiles"]}
    return sorted(pushed - rows.reports - _flushed_reports(flushes))


def _flushed_reports(flushes: Sequence[Flush]) -> set[tuple[int, str]]:
    return {report for flush in flushes for report in flush.reports}


def _was_flushed(sent: Sent, flushes: Sequence[Flush]) -> bool:
    """Whether the message was in the intake when Valkey was emptied, and has not been sent once more since."""
    return any(sent.id in flush.messages and sent.began < flush.at for flush in flushes)


def _flush_remarks(flushes: Sequence[Flush], flushed: Sequence[Sent]) -> list[str]:
    remarks = []
    for number, flush in enumerate(flushes, 1):
        ages = sorted(flush.at - sent.began for sent in flushed if sent.id in flush.messages)
        if ages:
            remarks.append(
                f"flush {number} took {len(ages)} messages, sent {ages[0]:.2f} to {ages[-1]:.2f} s before it"
            )
    return remarks + [f"lost in a flush: {sent.id} to {len(sent.mobiles)} mobiles" for sent in flushed]
