"""The recipients of a campaign one by one, as they are exported."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from worker.domain.campaigns.campaign import Run
from worker.ledger import tables as t
from worker.ledger.pages import paged


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A recipient of a campaign, and what has become of it. `message` is the public id of its message."""

    mobile: str
    status: str
    suppressed: str | None
    result: str | None
    tips: str | None
    message: str
    msg_id: int | None
    updated_at: datetime


_STATUS, _MESSAGE_ID = t.recipient_status.c, t.messages.c.id
_RECIPIENTS = (
    select(
        _STATUS.mobile,
        _STATUS.status,
        _STATUS.suppressed,
        _STATUS.result,
        _STATUS.tips,
        t.messages.c.public_id,
        _STATUS.msg_id,
        _STATUS.updated_at,
        _MESSAGE_ID,
    )
    .join(t.messages, _STATUS.message_id == _MESSAGE_ID)
    .order_by(_MESSAGE_ID, _STATUS.mobile)
)


def recipient_rows(connection: Connection, runs: Sequence[Run]) -> Iterator[RecipientRow]:
    """Yields the recipients of these runs, however many: those of each run in the order in which they were made."""
    for run in runs:
        of_run = t.messages.c.run_id == run.id
        first = connection.scalar(select(func.min(_MESSAGE_ID)).where(of_run))
        if first is not None:
            for page in paged(connection, _RECIPIENTS.where(of_run, _from(first)), _after):
                yield from (RecipientRow(*row[:-1]) for row in page)


def _from(message_id: int) -> ColumnElement[bool]:
    # Said of both tables: each database begins to read in the one that it prefers.
    return and_(message_id <= _MESSAGE_ID, _STATUS.message_id >= message_id)


def _after(row: Any) -> ColumnElement[bool]:
    return and_(_from(row.id), or_(row.id < _MESSAGE_ID, _STATUS.mobile > row.mobile))
