"""Sending to a file of people, in messages of at most MAX_RECIPIENTS."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.campaigns.files.table import open_table
from worker.cli.audience_file import refusals_file, watched
from worker.cli.output import progress_bar
from worker.client import SmsClient
from worker.domain.campaigns.audience import RowFault, RowsLeftOut, good_rows, repeat
from worker.domain.message import MAX_RECIPIENTS
from worker.domain.read_message import read_message
from worker.ledger.dialect import chunks

ANYBODY = "13800138000"
MOST_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class Recipients:
    """Whom a file sends to: each mobile once, with the line it was first on, in the order of the file; and who is left out."""

    column: str
    mobiles: dict[str, int]
    left_out: RowsLeftOut


def check_fields(fields: Mapping[str, Any], key: str) -> datetime | None:
    """Raises Refused for whatever is wrong with the message itself, before its file is read; the time to send it at, if any."""
    whole = {**fields, "to": ANYBODY, "key": _part_key(key, MOST_PARTS)}
    return read_message(whole, now=datetime.now(UTC), default_id="").at


def read_file(
    path: Path, *, column: str | None = None, sheet: str | None = None, refusals: Path | None = None
) -> Recipients:
    """Who in the file can be sent to; writes every refused row to `refusals`. Raises NoAudience for a file that is no table."""
    with (
        open_table(path, column=column, sheet=sheet) as table,
        progress_bar() as progress,
        refusals_file(refusals) as tell,
    ):
        # A repeat is not refused: its mobile is sent to.
        left_out = RowsLeftOut(lambda refusal: None if refusal.fault is RowFault.REPEAT else tell(refusal))
        mobiles: dict[str, int] = {}
        position = table.header.index(table.column)
        for line, mobile, values in good_rows(watched(table, progress), len(table.header), position, left_out.add):
            if mobiles.setdefault(mobile, line) != line:
                left_out.add(repeat(line, values[position], mobiles[mobile]))
        return Recipients(table.column, mobiles, left_out)


def send_parts(
    sms: SmsClient, recipients: Recipients, fields: Mapping[str, Any], *, at: datetime | None, key: str
) -> list[str]:
    """Enqueues the messages; their ids. The same key and the same file are the same messages, however often it is done."""
    ids = []
    with progress_bar() as progress:
        enqueuing = progress.add_task("enqueuing", total=len(recipients.mobiles))
        for number, mobiles in enumerate(chunks(recipients.mobiles, MAX_RECIPIENTS), 1):
            # A time that comes while the parts are being enqueued is now, not past.
            later = at if at and at > datetime.now(UTC) else None
            ids.append(sms.send(mobiles, **{**fields, "at": later}, key=_part_key(key, number)))
            progress.advance(enqueuing, len(mobiles))
    return ids


def a_key() -> str:
    """A key for a file that was given none: should its sending break off, it can be taken up with it."""
    return f"file-{uuid.uuid4()}"


def _part_key(key: str, number: int) -> str:
    return f"{key}/{number}"
