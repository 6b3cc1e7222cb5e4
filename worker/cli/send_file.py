"""Sending to a column of a CSV file, in messages of at most MAX_RECIPIENTS; and telling who was left out, and why."""

import csv
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.progress import Progress

from worker.cli.audience import REPEAT, Audience, Refusal, read_audience, values
from worker.cli.failures import Failed
from worker.cli.output import clean, console, table
from worker.client import SmsClient
from worker.domain.message import MAX_RECIPIENTS, read_message
from worker.ledger.statements import chunks

ANYBODY = "13800138000"
MOST_PARTS = 100_000


def check_fields(fields: Mapping[str, Any], key: str) -> datetime | None:
    """Raises Refused for whatever is wrong with the message itself, before its file is read; the time to send it at, if any."""
    whole = {**fields, "to": ANYBODY, "key": _part_key(key, MOST_PARTS)}
    return read_message(whole, now=datetime.now(UTC), default_id="").at


def read_file(path: Path, column: str, refusals: Path | None) -> Audience:
    """Who in the file can be sent to; writes every refused row to `refusals`."""
    with _progress() as progress, _refusals_file(refusals) as refuse:
        return read_audience(progress.track(values(path, column), description="reading"), refuse)


def send_parts(
    sms: SmsClient, audience: Audience, fields: Mapping[str, Any], *, at: datetime | None, key: str
) -> list[str]:
    """Enqueues the messages; their ids. The same key and the same file are the same messages, however often it is done."""
    ids = []
    with _progress() as progress:
        enqueuing = progress.add_task("enqueuing", total=len(audience.mobiles))
        for number, mobiles in enumerate(chunks(audience.mobiles, MAX_RECIPIENTS), 1):
            # A time that comes while the parts are being enqueued is now, not past.
            later = at if at and at > datetime.now(UTC) else None
            ids.append(sms.send(mobiles, **{**fields, "at": later}, key=_part_key(key, number)))
            progress.advance(enqueuing, len(mobiles))
    return ids


def a_key() -> str:
    """A key for a file that was given none: should its sending break off, it can be taken up with it."""
    return f"file-{uuid.uuid4()}"


def summary(audience: Audience) -> dict[str, Any]:
    """The audience in numbers."""
    return {
        "good": len(audience.mobiles),
        "repeats": audience.repeats,
        "refused": audience.refused.total(),
        "reasons": {fault.name.lower(): count for fault, count in audience.refused.most_common()},
    }


def print_left_out(audience: Audience) -> None:
    """A table of what was refused and what was there before, by reason, with the first few lines of each."""
    listed = table("rows", "left out, for the number", "for example", fixed={"rows": 7})
    for kind, count in [*audience.refused.most_common(), *([(REPEAT, audience.repeats)] if audience.repeats else [])]:
        examples = "\n".join(f"line {one.line}: {clean(one.value)}" for one in audience.examples[kind])
        listed.add_row(f"{count:,}", kind, examples)
    if listed.row_count:
        console().print(listed)


def _part_key(key: str, number: int) -> str:
    return f"{key}/{number}"


def _progress() -> Progress:
    screen = console(stderr=True)
    return Progress(console=screen, disable=not screen.is_terminal, transient=True)


@contextmanager
def _refusals_file(path: Path | None) -> Iterator[Callable[[Refusal], object]]:
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("line", "value", "reason"))
            yield lambda refusal: writer.writerow((refusal.line, refusal.value, refusal.reason))
    except OSError as why:
        raise Failed(f"{path} cannot be written: {why.strerror}; give --refusals another path") from why
