"""`sms send`: to mobiles, or to a file of them. Everything is checked before the first message is enqueued."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from worker.cli.audience_file import print_left_out, summary
from worker.cli.errors import Failed
from worker.cli.options import NOTICE, Lane, client, ledger_engine
from worker.cli.output import AsJson, clean, console, counted, print_json, styled
from worker.cli.send_file import Recipients, a_key, check_fields, read_file, send_parts
from worker.cli.waiting import FAILED, Fate, wait_for
from worker.client import SmsClient
from worker.config import load_settings
from worker.ledger.engine import reading
from worker.ledger.sending import message_queries
from worker.present.reasons import reason

SHOWN = 50
"""Recipients whose status is told one by one."""


def send(
    *,
    content: Annotated[str, typer.Option(help="The text, without the signature.", show_default=False)],
    to: Annotated[list[str] | None, typer.Option(metavar="M[,M…]", help="The mobiles, with commas between.")] = None,
    to_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A CSV or Excel file.")] = None,
    column: Annotated[str | None, typer.Option(help="The column that has the mobiles, if it is not found.")] = None,
    sheet: Annotated[str | None, typer.Option(help="The sheet of a workbook, if it is not the first.")] = None,
    refusals: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write the rows refused.")] = None,
    lane: Annotated[Lane, typer.Option(help="What kind of text it is.")] = NOTICE,
    account: Annotated[str, typer.Option(help="The gateway account to send from.")] = "default",
    key: Annotated[str | None, typer.Option(help="The same key is the same message, however often it is sent.")] = None,
    at: Annotated[str | None, typer.Option(help="Not before this time: ISO 8601 with a zone.")] = None,
    valid_for: Annotated[float | None, typer.Option(metavar="SECONDS", help="How long it is worth sending.")] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait so long for what becomes of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends a message to one mobile, to several, or to those in a CSV or Excel file.

    Prints the id of the message; of a file, one for each 10,000 recipients. Numbers in a file that cannot be sent to are left
    out and told; repeats are sent to once. With --wait, exit code 1 says that a recipient was left out, that its message was
    refused, failed or expired, or that it is unknown whether it was taken; what is still under way when the time is over is none of these.

    \b
    Example:
      sms send --to 13800138000 --content "您的验证码是 123456" --lane otp --wait 30
      sms send --to-file audience.csv --column mobile --content "您的订单已发货" --key spring-1
    """
    _check_usage(to, to_file, refusals, column or sheet)
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
        if to_file:
            read = partial(read_file, to_file, column=column, sheet=sheet, refusals=refusals)
            told = _send_file(sms, to_file, read, fields, key, quiet=as_json)
        else:
            mobiles = [mobile for some in to or () for mobile in re.split("[,，]", some)]
            told = {"ids": [sms.send(mobiles, **fields, key=key)]}
        ids = told["ids"]
        if not as_json:
            typer.echo("\n".join(ids))
        fate = wait_for(engine, ids, wait or 0) if engine else None
        if fate:
            told["counts"] = fate.counts
        if as_json:
            print_json(told)
        elif engine and fate:
            _print_fate(engine, ids, fate)
    raise typer.Exit(1 if fate and fate.counts.keys() & FAILED else 0)


def _check_usage(to: list[str] | None, to_file: Path | None, refusals: Path | None, of_a_file: str | None) -> None:
    if bool(to) == bool(to_file):
        raise typer.BadParameter("give either --to or --to-file")
    if (refusals or of_a_file) and not to_file:
        raise typer.BadParameter("--column, --sheet and --refusals go with --to-file")
    if refusals and to_file and refusals.resolve() == to_file.resolve():
        raise typer.BadParameter("--refusals would overwrite the file of --to-file")


def _send_file(
    sms: SmsClient,
    path: Path,
    read: Callable[[], Recipients],
    fields: dict[str, Any],
    key: str | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    given, key = key, key or a_key()
    at = check_fields(fields, key)
    recipients = read()
    told = {"key": key, "column": recipients.column, **summary(len(recipients.mobiles), recipients.left_out)}
    if not quiet:
        print_left_out(recipients.left_out)
        typer.echo("{good:,} good numbers, {repeats:,} repeats, {refused:,} refused".format(**told))
    if not recipients.mobiles:
        raise Failed(
            f"{path} has no number in column {clean(recipients.column)!r} that can be sent to; nothing was enqueued"
        )
    if not given:
        typer.echo(f"should this break off, do it again with --key {key}: what is enqueued is not sent twice", err=True)
    return {"ids": send_parts(sms, recipients, fields, at=at, key=key), **told}


def _print_fate(engine: Engine, ids: list[str], fate: Fate) -> None:
    screen = console()
    if len(ids) == 1 and fate.counts.total() <= SHOWN:
        with reading(engine) as connection:
            message = message_queries.find(connection, ids[0])
            for one in message_queries.recipients(connection, message.row_id) if message else ():
                why = f" ({clean(sentence)})" if (sentence := reason(one)) else ""
                screen.print(styled(f"{one.mobile} {one.status}{why}"), soft_wrap=True)
    else:
        screen.print(styled(counted(fate.counts)))
    if not fate.final:
        typer.echo("the time is over, and not all of it is final; ask again with `sms show`", err=True)
