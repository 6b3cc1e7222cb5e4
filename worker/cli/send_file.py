"""Sending to a file of people, in messages of at most MAX_RECIPIENTS."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.campaigns.files.table import open_table
from worker.cli.audience_file import refusals_file, watched
from worker.cli.output import progress, progress_bar
from worker.client import SmsClient
from worker.domain.campaigns.audience import RowFault, RowsLeftOut, good_rows, repeat
from worker.domain.message import MAX_RECIPIENTS
from worker.domain.read_message import read_message
from worker.ledger.dialect import chunks

ANYBODY = "13800138000"
MOST_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class Recipients:
    """The recipients in a file, in its order: each mobile once with its first line, and the rows that are left out."""

    column: str
    mobiles: dict[str, int]
    left_out: RowsLeftOut


def check_fields(fields: Mapping[str, Any], key: str) -> datetime | None:
    """Checks the message before its file is read. Returns the time to send it at, if any. Raises Refused."""
    whole = {**fields, "to": ANYBODY, "key": _part_key(key, MOST_PARTS)}
    return read_message(whole, now=datetime.now(UTC), default_id="").at


def read_file(
    path: Path, *, column: str | None = None, sheet: str | None = None, refusals: Path | None = None
) -> Recipients:
    """Reads the recipients from the file, and writes every refused row to `refusals`.

    Raises AudienceError where it is not a table.
    """
    with (
        open_table(path, column=column, sheet=sheet) as table,
        progress_bar() as bar,
        refusals_file(refusals) as write,
    ):
        # A repeat is not refused: its mobile is sent to.
        left_out = RowsLeftOut(lambda refusal: None if refusal.fault is RowFault.REPEAT else write(refusal))
        mobiles: dict[str, int] = {}
        position = table.header.index(table.column)
        for line, mobile, values in good_rows(watched(table, bar), len(table.header), position, left_out.add):
            if mobiles.setdefault(mobile, line) != line:
                left_out.add(repeat(line, values[position], mobiles[mobile]))
        return Recipients(table.column, mobiles, left_out)


def send_parts(
    sms: SmsClient, recipients: Recipients, fields: Mapping[str, Any], *, at: datetime | None, key: str
) -> list[str]:
    """Enqueues the messages and returns their ids.

    The same key with the same file is the same messages, however often it is sent.
    """
    ids = []
    with progress("enqueuing", len(recipients.mobiles)) as advance:
        for number, mobiles in enumerate(chunks(recipients.mobiles, MAX_RECIPIENTS), 1):
            # A time that passes while the parts are enqueued counts as now, not as past.
            later = at if at and at > datetime.now(UTC) else None
            ids.append(sms.send(mobiles, **{**fields, "at": later}, key=_part_key(key, number)))
            advance(len(mobiles))
    return ids


def new_key() -> str:
    """A key for a file that was given none. If its sending breaks off, the same key continues it."""
    return f"file-{uuid.uuid4()}"


def _part_key(key: str, number: int) -> str:
    return f"{key}/{number}"
