"""A campaign of a ledger that is there at once, with nothing but what a test says of it."""

import json
from collections.abc import Sequence

from ledger_driver import NOW, Ledger
from sqlalchemy import delete, insert

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
    """The campaign of that name, in place of the one before; each of the people is a row, the mobile first, on line 2 and on."""
    with ledger.engine.begin() as connection:
        for table in (t.campaigns, t.members, t.audiences):
            connection.execute(delete(table))
        audience_id = connection.execute(
            insert(t.audiences).returning(t.audiences.c.id),
            {
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
            },
        ).scalar_one()
        rows = [
            {"audience_id": audience_id, "line": line, "mobile": row[0], "fields": json.dumps(row)}
            for line, row in enumerate(people, 2)
        ]
        if rows:
            connection.execute(insert(t.members), rows)
        of = {
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
        connection.execute(insert(t.campaigns), of | values)
