"""Import and remove audiences, a part at a time: of a million rows a few thousand are in memory, and in a transaction.

An import that breaks off removes what it has added. An import that is killed leaves an audience that is not ready. Once
nobody has worked at that audience for ABANDONED, an import of the same name, or a removal, removes what is left.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from worker.campaigns.files.table import PeopleTable
from worker.domain.campaigns.audience import (
    Audience,
    AudienceError,
    Member,
    NobodyLeft,
    Origin,
    RowsLeftOut,
    good_rows,
    repeat,
)
from worker.domain.campaigns.campaign import name_faults
from worker.ledger.campaigns import audiences
from worker.ledger.campaigns.audiences import PART
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading

ABANDONED = timedelta(minutes=2)
"""A part takes at most a second."""

Clock = Callable[[], datetime]


def import_audience(
    engine: Engine, name: str, table: PeopleTable, *, by: str, clock: Clock, left_out: RowsLeftOut
) -> int:
    """Makes an audience of the rows of a table, each mobile once. Returns how many members it has.

    Rows that are left out are added to `left_out`. Raises AudienceError where the name is bad or taken, or the table
    cannot be read to its end. Raises NobodyLeft where no row can be sent to. Then nothing stays.
    """
    free_name(engine, name, clock=clock)
    hold = _begin(engine, name, table, by, clock)
    with ExitStack() as undo:
        undo.callback(_empty, hold)
        good = _fill(hold, table, left_out)
        if not good:
            raise NobodyLeft(
                f"{table.source} has no number in column {table.column!r} that can be sent to; nothing was imported"
            )
        counts = {"good": good, "repeats": left_out.repeats, "refused": left_out.refused.total()}
        with hold.working() as connection:
            audiences.finish(connection, hold.id, **counts)
        undo.pop_all()
    return good


def free_name(engine: Engine, name: str, *, clock: Clock) -> None:
    """Makes the name free for an audience: it removes an abandoned one.

    Raises AudienceError where the name is bad or taken.
    """
    if faults := name_faults(name):
        raise AudienceError(f"the name {name!r} {'; it '.join(faults)}")
    with reading(engine) as connection:
        existing = audiences.find(connection, name)
    if existing and existing.ready:
        raise AudienceError(
            f"there is an audience {name!r} already, of {existing.source}; choose another name, or `sms audience remove` it first"
        )
    if existing:
        _remove(engine, existing, clock)


def remove_audience(engine: Engine, name: str, *, clock: Clock) -> Audience:
    """Removes an audience, and returns what it was. Raises AudienceError where there is none, or where it is in use."""
    with reading(engine) as connection:
        audience = audiences.find(connection, name)
        names = ", ".join(listed.name for listed in audiences.listed(connection))
    if not audience:
        raise AudienceError(f"there is no audience {name!r}; the audiences are: {names or 'none yet'}")
    _remove(engine, audience, clock)
    return audience


@dataclass(slots=True)
class _Hold:
    """An audience that is not ready, and its owner's last heartbeat.

    Nobody else works at it until the owner is given up.
    """

    engine: Engine
    id: int
    name: str
    last: datetime
    clock: Clock

    @contextmanager
    def working(self) -> Iterator[Connection]:
        """A transaction on the audience. Raises AudienceError where somebody else owns it by now."""
        now = self.clock()
        with self.engine.begin() as connection:
            if not audiences.claim(connection, self.id, last=self.last, now=now):
                raise AudienceError(
                    f"somebody else is importing or removing the audience {self.name!r}; look again later"
                )
            yield connection
        self.last = now


def _begin(engine: Engine, name: str, table: PeopleTable, by: str, clock: Clock) -> _Hold:
    now = clock()
    with engine.begin() as connection:
        audience_id = audiences.begin(
            connection, name, Origin(table.source, table.header, table.column), by=by, now=now
        )
    if audience_id is None:
        raise AudienceError(f"somebody else has just begun to import an audience {name!r}; look again later")
    return _Hold(engine, audience_id, name, now, clock)


def _fill(hold: _Hold, table: PeopleTable, left_out: RowsLeftOut) -> int:
    """Adds the good rows. Returns how many they are."""
    good = 0
    position = table.header.index(table.column)
    rows = good_rows(table.rows, len(table.header), position, left_out.add)
    for part in chunks((Member(line, mobile, tuple(values)) for line, mobile, values in rows), PART):
        with hold.working() as connection:
            earlier = audiences.add(connection, hold.id, part)
        good += len(part) - len(earlier)
        for member in part if earlier else ():
            if member.line in earlier:
                left_out.add(repeat(member.line, member.fields[position], earlier[member.line]))
    return good


def _remove(engine: Engine, audience: Audience, clock: Clock) -> None:
    hold = _Hold(engine, audience.id, audience.name, audience.created_at, clock)
    if not audience.ready and clock() - audience.created_at < ABANDONED:
        raise AudienceError(
            f"the audience {audience.name!r} is being imported or removed, by {audience.created_by}; if that was killed, try again"
            f" {ABANDONED.total_seconds():.0f} seconds after it"
        )
    with hold.working() as connection:
        if names := audiences.used_by(connection, audience.id):
            raise AudienceError(
                f"the audience {audience.name!r} is that of {', '.join(names)}; it stays as long as they do"
            )
    _empty(hold)


def _empty(hold: _Hold) -> None:
    """Removes the audience, part by part."""
    is_gone = False
    while not is_gone:
        with hold.working() as connection:
            is_gone = audiences.remove_part(connection, hold.id)
