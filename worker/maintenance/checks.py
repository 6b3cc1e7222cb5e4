"""What `sms doctor` looks at. Nothing is sent and nothing changed; one check writes, to see whether the ledger can be written."""

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from redis import Redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker.config import ConfigError, Role, Settings, load_settings
from worker.domain.clock import BOUND, in_words, is_wrong
from worker.domain.escape import escaped
from worker.domain.gate import Gate
from worker.domain.lane import LANES, QUEUES
from worker.domain.optout import is_unusual
from worker.domain.status import WAITING, State
from worker.gateway.client import endpoint, open_session, why_unreachable
from worker.ledger import backlog, roles, schema
from worker.ledger.backlog import Backlog
from worker.ledger.engine import NO_LOCK, NOT_PERMITTED
from worker.ledger.inbound import pushes as kept_pushes
from worker.ledger.sending import gates, optouts
from worker.maintenance.clock_guard import skews, wrong_clocks
from worker.maintenance.strange_queues import strange_queues
from worker.present.reasons import closed, opens
from worker.redis_store import bells, heartbeat, intake, intake_parked, intake_pushes
from worker.redis_store.clock import redis_time
from worker.redis_store.headroom import FULL_SHARE, memory_share
from worker.redis_store.sick_workers import sick_workers

PATIENCE = timedelta(minutes=1)
"""What beat should have seen to this long ago, it does not see to: it looks every second."""
RECENT = timedelta(days=1)
LEAST_FREE_BYTES = 16_000_000
"""On the disk of a SQLite ledger, whose write-ahead log alone takes four megabytes."""

MIB = 1024**2
NEARLY = 0.8
"""Of its room: whoever is told then can do something still."""

OK, LOOK, WRONG = "ok", "look", "wrong"
IDLE = "start a worker and beat, or look into their logs; if they run, the work is more than they can do: add workers"
HELD_UP = "a closed gate, the account's rate or the hours of the lane hold them; if none does, add workers"


@dataclass(frozen=True, slots=True)
class Check:
    """A thing looked at: how it stands (`ok`, `look` at it when there is time, `wrong`), what was found, what to do."""

    name: str
    state: str
    found: str
    remedy: str | None = None


def settings_check() -> Check:
    """For which processes these settings will do. They need not do for all, for each is given its own; but for these commands."""
    enough: list[str] = []
    gaps: dict[str, list[str]] = {}
    for role in get_args(Role):
        try:
            load_settings(role)
            enough.append(role)
        except ConfigError as why:
            for gap in str(why).split("\n  - ")[1:]:
                gaps.setdefault(gap, []).append(role)
    remedy = "\n".join(f"for {', '.join(roles)}: {gap}" for gap, roles in gaps.items())
    state = OK if not gaps else LOOK if {"client", "ledger"} <= set(enough) else WRONG
    return Check("settings", state, f"enough for {', '.join(enough) or 'nothing'}", remedy or None)


