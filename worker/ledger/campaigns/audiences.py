"""Audiences and their members: added in parts, each committed by itself. An audience is whole once it is `ready`.

Until then its `created_at` is its owner's last heartbeat, and each part claims the audience by that time. So an owner
that was taken for dead adds nothing to an audience that another process removes, or that has its id since.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    text,
    update,
)

from worker.domain.campaigns.audience import Audience, Member, Origin
from worker.ledger import tables as t
from worker.ledger.dialect import add_rows, chunks, insert_new, is_among

PART = 5000
"""Members that are added or removed at a time. SQLite has one writer, and the workers need their turns."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ANALYZE = text("ANALYZE members")


def begin(
    connection: Connection,
    name: str,
    origin: Origin,
    *,
    by: str,
    now: datetime,
) -> int | None:
    """Adds an audience without members. Returns its id, or None where the name is taken."""
    row = {
        "name": name,
        "source": origin.source,
        "header": _encode(origin.header),
        "mobile_column": origin.mobile_column,
        "ready": False,
        "good": 0,
        "repeats": 0,
        "refused": 0,
        "created_at": now,
        "created_by": by,
    }
    audience_id: int | None = connection.scalar(insert_new(connection, t.audiences).returning(t.audiences.c.id), row)
    return audience_id


def claim(connection: Connection, audience_id: int, *, last: datetime, now: datetime) -> bool:
    """Marks the audience as not ready, with a heartbeat of `now`. Returns False if anybody has worked at it since
    `last`.

    It comes first in its transaction, whatever that does to the audience: it locks the audience.
    """
    unchanged = t.audiences.c.id == audience_id, t.audiences.c.created_at == last
    return connection.execute(update(t.audiences).where(*unchanged).values(ready=False, created_at=now)).rowcount == 1


def add(connection: Connection, audience_id: int, new: Sequence[Member]) -> dict[int, int]:
    """Adds members, in the order of their lines.

    Returns the lines of those whose mobile is there already, each with the line that has it.
    """
    added = add_rows(
        connection,
        insert_new(connection, t.members),
        {"audience_id": audience_id},
        ("line", "mobile", "fields"),
        ((member.line, member.mobile, _encode(member.fields)) for member in new),
        returning=(t.members.c.line,),
        lines=("mobile", "fields"),
    )
    if len(added) == len(new):
        return {}
    lines = {line for (line,) in added}
    repeats = [member for member in new if member.line not in lines]
    earlier: dict[str, int] = {}
    for mobiles in chunks(member.mobile for member in repeats):
        values = {"audience_id": audience_id, "mobiles": mobiles}
        earlier.update(connection.execute(_lines(connection.dialect.name), values).all())
    return {member.line: earlier[member.mobile] for member in repeats}


@cache
def _lines(dialect: str) -> Select[str, int]:
    query = select(t.members.c.mobile, t.members.c.line).where(t.members.c.audience_id == bindparam("audience_id"))
    return query.where(is_among(dialect, t.members.c.mobile, "mobiles"))


def finish(connection: Connection, audience_id: int, *, good: int, repeats: int, refused: int) -> None:
    """Marks the audience as ready, and notes what became of the rows of its file."""
    values = {"ready": True, "good": good, "repeats": repeats, "refused": refused}
    connection.execute(update(t.audiences).where(t.audiences.c.id == audience_id).values(values))
    if connection.dialect.name == "postgresql":
        # Without it PostgreSQL takes minutes to learn how many members there are. Until then it sorts all of them for
        # each page.
        connection.execute(_ANALYZE)


def find(connection: Connection, name: str, *, to_use: bool = False) -> Audience | None:
    """Returns the audience of that name, ready or not, if there is one.

    With `to_use` nobody removes it before the transaction is over.
    """
    query = select(t.audiences).where(t.audiences.c.name == name)
    row = connection.execute(query.with_for_update(read=True) if to_use else query).first()
    return _audience(row) if row else None


def listed(connection: Connection) -> list[Audience]:
    """Returns all audiences, the newest first."""
    return [_audience(row) for row in connection.execute(select(t.audiences).order_by(t.audiences.c.id.desc()))]


# Knuth's multiplicative hash: a line has the same place on both databases, and the places of any part of a file are
# spread evenly. A line has 31 bits and the factor 32, so the product fits into 64.
_WHOLE = 2**32
_PLACE = cast(t.members.c.line, BigInteger) * literal(2654435761, BigInteger) % literal(_WHOLE, BigInteger)
_NEXT = (
    select(t.members.c.line, t.members.c.mobile, t.members.c.fields)
    .where(t.members.c.audience_id == bindparam("audience_id"), t.members.c.line > bindparam("after"))
    .order_by(t.members.c.line)
    .limit(bindparam("most", type_=Integer))
)
_NEXT_WITHIN = _NEXT.where(_PLACE.between(bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger)))


def members_after(
    connection: Connection, audience_id: int, line: int, *, most: int, within: tuple[float, float] | None = None
) -> list[Member]:
    """Returns the next members after that line, in the order of their lines, at most `most`.

    Each line has a place from 0 to 1 that never changes, and the places of any file are spread evenly. With `within`,
    (low, high), only members with a place there are returned, low included and high not.
    """
    values: dict[str, Any] = {"audience_id": audience_id, "after": line, "most": most}
    query = _NEXT
    if within:
        # Whole numbers are compared: a share times a power of two is exact.
        first, behind = (math.ceil(share * _WHOLE) for share in within)
        query, values = _NEXT_WITHIN, values | {"first": first, "last": behind - 1}
    rows = connection.execute(query, values)
    return [Member(line, mobile, tuple(json.loads(fields))) for line, mobile, fields in rows]


def used_by(connection: Connection, audience_id: int) -> list[str]:
    """Returns the names of the campaigns of an audience."""
    query = select(t.campaigns.c.name).where(t.campaigns.c.audience_id == audience_id)
    return list(connection.scalars(query.order_by(t.campaigns.c.name)))


def remove_part(connection: Connection, audience_id: int) -> bool:
    """Removes PART members of an audience, and with the last of them the audience. Returns whether it is gone."""
    of_audience = t.members.c.audience_id == audience_id
    part = select(t.members.c.line).where(of_audience).order_by(t.members.c.line).limit(PART).subquery()
    last = select(func.max(part.c.line)).scalar_subquery()
    if connection.execute(delete(t.members).where(of_audience, t.members.c.line <= last)).rowcount == PART:
        return False
    connection.execute(delete(t.audiences).where(t.audiences.c.id == audience_id))
    return True


def _audience(row: Any) -> Audience:
    return Audience(**row._asdict() | {"header": tuple(json.loads(row.header))})
