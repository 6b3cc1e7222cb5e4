"""A campaign as rows of a ledger, with only the values that a test gives."""

import json
from collections.abc import Sequence

from ledger_driver import NOW, Ledger
from sqlalchemy import Connection, delete, insert

from worker.ledger import tables as t

NAME = "spring"


def add_campaign(
    ledger: Ledger,
    people: Sequence[Sequence[str]],
    content: str,
    *,
    header: Sequence[str] = ("手机", "姓名"),
    ready: bool = True,
    **values: object,
) -> None:
    """Adds the campaign NAME, in place of an earlier one. Each of `people` is a row, from line 2 on, with the mobile
    first.
    """
    with ledger.engine.begin() as connection:
        for table in (t.campaigns, t.members, t.audiences):
            connection.execute(delete(table))
        audience_id = _add_audience(connection, people, header, ready)
        row = {
            "name": NAME,
            "account_id": ledger.account_ids["default"],
            "lane": "marketing",
            "audience_id": audience_id,
            "content": content,
            "state": "draft",
            "since": NOW,
            "said_by": "alice",
            "time_zone": "Asia/Shanghai",
            "leftover": "continue",
            "missed": "late",
            "created_at": NOW,
            "created_by": "alice",
        }
        connection.execute(insert(t.campaigns), row | values)


def _add_audience(connection: Connection, people: Sequence[Sequence[str]], header: Sequence[str], ready: bool) -> int:
    row = {
        "name": "customers",
        "source": "customers.csv",
        "header": json.dumps(header),
        "mobile_column": header[0],
        "ready": ready,
        "good": len(people),
        "repeats": 4,
        "refused": 3,
        "created_at": NOW,
        "created_by": "alice",
    }
    audience_id: int = connection.execute(insert(t.audiences).returning(t.audiences.c.id), row).scalar_one()
    members = [
        {"audience_id": audience_id, "line": line, "mobile": values[0], "fields": json.dumps(values)}
        for line, values in enumerate(people, 2)
    ]
    if members:
        connection.execute(insert(t.members), members)
    return audience_id