def redis_checks(redis: Redis) -> Iterator[Check]:
    """Redis, and what lies in it, by its clock: no process may be far from that. Raises RedisError where it cannot be asked."""
    now = redis_time(redis)
    info: Any = redis.info()
    yield Check("Redis", OK, f"version {info.get('valkey_version') or info.get('redis_version')}")
    lasting = bool(info.get("aof_enabled")) and info.get("aof_last_write_status") == "ok"
    yield _judged(
        "Redis: AOF", lasting, "on" if lasting else "off, or it cannot be written",
        "set appendonly yes, as deploy/redis.conf does: without it a restart loses what was accepted",
    )  # fmt: skip
    policy = str(info.get("maxmemory_policy"))
    remedy = "set maxmemory-policy noeviction, as deploy/redis.conf does: anything else throws messages away"
    yield _judged("Redis: when full", policy == "noeviction", policy, remedy)
    share = memory_share(redis)
    used = f"{info.get('used_memory_human')}B used" + (f", {share:.0%} of maxmemory" if share is not None else "")
    remedy = f"start workers, or raise maxmemory: from {FULL_SHARE:.0%} on new messages are refused"
    yield _judged("Redis: memory", share is None or share < FULL_SHARE, used, remedy)
    tick = heartbeat.last_tick(redis)
    since_tick = (
        f"the last tick was {(now - tick).total_seconds():.0f} s ago" if tick else "no tick of beat was done yet"
    )
    told = ", ".join(f"{name}, {how}" for name, how in wrong_clocks(redis).items())
    idle = f"set the clock (NTP) of {told}: a process whose clock is wrong takes nothing" if told else IDLE
    yield _judged("worker and beat", tick is not None and now - tick < PATIENCE, since_tick, idle)
    for sick in sick_workers(redis):
        yield Check(
            f"worker {sick.worker}", WRONG,
            f"it has not reached the gateway for {sick.lasts.total_seconds():.0f} s and takes nothing: {sick.reason}",
            "let its machine out to SMS_GATEWAY_URL (network, name, proxy, certificates); it goes on by itself, and the others do",
        )  # fmt: skip
    lengths = {queue: redis.llen(queue) for queue in QUEUES}
    yield Check("queues", OK, ", ".join(f"{queue} {length}" for queue, length in lengths.items()))
    if strange := strange_queues(redis):
        yield Check(
            "queues of nobody", WRONG if any(queue.has_ours for queue in strange) else LOOK, ", ".join(map(str, strange)),
            f"no worker takes from these: correct the queue in `send_task` ({', '.join(one.queue for one in LANES.values())}), and"
            " move what lies there to the queue of its lane, for codes each with `redis-cli lmove QUEUE sms.otp right left`; or"
            " delete them",
        )  # fmt: skip
    if moved := bells.moved_aside(redis):
        yield Check(
            "keys moved aside", LOOK, ", ".join(map(escaped, moved)),
            "somebody wrote these where a queue is: look at what they hold (`redis-cli type KEY`) and who wrote it, then delete them",
        )  # fmt: skip
    depths, since = intake.depth(redis), intake.oldest(redis)
    lies = "".join(f", {place} {depth}" for place, depth in depths.items() if depth)
    age = max(now - since, timedelta(0)) if since else timedelta(0)
    found = f"{sum(depths.values())}{lies}" + (f"; the oldest waits {age.total_seconds():.0f} s" if since else "")
    yield _judged("intake", age < PATIENCE, found, idle)
    yield unknown_accounts_check(redis)


NAMED = 10
"""So many accounts are named; of a flood of invented ones that is enough to find who invents them."""


def unknown_accounts_check(redis: Redis) -> Check:
    """Messages in the intake that wait for a worker that has their account. Raises RedisError where Redis cannot be asked."""
    found = intake_parked.counts(redis)
    told = ", ".join(f"{count} messages for {account}" for account, count in sorted(found.items())[:NAMED])
    if len(found) > NAMED:
        told += f" and {len(found) - NAMED} other accounts"
    remedy = "start a worker whose settings have that account; when a message is past its validity it is refused"
    return _judged("accounts unknown", not found, told or "0", remedy, LOOK)


def accounts_check(connection: Connection, known: Collection[str] | None) -> Check:
    """Submissions that wait for accounts that no worker has. `known` are the accounts of all workers, None where nobody has told."""
    left = {} if known is None else backlog.waiting_by_account(connection)
    left = {account: count for account, count in left.items() if account not in (known or ())}
    told = ", ".join(f"{count} submissions of {account}" for account, count in sorted(left.items()))
    remedy = "put the account back into the settings of the workers, or let them expire: nobody can send them"
    return _judged("accounts removed", not left, told or "0", remedy, LOOK)


def clock_check(redis: Redis, engine: Engine | None, clock: Callable[[], datetime]) -> Check:
    """This machine's clock, by Redis' and the ledger's, and those of the processes that told of theirs. Raises RedisError."""
    found = skews(redis, engine, clock)
    told = [f"{name}: {how}" for name, how in wrong_clocks(redis).items()]
    ours = f"here {in_words(found.values())}" if is_wrong(found.values()) else ""
    far = [name for name, skew in found.items() if abs(skew) > BOUND]
    others = (
        f"that of {far[0]} differs from here by {abs(found[far[0]].total_seconds()):.0f} s" if far and not ours else ""
    )
    remedy = "set that machine's clock (NTP): a process whose clock is wrong takes nothing"
    said = "; ".join(filter(None, (ours, others, *told)))
    return _judged("clocks", not said, said or f"within {BOUND.total_seconds():.0f} s of {' and '.join(found)}", remedy)


