"""Import and remove audiences, a part at a time: of a million rows a few thousand are in memory, and in a transaction.

An import that breaks off removes what it has added. One that is killed leaves an audience that is not ready: once nobody has
worked at it for ABANDONED, whoever wants its name or removes it removes what is left.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from worker.campaigns.files.table import Table
from worker.domain.campaigns.audience import Audience, LeftOut, Member, NoAudience, NobodyLeft, good_rows, repeat
from worker.domain.campaigns.campaign import name_faults
from worker.ledger.campaigns import audiences
from worker.ledger.campaigns.audiences import PART
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading

ABANDONED = timedelta(minutes=2)
"""A part takes a second at the most."""

Clock = Callable[[], datetime]


def import_audience(
    engine: Engine, name: str, table: Table, *, source: str, by: str, clock: Clock, left_out: LeftOut
) -> int:
    """Makes an audience of the rows of a table, each mobile once: how many they are. What is left out is added to `left_out`.

    Raises NoAudience, and then nothing stays: where the name will not do or is taken, the table cannot be read to its end, or
    no row of it can be sent to (NobodyLeft).
    """
    make_room(engine, name, clock=clock)
    hold = _begin(engine, name, table, source, by, clock)
    with ExitStack() as undo:
        undo.callback(_empty, hold)
        good = _fill(hold, table, left_out)
        if not good:
            raise NobodyLeft(
                f"{source} has no number in column {table.column!r} that can be sent to; nothing was imported"
            )
        counts = {"good": good, "repeats": left_out.repeats, "refused": left_out.refused.total()}
        with hold.working() as connection:
            audiences.finish(connection, hold.id, **counts)
        undo.pop_all()
    return good


def make_room(engine: Engine, name: str, *, clock: Clock) -> None:
    """Sees to it that an audience of that name can be made: removes one that was abandoned.

    Raises NoAudience where the name will not do or is taken.
    """
    if faults := name_faults(name):
        raise NoAudience(f"the name {name!r} {'; it '.join(faults)}")
    with reading(engine) as connection:
        found = audiences.find(connection, name)
    if found and found.ready:
        raise NoAudience(
            f"there is an audience {name!r} already, of {found.source}; choose another name, or `sms audience remove` it first"
        )
    if found:
        _remove(engine, found, clock)


def remove_audience(engine: Engine, name: str, *, clock: Clock) -> Audience:
    """Removes an audience: what it was. Raises NoAudience where there is none, or where it is in use."""
    with reading(engine) as connection:
        found = audiences.find(connection, name)
        names = ", ".join(one.name for one in audiences.listed(connection))
    if not found:
        raise NoAudience(f"there is no audience {name!r}; the audiences are: {names or 'none yet'}")
    _remove(engine, found, clock)
    return found


@dataclass(slots=True)
class _Hold:
    """An audience that is not ready, and when he who holds it last worked at it: nobody else does until he is given up."""

    engine: Engine
    id: int
    name: str
    last: datetime
    clock: Clock

    @contextmanager
    def working(self) -> Iterator[Connection]:
        """A transaction on the audience. Raises NoAudience where somebody else has it by now."""
        now = self.clock()
        with self.engine.begin() as connection:
            if not audiences.claim(connection, self.id, last=self.last, now=now):
                raise NoAudience(f"somebody else is importing or removing the audience {self.name!r}; look again later")
            yield connection
        self.last = now


def _begin(engine: Engine, name: str, table: Table, source: str, by: str, clock: Clock) -> _Hold:
    now = clock()
    with engine.begin() as connection:
        audience_id = audiences.begin(
            connection, name, source=source, header=table.header, mobile_column=table.column, by=by, now=now
        )
    if audience_id is None:
        raise NoAudience(f"somebody else has just begun to import an audience {name!r}; look again later")
    return _Hold(engine, audience_id, name, now, clock)


def _fill(hold: _Hold, table: Table, left_out: LeftOut) -> int:
    """Adds the good rows: how many they are."""
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
        raise NoAudience(
            f"the audience {audience.name!r} is being imported or removed, by {audience.created_by}; if that was killed, try again"
            f" {ABANDONED.total_seconds():.0f} seconds after it"
        )
    with hold.working() as connection:
        if names := audiences.used_by(connection, audience.id):
            raise NoAudience(
                f"the audience {audience.name!r} is that of {', '.join(names)}; it stays as long as they do"
            )
    _empty(hold)


def _empty(hold: _Hold) -> None:
    """Removes the audience, part by part."""
    gone = False
    while not gone:
        with hold.working() as connection:
            gone = audiences.remove_part(connection, hold.id)
