"""Pushes: those that wait, the room that they have, and the opt-outs that they brought."""

from datetime import datetime, timedelta

from redis import Redis
from sqlalchemy import Connection

from worker.domain.optout import is_unusual
from worker.ledger import backlog
from worker.ledger.inbound import pushes
from worker.ledger.sending import optouts
from worker.maintenance.checks.check import LOOK, MIB, NEARLY, PATIENCE, Check, judge, judge_backlog
from worker.redis_store import intake_pushes

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


def check_unprocessed(connection: Connection, now: datetime) -> Check:
    return judge_backlog("pushes unprocessed", backlog.unprocessed_pushes(connection, overdue_since=now - PATIENCE))


def check_quarantined(connection: Connection) -> Check:
    count = backlog.quarantined_pushes(connection)
    return judge("pushes quarantined", count == 0, str(count), "read why with `sms pushes --state quarantined`", LOOK)


def check_budget(connection: Connection, hourly_mib: int, now: datetime) -> Check:
    """How much of its hourly budget of pushes the ledger has taken.

    The callback app enforces it, by its own setting.
    """
    taken = pushes.stored_since(connection, since=now - HOUR)
    finding = f"{taken / MIB:,.0f} MiB of {hourly_mib:,} in an hour"
    remedy = "see `sms pushes` for who sends them; beyond it pushes get 503; raise SMS_PUSH_HOURLY_MIB if they are the gateway's"
    return judge("pushes: budget", taken < NEARLY * hourly_mib * MIB, finding, remedy, LOOK)


def check_room_in_redis(redis: Redis) -> Check:
    """How much room in Redis the pushes use that wait for the ledger."""
    used, most = intake_pushes.size(redis), intake_pushes.MOST_PUSH_BYTES
    finding = f"{used / MIB:,.0f} MiB of {most / MIB:,.0f} in Redis"
    remedy = "bring the ledger back, and the pushes go there; beyond it pushes get 503, and the gateway repeats them"
    return judge("pushes: in Redis", used < NEARLY * most, finding, remedy, LOOK)


def check_optouts(connection: Connection, now: datetime) -> Check:
    """Whether unusually many people opted out by replies within the hour: a forged push could name any mobiles."""
    last = optouts.count_by_reply(connection, since=now - HOUR, until=now)
    before = optouts.count_by_reply(connection, since=now - HOUR - WEEK, until=now - HOUR)
    finding = f"{last:,} by replies within an hour, {before:,} in the week before"
    remedy = (
        "see `sms optout list` for the pushes that brought them; `sms optout undo --push ID` takes a forged one back"
    )
    return judge("opt-outs", not is_unusual(last, before), finding, remedy, LOOK)