def schema_check(engine: Engine) -> Check:
    """The ledger's version. Raises OperationalError where it cannot be asked."""
    try:
        schema.check(engine)
    except schema.WrongSchema as why:
        return Check("ledger", WRONG, f"version {schema.version(engine)}", str(why))
    return Check("ledger", OK, f"{engine.dialect.name}, version {schema.wanted_version()}")


def superuser_check(connection: Connection) -> Iterator[Check]:
    """Whether whoever asks is a superuser of PostgreSQL: so are the workers then, as a rule."""
    if roles.is_superuser(connection):
        remedy = "make the users of the roles with `sms migrate --roles`, and name each its own: docs/security.md"
        yield Check("ledger: user", LOOK, "a superuser, who may run programs on the server", remedy)


def write_check(engine: Engine) -> Check:
    """Whether the ledger takes a write: a disk that is full, and a database that is read-only, still answer questions."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    place = file or f"PostgreSQL on {engine.url.host or 'this machine'}"
    remedy = f"make room on the disk of {place}, or make it writable; what was accepted waits meanwhile"
    try:
        backlog.write(engine)
    except OperationalError as why:
        state, remedy = _unwritten(getattr(why.orig, "sqlstate", None), remedy)
        return Check("ledger: a write", state, f"{place} takes none: {why.orig}".strip(), remedy)
    if file is None:
        return Check("ledger: a write", OK, f"{place} took a megabyte")
    free = shutil.disk_usage(Path(file).parent).free
    found = f"{place} took one, {free / 1e6:,.0f} MB of its disk are free"
    return _judged("ledger: a write", free >= LEAST_FREE_BYTES, found, remedy)


def _unwritten(sqlstate: str | None, otherwise: str) -> tuple[str, str]:
    """How bad it is that a write failed so, and what to do."""
    if sqlstate == NOT_PERMITTED:
        return WRONG, "grant the role in SMS_LEDGER_URL what it lacks, or look with the one that the workers have"
    if sqlstate == NO_LOCK:
        return (
            LOOK,
            "another transaction holds the schema's version, as `sms migrate` does: look again when that is over",
        )
    return WRONG, otherwise


def gate_check(gate: Gate, known: Collection[str] | None) -> Check:
    """Whether an account may send. `known` are the accounts of all workers, None where nobody can say."""
    name = f"gate of {gate.account}"
    if gate.is_open:
        return Check(name, OK, "open")
    if known is not None and gate.account not in known:
        remedy = (
            "nothing: no worker has this account any more; `sms account resume` opens it if one shall have it again"
        )
        return Check(name, LOOK, closed(gate), remedy)
    return Check(name, WRONG, closed(gate), f"put that right; {opens(gate)}")


def ledger_checks(connection: Connection, now: datetime, known: Collection[str] | None = None) -> Iterator[Check]:
    """What waits in the ledger, and what waits for a person. `known` are the accounts of all workers, None where nobody can say."""
    waiting = backlog.waiting(connection, overdue_since=now - PATIENCE)
    for state in sorted(WAITING):
        of_state = waiting.get(state, Backlog(0, 0))
        if state is State.SUBMITTING:
            yield _backlog(f"submissions {state}", of_state)
        else:
            yield _backlog(f"submissions {state}", of_state, HELD_UP, LOOK)
    for gate in gates.gates(connection):
        yield gate_check(gate, known)
    for account, skew in gates.skews(connection).items():
        found = f"{abs(skew.total_seconds()):.0f} s {'behind' if skew > timedelta(0) else 'ahead of'} the gateway's, when last seen"
        remedy = "set this machine's clock (NTP); calls are signed with the gateway's time meanwhile"
        yield _judged(f"clock, by {account}", abs(skew) < PATIENCE, found, remedy, LOOK)
    unknown = backlog.unknown(connection)
    yield _judged(
        "recipients unknown", unknown == 0, str(unknown),
        "look at them with `sms unknown list`; a report may still settle them", LOOK,
    )  # fmt: skip
    if refused := backlog.refused(connection, since=now - RECENT):
        yield Check(
            "messages refused", LOOK, f"{refused} within a day",
            "read what came and why with `sms messages --refused`; whoever sent it has to correct it",
        )  # fmt: skip
    yield _backlog("pushes unprocessed", backlog.unprocessed_pushes(connection, overdue_since=now - PATIENCE))
    quarantined = backlog.quarantined_pushes(connection)
    remedy = "read why with `sms pushes --state quarantined`"
    yield _judged("pushes quarantined", quarantined == 0, str(quarantined), remedy, LOOK)


def pushes_check(connection: Connection, hourly_mib: int, now: datetime) -> Check:
    """How much of what the ledger takes of pushes in an hour it has taken. The limit is the callback app's, by these settings."""
    taken = kept_pushes.taken_in(connection, since=now - timedelta(hours=1))
    found = f"{taken / MIB:,.0f} MiB of {hourly_mib:,} in an hour"
    remedy = "see `sms pushes` for who sends them; beyond it pushes get 503; raise SMS_PUSH_HOURLY_MIB if they are the gateway's"
    return _judged("pushes: budget", taken < NEARLY * hourly_mib * MIB, found, remedy, LOOK)


