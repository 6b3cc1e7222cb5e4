"""Redis, and what waits in it: queues, the intake, and the tick of beat."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from redis import Redis

from worker.domain.escape import escaped
from worker.domain.lane import LANES, QUEUES
from worker.maintenance.checks.check import IDLE, LOOK, OK, PATIENCE, WRONG, Check, judge
from worker.maintenance.clock_guard import wrong_clocks
from worker.maintenance.strange_queues import strange_queues
from worker.redis_store import bells, heartbeat, intake, intake_parked
from worker.redis_store.headroom import FULL_SHARE, memory_share
from worker.redis_store.sick_workers import sick_workers

ACCOUNTS_NAMED = 10
"""How many accounts a check names: enough to find who sends under invented names."""


def check_version(info: Mapping[str, Any]) -> Check:
    return Check("Redis", OK, f"version {info.get('valkey_version') or info.get('redis_version')}")


def check_aof(info: Mapping[str, Any]) -> Check:
    """Whether Redis writes what it holds to its disk."""
    lasting = bool(info.get("aof_enabled")) and info.get("aof_last_write_status") == "ok"
    remedy = "set appendonly yes, as deploy/redis.conf does: without it a restart loses accepted messages"
    return judge("Redis: AOF", lasting, "on" if lasting else "off, or it cannot be written", remedy)


def check_when_full(info: Mapping[str, Any]) -> Check:
    """Whether Redis keeps its keys when its memory is full."""
    policy = str(info.get("maxmemory_policy"))
    remedy = "set maxmemory-policy noeviction, as deploy/redis.conf does: any other policy throws messages away"
    return judge("Redis: when full", policy == "noeviction", policy, remedy)


def check_memory(redis: Redis, info: Mapping[str, Any]) -> Check:
    """Whether Redis has room for new messages."""
    share = memory_share(redis)
    used = f"{info.get('used_memory_human')}B used" + (f", {share:.0%} of maxmemory" if share is not None else "")
    remedy = f"start workers, or raise maxmemory: from {FULL_SHARE:.0%} on new messages are refused"
    return judge("Redis: memory", share is None or share < FULL_SHARE, used, remedy)


def check_tick(redis: Redis, now: datetime) -> Check:
    """Whether beat and a worker are at work: their tick runs every second."""
    tick = heartbeat.last_tick(redis)
    finding = f"the last tick was {(now - tick).total_seconds():.0f} s ago" if tick else "no tick of beat has run yet"
    return judge("worker and beat", tick is not None and now - tick < PATIENCE, finding, _why_idle(redis))


def check_workers(redis: Redis) -> Iterator[Check]:
    """The workers that report that they do not reach the gateway."""
    for sick in sick_workers(redis):
        seconds = f"{sick.lasts.total_seconds():.0f}"
        yield Check(
            f"worker {sick.worker}", WRONG,
            f"it has not reached the gateway for {seconds} s and takes nothing: {sick.reason}",
            "let its machine connect to SMS_GATEWAY_URL (network, name, proxy, certificates); then it goes on by itself",
        )  # fmt: skip


def check_queues(redis: Redis) -> Check:
    lengths = {queue: redis.llen(queue) for queue in QUEUES}
    return Check("queues", OK, ", ".join(f"{queue} {length}" for queue, length in lengths.items()))


def check_strange_queues(redis: Redis) -> Iterator[Check]:
    """Queues that no worker takes from."""
    if strange := strange_queues(redis):
        state = WRONG if any(queue.has_ours for queue in strange) else LOOK
        yield Check(
            "queues of nobody", state, ", ".join(map(str, strange)),
            f"no worker takes from these: correct the queue in `send_task` ({', '.join(lane.queue for lane in LANES.values())}), and"
            " move each task to the queue of its lane, for codes with `redis-cli lmove QUEUE sms.otp right left`; or"
            " delete them",
        )  # fmt: skip


def check_moved_keys(redis: Redis) -> Iterator[Check]:
    """Keys of another type than a list that stood where a queue is."""
    if moved := bells.moved_aside(redis):
        remedy = "somebody wrote these where a queue is: look at them (`redis-cli type KEY`), find who wrote them, then delete them"
        yield Check("keys moved aside", LOOK, ", ".join(map(escaped, moved)), remedy)


def check_intake(redis: Redis, now: datetime) -> Check:
    """Whether messages in the intake wait for long."""
    depths, since = intake.depth(redis), intake.oldest(redis)
    places = "".join(f", {place} {depth}" for place, depth in depths.items() if depth)
    age = max(now - since, timedelta(0)) if since else timedelta(0)
    oldest = f"; the oldest waits {age.total_seconds():.0f} s" if since else ""
    return judge("intake", age < PATIENCE, f"{sum(depths.values())}{places}{oldest}", _why_idle(redis))


def check_unknown_accounts(redis: Redis) -> Check:
    """Messages in the intake that wait for a worker that has their account."""
    parked = intake_parked.counts(redis)
    finding = ", ".join(f"{count} messages for {account}" for account, count in sorted(parked.items())[:ACCOUNTS_NAMED])
    if len(parked) > ACCOUNTS_NAMED:
        finding += f" and {len(parked) - ACCOUNTS_NAMED} other accounts"
    remedy = "start a worker whose settings have that account; a message that is past its validity is refused"
    return judge("accounts unknown", not parked, finding or "0", remedy, LOOK)


def _why_idle(redis: Redis) -> str:
    """What to do where work waits: a process whose clock is wrong does none."""
    if wrong := wrong_clocks(redis):
        processes = ", ".join(f"{name}, {skew}" for name, skew in wrong.items())
        return f"set the clock (NTP) of {processes}: a process whose clock is wrong takes nothing"
    return IDLE
