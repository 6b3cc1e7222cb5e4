"""What grows with the load instead of the ledger, measured on a large and idle ledger on PostgreSQL.

Part of `bench ledger`.

Each figure once had no bound: a tick's share of a backlog, a look at everything unknown, a queue with dead rows at its
head under a long snapshot, and the rows that all inserts lock.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import random
from statistics import mean
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text

from worker.domain.lane import LANES
from worker.domain.policy import AccountPolicy, Policy
from worker.domain.push import StatusReport
from worker.domain.rate import Rate
from worker.domain.status import Report
from worker.ledger.engine import reading
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts, unknown
from worker.maintenance import tick
from worker.redis_store.rate import Grant
from worker.sending.pull import NO_LOOK, Look, Terms, pull

PILED_UP, UNKNOWN, DEAD = 20_000, 200_000, 50_000
WRITERS, PUSHES_OF_EACH, ITEMS = 6, 20, 1000
MSG_IDS = 2 * 10**9
REPORTED = MSG_IDS + 10**7
"""msgIds of the rows that are added here are above all others. The reports are for other msgIds."""
PULL, PULLS = 10, 50
LEASE = timedelta(minutes=1)

_SEND = text("""
    UPDATE submissions SET state = 'submitting' WHERE id IN (
        SELECT id FROM submissions WHERE state IN ('held', 'queued') AND caller = 'limits'
        ORDER BY due_at LIMIT :sent
    )
""")


def limits(ledger: Engine) -> Mapping[str, float]:
    """The figures by name. The ledger is larger afterwards."""
    with reading(ledger) as connection:
        account_id = accounts.ids(connection).popitem()[1]
    _add(ledger, account_id, PILED_UP, 0, state="accepted", ago="100 hours")
    _add(ledger, account_id, UNKNOWN, PILED_UP, state="unknown", ago="1 hour")
    _add(ledger, account_id, DEAD, PILED_UP + UNKNOWN, state="queued", ago="1 minute")
    with reading(ledger) as connection:
        connection.execute(text("VACUUM (ANALYZE) submissions, recipients"))
    empty, behind = _pulls(ledger)
    longest, members = _writers(ledger, account_id)
    return {
        f"one tick's unreport: of {PILED_UP:,} that wait too long": _unreported(ledger),
        f"settle with {UNKNOWN:,} unknown: s": _seconds(ledger, lambda c: unknown.accept_reported(c, now=_now())),
        "a pull of 10: ms": empty,
        f"a pull of 10 behind {DEAD:,} sent under a long snapshot: ms": behind,
        f"msgIds reserved while {WRITERS} keep pushes of {ITEMS:,}: longest wait in ms": longest,
        f"multixact members used for {WRITERS * PUSHES_OF_EACH * ITEMS:,} reports": members,
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds(ledger: Engine, do: Callable[[Connection], object]) -> float:
    begun = time.perf_counter()
    with ledger.begin() as connection:
        do(connection)
    return time.perf_counter() - begun


def _add(ledger: Engine, account_id: int, rows: int, first: int, *, state: str, ago: str) -> None:
    """Adds submissions of one recipient each, all of one message. Nothing reads their mobiles."""
    recipients = text("""
        INSERT INTO recipients (message_id, mobile, submission_id)
        SELECT (SELECT min(id) FROM messages), CAST(id AS varchar), id FROM submissions
        WHERE account_id = :account AND msg_id > :first
    """)
    add = text("""
        INSERT INTO submissions
            (account_id, lane, msg_id, state, caller, mobiles, due_at, expires_at, attempt, resent, updated_at)
        SELECT CAST(:account AS smallint), 'notice', :first + n, CAST(:state AS varchar), 'limits', 1,
            CASE WHEN :state = 'queued' THEN now() - CAST(:ago AS interval) + n * interval '1 ms' END,
            now() + interval '1 day', 1, false, now() - CAST(:ago AS interval)
        FROM generate_series(1, :rows) AS n
    """)
    with ledger.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            add, {"account": account_id, "first": MSG_IDS + first, "rows": rows, "state": state, "ago": ago}
        )
        connection.execute(recipients, {"account": account_id, "first": MSG_IDS + first})


def _unreported(ledger: Engine) -> float:
    query = text("SELECT count(*) FROM submissions WHERE state = 'unreported' AND caller = 'limits'")
    tick.unreport(ledger, wait=timedelta(hours=72), now=_now())
    with reading(ledger) as connection:
        return float(connection.execute(query).scalar_one())


def _pulls(ledger: Engine) -> tuple[float, float]:
    """The mean ms of a pull from a queue of DEAD, and of one after most were sent under a snapshot that is still open.

    The pulls are those of a worker that never rests: the first of them in each LOOK_AGAIN looks at the whole lane.
    """
    looks = [NO_LOOK]
    with reading(ledger) as connection:
        ids = accounts.ids(connection)
    policy = Policy(LANES, {name: AccountPolicy(ids[name], ZoneInfo("UTC"), Rate()) for name in ids}, max_mobiles=50)
    terms = Terms(policy, lambda _account, _lane, sizes: Grant(len(sizes), 0), random, LEASE)
    with ledger.connect().execution_options(isolation_level="REPEATABLE READ") as snapshot:
        snapshot.execute(text("SELECT count(*) FROM accounts"))
        before = mean(_pull_ms(ledger, terms, looks) for _ in range(PULLS))
        with ledger.begin() as connection:
            connection.execute(_SEND, {"sent": DEAD - 1000})
        return before, mean(_pull_ms(ledger, terms, looks) for _ in range(PULLS))


def _pull_ms(ledger: Engine, terms: Terms, looks: list[Look]) -> float:
    """Pulls once, with the last of the looks, and appends the new one."""
    begun = time.perf_counter()
    pulled = pull(
        ledger,
        LANES["notice"],
        PULL,
        terms,
        now=_now(),
        last=looks[-1],
    )
    looks.append(pulled.look)
    return 1000 * (time.perf_counter() - begun)


def _writers(ledger: Engine, account_id: int) -> tuple[float, float]:
    """The longest wait in ms for msgIds while others keep pushes, and the multixact members that the locks used."""

    def keep(writer: int) -> None:
        for number in range(PUSHES_OF_EACH):
            first = REPORTED + (writer * PUSHES_OF_EACH + number) * ITEMS
            reports = [StatusReport("13800000000", first + n, Report.DELIVERED) for n in range(ITEMS)]
            with ledger.begin() as connection:
                push_id = pushes.add(connection, b"", source="127.0.0.1", received_at=_now())
                pushes.add_reports(connection, account_id, reports, push_id=push_id, received_at=_now())

    before = _members(ledger)
    waits = [0.0]
    with ThreadPoolExecutor(WRITERS) as threads:
        kept = [threads.submit(keep, writer) for writer in range(WRITERS)]
        while not all(writer.done() for writer in kept):
            waits.append(_seconds(ledger, lambda c: accounts.reserve_msg_ids(c, account_id)))
            time.sleep(0.02)
        for writer in kept:
            writer.result()
    return 1000 * max(waits), _members(ledger) - before


def _members(ledger: Engine) -> float:
    with reading(ledger) as connection:
        connection.execute(text("CHECKPOINT"))
        return float(connection.execute(text("SELECT next_multi_offset FROM pg_control_checkpoint()")).scalar_one())
