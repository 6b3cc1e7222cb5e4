"""`sms send`: to mobiles, or to a file of them. Everything is checked before the first message is enqueued."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from worker.cli.audience_file import counts_in_words, print_left_out, summarise
from worker.cli.connections import client, ledger_engine
from worker.cli.errors import Failed
from worker.cli.options import NOTICE, Column, Lane, Sheet, split_mobiles
from worker.cli.output import AsJson, clean, console, counted, print_json, styled
from worker.cli.send_file import check_fields, new_key, read_file, send_parts
from worker.cli.waiting import FAILED, Fate, wait_for
from worker.client import SmsClient
from worker.config import load_settings
from worker.ledger.engine import reading
from worker.ledger.sending import message_queries
from worker.present.reasons import reason

SHOWN = 50
"""Up to this many recipients, each status is printed by itself."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file to send to, and how to read it."""

    path: Path
    column: str | None
    sheet: str | None
    refusals: Path | None


def send(  # noqa: PLR0913 - its options are the command's
    *,
    content: Annotated[str, typer.Option(help="The text, without the signature.", show_default=False)],
    to: Annotated[
        list[str] | None, typer.Option(metavar="M[,M…]", help="The mobiles, with commas between them.")
    ] = None,
    to_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A CSV or Excel file.")] = None,
    column: Column = None,
    sheet: Sheet = None,
    refusals: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write the rows refused.")] = None,
    lane: Annotated[Lane, typer.Option(help="What kind of text it is.")] = NOTICE,
    account: Annotated[str, typer.Option(help="The gateway account to send from.")] = "default",
    key: Annotated[str | None, typer.Option(help="The same key is the same message, however often it is sent.")] = None,
    at: Annotated[str | None, typer.Option(help="Not before this time: ISO 8601 with a zone.")] = None,
    valid_for: Annotated[float | None, typer.Option(metavar="SECONDS", help="How long it is worth sending.")] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Seconds to wait for the result.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends a message to one mobile, to several, or to those in a CSV or Excel file.

    Prints the id of the message; for a file, one id for each 10,000 recipients. Numbers in a file that cannot be sent
    to are left out and listed, and repeats are sent to once.

    With --wait, exit code 1 says that a recipient was left out, or that a message was refused, failed, expired or is
    unknown. A message that is still under way when the time is over does not count.

    \b
    Example:
      sms send --to 13800138000 --content "您的验证码是 123456" --lane otp --wait 30
      sms send --to-file audience.csv --column mobile --content "您的订单已发货" --key spring-1
    """
    file = None if to_file is None else _File(to_file, column, sheet, refusals)
    _check_usage(to, file, bool(column or sheet or refusals))
    fields: dict[str, Any] = {
        "content": content,
        "lane": lane.value,
        "account": account,
        "at": at,
        "valid_for": valid_for,
    }
    settings = load_settings("client", *(() if wait is None else ("ledger",)))
    sms = client(settings)
    with nullcontext() if wait is None else ledger_engine(settings) as engine:
        if file:
            sent = _send_file(sms, file, fields, key, quiet=as_json)
        else:
            sent = {"ids": [sms.send(split_mobiles(to or ()), **fields, key=key)]}
        fate = _report(engine, sent, wait, as_json)
    raise typer.Exit(1 if fate and fate.counts.keys() & FAILED else 0)


def _check_usage(to: list[str] | None, file: _File | None, has_file_options: bool) -> None:
    if bool(to) == bool(file):
        raise typer.BadParameter("give either --to or --to-file")
    if has_file_options and not file:
        raise typer.BadParameter("--column, --sheet and --refusals go with --to-file")
    if file and file.refusals and file.refusals.resolve() == file.path.resolve():
        raise typer.BadParameter("--refusals would overwrite the file of --to-file")


def _send_file(sms: SmsClient, file: _File, fields: dict[str, Any], key: str | None, *, quiet: bool) -> dict[str, Any]:
    """Sends to the file; the ids with a summary of the rows, as JSON."""
    key_used = key or new_key()
    at = check_fields(fields, key_used)
    recipients = read_file(file.path, column=file.column, sheet=file.sheet, refusals=file.refusals)
    summary = summarise(len(recipients.mobiles), recipients.left_out)
    if not quiet:
        print_left_out(recipients.left_out)
        typer.echo(counts_in_words(summary))
    if not recipients.mobiles:
        raise Failed(
            f"{file.path} has no number in column {clean(recipients.column)!r} that can be sent to; nothing was enqueued"
        )
    if key is None:
        typer.echo(f"if this breaks off, repeat it with --key {key_used}: nothing is then sent twice", err=True)
    ids = send_parts(sms, recipients, fields, at=at, key=key_used)
    return {"ids": ids, "key": key_used, "column": recipients.column, **summary}


def _report(engine: Engine | None, sent: dict[str, Any], wait: float | None, as_json: bool) -> Fate | None:
    """Prints the ids, waits if there is a ledger to ask, and prints what became of the messages."""
    ids: list[str] = sent["ids"]
    if not as_json:
        typer.echo("\n".join(ids))
    fate = wait_for(engine, ids, wait or 0) if engine else None
    if as_json:
        print_json(sent | ({"counts": fate.counts} if fate else {}))
    elif engine and fate:
        _print_fate(engine, ids, fate)
    return fate


def _print_fate(engine: Engine, ids: list[str], fate: Fate) -> None:
    screen = console()
    if len(ids) == 1 and fate.counts.total() <= SHOWN:
        with reading(engine) as connection:
            message = message_queries.find(connection, ids[0])
            for recipient in message_queries.recipients(connection, message.row_id) if message else ():
                why = f" ({clean(sentence)})" if (sentence := reason(recipient)) else ""
                screen.print(styled(f"{recipient.mobile} {recipient.status}{why}"), soft_wrap=True)
    else:
        screen.print(styled(counted(fate.counts)))
    if not fate.final:
        typer.echo("the time is over, and some statuses are not final; look again with `sms show`", err=True)