def pushes_in_redis_check(redis: Redis) -> Check:
    """How much of their room in Redis the pushes have that wait for the ledger."""
    used, most = intake_pushes.size(redis), intake_pushes.MOST_PUSH_BYTES
    found = f"{used / MIB:,.0f} MiB of {most / MIB:,.0f} in Redis"
    remedy = "bring the ledger back, and they go there; beyond it pushes get 503, and the gateway comes again"
    return _judged("pushes: in Redis", used < NEARLY * most, found, remedy, LOOK)


def optouts_check(connection: Connection, now: datetime) -> Check:
    """Whether unusually many opted out by replies within the hour: a forged push could name any mobiles."""
    hour, week = timedelta(hours=1), timedelta(days=7)
    last = optouts.by_replies(connection, since=now - hour, until=now)
    before = optouts.by_replies(connection, since=now - hour - week, until=now - hour)
    found = f"{last:,} by replies within an hour, {before:,} in the week before"
    remedy = (
        "see `sms optout list` for the pushes that brought them; `sms optout undo --push NO` puts back what one forged"
    )
    return _judged("opt-outs", not is_unusual(last, before), found, remedy, LOOK)


def gateway_check(settings: Settings) -> Check:
    """Whether something listens at the gateway's address, with a certificate that counts. Nothing is said to it."""
    address = urlsplit(settings.gateway_url)
    host = address.hostname or ""
    place = f"{host}:{address.port or (443 if address.scheme == 'https' else 80)}"
    try:
        with open_session(1, settings.gateway_ca) as session:
            why = why_unreachable(session, endpoint(settings))
    except (OSError, ValueError) as error:  # the certificates of the environment, or the address
        why = str(error)
    in_clear = "; in clear: anybody on the way can read texts, mobiles and the key, and forge answers"
    if address.scheme == "https" or _is_this_machine(host):
        in_clear = ""
    if why:
        remedy = "correct SMS_GATEWAY_URL or SMS_GATEWAY_CA, or let this machine out to it"
        return Check("gateway", WRONG, f"{place}: {why}{in_clear}", remedy)
    remedy = "use https:// if the gateway has it, else a tunnel: docs/security.md"
    return _judged("gateway", not in_clear, f"{place} can be reached{in_clear}", remedy, LOOK)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _backlog(name: str, of: Backlog, remedy: str = IDLE, otherwise: str = WRONG) -> Check:
    found = f"{of.count}" + (f", {of.overdue} of them overdue" if of.overdue else "")
    return _judged(name, of.overdue == 0, found, remedy, otherwise)


def _judged(name: str, good: bool, found: str, remedy: str, otherwise: str = WRONG) -> Check:
    return Check(name, OK, found) if good else Check(name, otherwise, found, remedy)
