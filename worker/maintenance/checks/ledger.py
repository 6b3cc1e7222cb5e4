"""The ledger, and the submissions and accounts in it."""

import shutil
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker.domain.gate import Gate
from worker.domain.status import WAITING, State
from worker.ledger import backlog, health, roles, schema
from worker.ledger.backlog import Backlog
from worker.ledger.engine import NO_LOCK, NOT_PERMITTED
from worker.ledger.sending import gates
from worker.maintenance.checks.check import LOOK, OK, PATIENCE, WRONG, Check, judge, judge_backlog
from worker.present.reasons import closed_since, how_it_opens

RECENT = timedelta(days=1)
LEAST_FREE_BYTES = 16_000_000
"""The free bytes that the disk of a SQLite ledger needs. Its write-ahead log alone takes four megabytes."""
HELD_UP = "a closed gate, the account's rate or the hours of the lane hold them; if none does, add workers"


def check_schema(engine: Engine) -> Check:
    """The ledger's version. Raises OperationalError where the ledger cannot be asked."""
    try:
        schema.check(engine)
    except schema.WrongSchema as error:
        return Check("ledger", WRONG, f"version {schema.version(engine)}", str(error))
    return Check("ledger", OK, f"{engine.dialect.name}, version {schema.wanted_version()}")


def check_write(engine: Engine) -> Check:
    """Whether the ledger takes a write: with a full disk, or set read-only, a database still answers questions."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    place = file or f"PostgreSQL on {engine.url.host or 'this machine'}"
    remedy = f"make room on the disk of {place}, or make it writable; accepted messages wait meanwhile"
    try:
        health.check_writable(engine)
    except OperationalError as error:
        state, remedy = _judge_failed_write(getattr(error.orig, "sqlstate", None), remedy)
        return Check("ledger: a write", state, f"{place} takes none: {error.orig}".strip(), remedy)
    if file is None:
        return Check("ledger: a write", OK, f"{place} took a megabyte")
    free = shutil.disk_usage(Path(file).parent).free
    finding = f"{place} took one, {free / 1e6:,.0f} MB of its disk are free"
    return judge("ledger: a write", free >= LEAST_FREE_BYTES, finding, remedy)


def _judge_failed_write(sqlstate: str | None, otherwise: str) -> tuple[str, str]:
    """The state and the remedy of a write that failed with this SQLSTATE."""
    if sqlstate == NOT_PERMITTED:
        return WRONG, "grant the role in SMS_LEDGER_URL what it lacks, or look with the role of the workers"
    if sqlstate == NO_LOCK:
        return LOOK, "another transaction holds the schema's version, as `sms migrate` does: look again when it is over"
    return WRONG, otherwise


def check_superuser(connection: Connection) -> Iterator[Check]:
    """Whether the user of SMS_LEDGER_URL is a superuser of PostgreSQL: then the workers' user is one too, as a rule."""
    if roles.is_superuser(connection):
        remedy = (
            "make the users of the roles with `sms migrate --roles`, and give each process its own: docs/security.md"
        )
        yield Check("ledger: user", LOOK, "a superuser, who may run programs on the server", remedy)


def check_submissions(connection: Connection, now: datetime) -> Iterator[Check]:
    """How many submissions wait in each state, and whether some are overdue."""
    waiting = backlog.waiting(connection, overdue_since=now - PATIENCE)
    for state in sorted(WAITING):
        name, count = f"submissions {state}", waiting.get(state, Backlog(0, 0))
        if state is State.SUBMITTING:
            yield judge_backlog(name, count)
        else:
            yield judge_backlog(name, count, HELD_UP, LOOK)


def check_gates(connection: Connection, known: Collection[str] | None) -> Iterator[Check]:
    """Whether each account may send."""
    for gate in gates.gates(connection):
        yield _check_gate(gate, known)


def _check_gate(gate: Gate, known: Collection[str] | None) -> Check:
    name = f"gate of {gate.account}"
    if gate.is_open:
        return Check(name, OK, "open")
    if known is not None and gate.account not in known:
        remedy = (
            "nothing: no worker has this account any more; if one gets it again, `sms account resume` opens the gate"
        )
        return Check(name, LOOK, closed_since(gate), remedy)
    return Check(name, WRONG, closed_since(gate), f"put that right; {how_it_opens(gate)}")


def check_account_clocks(connection: Connection) -> Iterator[Check]:
    """How far the workers' clocks differ from the gateway's, by account."""
    for account, skew in gates.skews(connection).items():
        side = "behind" if skew > timedelta(0) else "ahead of"
        finding = f"{abs(skew.total_seconds()):.0f} s {side} the gateway's, when last seen"
        remedy = "set this machine's clock (NTP); calls are signed with the gateway's time meanwhile"
        yield judge(f"clock, by {account}", abs(skew) < PATIENCE, finding, remedy, LOOK)


def check_unknown(connection: Connection) -> Check:
    count = backlog.unknown(connection)
    remedy = "look at them with `sms unknown list`; a report may still settle them"
    return judge("recipients unknown", count == 0, str(count), remedy, LOOK)


def check_refused(connection: Connection, now: datetime) -> Iterator[Check]:
    """Messages that workers refused of late."""
    if count := backlog.refused(connection, since=now - RECENT):
        remedy = "read them and their faults with `sms messages --refused`; the sender has to correct them"
        yield Check("messages refused", LOOK, f"{count} within a day", remedy)


def check_removed_accounts(connection: Connection, known: Collection[str] | None) -> Check:
    """Submissions that wait for accounts that no worker has."""
    waiting = {} if known is None else backlog.waiting_by_account(connection)
    removed = {account: count for account, count in waiting.items() if account not in (known or ())}
    finding = ", ".join(f"{count} submissions of {account}" for account, count in sorted(removed.items()))
    remedy = "put the account back into the settings of the workers, or let them expire: no worker can send them"
    return judge("accounts removed", not removed, finding or "0", remedy, LOOK)
