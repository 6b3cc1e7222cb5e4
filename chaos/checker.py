"""The judgement: what the backend app knows, against the gateway's own log and the ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from chaos.workload import Sent
from chaos.world import Flush, World
from worker.devstack.stack import Stack
from worker.domain.status import STATUSES, WAITING
from worker.ledger.engine import reading
from worker.ledger.sending import evidence
from worker.ledger.tables import first_replies, messages, pushes, recipient_status, refused, reports, runs, submissions
from worker.redis_store import intake

PAGE = 1000
LATER = timedelta(hours=1)
"""By then every report that comes has come: all is pushed when it is judged."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not come to its end yet; None where it could not be asked."""

    counts: Mapping[str, int] | None

    @property
    def total(self) -> int | None:
        return None if self.counts is None else sum(self.counts.values())

    def __str__(self) -> str:
        if self.counts is None:
            return "something does not answer"
        return ", ".join(f"{name} {count}" for name, count in self.counts.items() if count) or "nothing"


@dataclass
class Verdict:
    """What came of it. `must_be_none` are the promises: each with who or what broke it."""

    counts: dict[str, int]
    statuses: dict[str, int]
    must_be_none: dict[str, list[Any]]
    remarks: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not any(self.must_be_none.values())


def still_waiting(stack: Stack, engine: Engine) -> Waiting:
    """What waits in the intake, in the ledger and at the gateway."""
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


def judge(world: World, accepted: Mapping[str, Sent], engine: Engine, waiting: Waiting, deaf: Sequence[str]) -> Verdict:
    """Counts all of it, when everything has settled."""
    calls = calls_of(world.stack)
    taken = Counter(mobile for call in calls for mobile in call["mobiles"])
    with reading(engine) as connection:
        kept = set(connection.execute(select(messages.c.public_id)).scalars())
        turned_away = set(connection.execute(select(refused.c.id)).scalars())
        statuses = _statuses(connection)
        lost_reports = _reports_lost(connection, calls, world.flushes)
        told = Counter(connection.execute(select(first_replies.c.content)).scalars())
        unknown, why_unknown = _unknown(connection)
    probable = _probably_not_taken(engine)
    missing = [sent for sent in accepted.values() if sent.id not in kept | turned_away]
    flushed = [sent for sent in missing if _went_with(sent, world.flushes)]
    flushed_replies = sum((flush.replies for flush in world.flushes), Counter[str]())
    called = {call["msg_id"] for call in calls}
    refused_ids = {int(call["msg_id"]) for call in world.stack.ask_simulator("refused")["calls"] if call["msg_id"]}
    ids = {sent.id for sent in flushed}
    return Verdict(
        counts={
            "messages accepted by send": len(accepted),
            "of them, lost in a flush": len(flushed),
            "of them, refused": len(turned_away & accepted.keys()),
            "calls taken by the gateway": len(calls),
            "mobiles taken by the gateway": taken.total(),
            "replies made": len(world.replies),
            "unknown, and taken": len(unknown & called),
            "unknown, and the gateway refused it": len((unknown & refused_ids) - called),
            "unknown, and the gateway never saw it": len(unknown - called - refused_ids),
            "unknown, and not taken": len(unknown - called),
            "of them, said to be probably not taken": len(probable - called),
        },
        statuses=statuses,
        must_be_none={
            "lost": sorted(sent.id for sent in missing if sent.id not in ids),
            "taken twice": sorted(mobile for mobile, times in taken.items() if times > 1),
            "taken, and said to be probably not": sorted(
                (probable & called) - {msg_id for flush in world.flushes for msg_id, _ in flush.reports}
            ),
            "reports lost": lost_reports,
            "replies lost": sorted(one for one in world.replies if not told[one] and not flushed_replies[one]),
            "replies doubled": sorted(content for content, times in told.items() if times > 1),
            "still waiting": [] if waiting.total == 0 else [str(waiting)],
            "workers that take no tasks": list(deaf),
        },
        remarks=[f"unknown: {count} calls, {why}" for why, count in why_unknown.most_common()]
        + _flush_remarks(world.flushes, flushed),
    )


def calls_of(stack: Stack) -> list[dict[str, Any]]:
    """All the calls that the gateway took."""
    calls: list[dict[str, Any]] = []
    while page := stack.ask_simulator(f"calls?since={len(calls)}&limit={PAGE}")["calls"]:
        calls += page
    return calls


def _statuses(connection: Connection) -> dict[str, int]:
    counted = select(recipient_status.c.status, func.count()).group_by(recipient_status.c.status)
    found = {str(status): int(count) for status, count in connection.execute(counted)}
    return {str(status): found[status] for status in STATUSES if status in found}


def _reports_lost(
    connection: Connection, calls: Sequence[Mapping[str, Any]], flushes: Sequence[Flush]
) -> list[tuple[int, str]]:
    """Each mobile of a call that was taken has a report, and once all was pushed each has been acknowledged."""
    made = {(call["msg_id"], mobile) for call in calls for mobile in call["mobiles"]}
    known = {
        (submission_id, mobile)
        for submission_id, mobile in connection.execute(select(reports.c.msg_id, reports.c.mobile))
    }
    return sorted(made - known - {report for flush in flushes for report in flush.reports})


def _unknown(connection: Connection) -> tuple[set[int], Counter[str]]:
    """The msgIds of calls that nobody knows the outcome of, and how many there are for each reason."""
    wanted = select(recipient_status.c.msg_id, recipient_status.c.tips).where(recipient_status.c.status == "unknown")
    found = {msg_id: str(tips) for msg_id, tips in connection.execute(wanted)}
    return set(found), Counter(found.values())


def _probably_not_taken(engine: Engine) -> set[int]:
    """The msgIds of the unknown calls that the ledger says were probably not taken."""
    submission_ids = list(evidence.probable(engine, now=datetime.now(UTC) + LATER))
    with reading(engine) as connection:
        return set(
            connection.execute(select(submissions.c.msg_id).where(submissions.c.id.in_(submission_ids))).scalars()
        )


def _went_with(sent: Sent, flushes: Sequence[Flush]) -> bool:
    """Whether it lay in the intake when Valkey was emptied, and has not been sent once more since."""
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
