"""`sms unknown`: lists calls that the gateway may or may not have taken, and settles them by the word of a person."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Engine

from worker.cli.connections import ledger, ledger_engine, operator
from worker.cli.errors import Failed
from worker.cli.options import Limit, OnlyAccount, OnlyLane, Since
from worker.cli.output import AsJson, clean, console, plural, print_json, shortened, table, utc, wrapped
from worker.config import load_settings
from worker.domain.lane import LANES, Lane
from worker.domain.mobile import NotAMobile, normalise
from worker.domain.status import Report
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading
from worker.ledger.sending import evidence
from worker.ledger.sending import unknown as ledger_unknown
from worker.ledger.sending.unknown import UnknownFilter, UnknownView
from worker.present.unknown import unknown_call_json

ID_WIDTH = 36

unknown = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@unknown.callback()
def about() -> None:
    """Lists calls that the gateway may or may not have taken, and settles them by your word.

    \b
    Example:
      sms unknown list --since 1d
      sms unknown resolve --lane otp --failed
    """


@unknown.command("list")
def list_unknown(
    lane: OnlyLane = None,
    account: OnlyAccount = None,
    since: Since = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Lists the calls that the gateway may or may not have taken, the newest first, with how many recipients wait.

    A call was probably not taken if no report on it came for several times as long as usual. The account's calls
    just before and after it must have been reported on.

    \b
    Example:
      sms unknown list --lane notice --since 1h
    """
    with ledger() as connection:
        calls = ledger_unknown.newest(connection, UnknownFilter(lane=lane, account=account, since=since), limit=limit)
        reasons = evidence.reasons(connection, [call.id for call in calls], now=datetime.now(UTC))
    if as_json:
        print_json([unknown_call_json(call, reasons.get(call.id)) for call in calls])
    else:
        _print(calls, reasons)


def _print(calls: Sequence[UnknownView], reasons: Mapping[int, str]) -> None:
    first = "message, and what is known"
    least = {"since (UTC)": len("2026-11-22"), "lane": max(map(len, LANES)), "recipients": 10}
    listed = table(first, *least, fixed={first: ID_WIDTH}, least=least)
    for call in calls:
        answer = " ".join(filter(None, (call.result, call.tips))) or "no reply"
        answer = f"resent; {answer}" if call.resent else answer
        listed.add_row(
            f"{wrapped(call.message, ID_WIDTH)}\n{shortened(answer, ID_WIDTH)}", utc(call.since).replace(" ", "\n"),
            f"{call.lane}\n{clean(call.account)}", f"{call.recipients:,}",
        )  # fmt: skip
    console().print(listed if calls else "nothing is unknown")
    for call in calls:
        if call.id in reasons:
            typer.echo(f"{clean(call.message)} was probably not taken: {reasons[call.id]}")


@unknown.command("resolve")
def resolve(  # noqa: PLR0913 - its options are the command's
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID[:MOBILE]...", help="Messages, or one recipient of a message.", show_default=False),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that is unknown.")] = False,
    lane: OnlyLane = None,
    account: OnlyAccount = None,
    since: Since = None,
    probable: Annotated[
        bool, typer.Option("--probable", help="Only what was probably not taken, as `sms unknown list` says.")
    ] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send it again, under the same msgId; somebody may get it twice.")
    ] = False,
    delivered: Annotated[bool, typer.Option("--delivered", help="It reached the recipients.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="It did not reach the recipients.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Settles by your word what is unknown: named messages, or all that a filter finds. A filter asks you first.

    A message that is sent again keeps its validity, and gets at least that of a new message of its lane.
    If a report comes before that, it is not sent. A report that comes after your word is kept beside it.

    \b
    Example:
      sms unknown resolve 01a20346-6bd1-7ef9-9530-deb074fa32cf --resend
      sms unknown resolve 01a20346-6bd1-7ef9-9530-deb074fa32cf:13800138000 --delivered
      sms unknown resolve --lane otp --since 1d --failed
      sms unknown resolve --resend --probable
    """
    if bool(names) + everything + bool(lane or account or since or probable) != 1:
        raise typer.BadParameter("give ids of messages, or --all, or some of --lane, --account, --since, --probable")
    if resend + delivered + failed != 1:
        raise typer.BadParameter("give one of --resend, --delivered and --failed")
    if probable and delivered:
        raise typer.BadParameter("--probable is for calls that were probably not taken: give --resend or --failed")
    report = Report.DELIVERED if delivered else Report.UNDELIVERED if failed else None
    settings = load_settings("ledger")
    with ledger_engine(settings) as engine:
        if names:
            parts = [_named(engine, names, resend)]
        else:
            parts = _filtered(engine, UnknownFilter(lane=lane, account=account, since=since), probable)
            if not yes:
                _ask(engine, parts, report, probable)
        done = _resolve(engine, parts, report) if report else _resend(engine, parts, settings.lanes)
    if as_json:
        print_json(done)
    else:
        typer.echo(clean(_in_words(done)))


def _in_words(done: Mapping[str, Any]) -> str:
    if "submissions" in done:
        return f"{plural(done['submissions'], 'call')} will be queued again within a second"
    count = done["recipients"]
    return (
        f"{plural(count, 'recipient')} {'is' if count == 1 else 'are'} now {done['status']}, set by {done['said_by']}"
    )


def _named(engine: Engine, names: Sequence[str], resend: bool) -> UnknownFilter:
    with reading(engine) as connection:
        which = _read_names(connection, names)
    if resend and which.pairs:
        raise typer.BadParameter("--resend takes whole messages: a call goes to all of its recipients")
    return which


def _read_names(connection: Connection, names: Sequence[str]) -> UnknownFilter:
    """The recipients that each ID or ID:MOBILE names.

    An id may end in a colon and a mobile, so it is tried as an id first.
    """
    ids, pairs, nothing = [], [], []
    for name in names:
        before, _, after = name.rpartition(":")
        if any(ledger_unknown.count(connection, UnknownFilter(ids=[name]))):
            ids.append(name)
        elif (mobile := _mobile(after)) and any(
            ledger_unknown.count(connection, UnknownFilter(pairs=[(before, mobile)]))
        ):
            pairs.append((before, mobile))
        else:
            nothing.append(name)
    if nothing:
        raise Failed(f"nothing is unknown of {', '.join(nothing)}; nothing was done. `sms unknown list` shows what is")
    return UnknownFilter(ids=ids, pairs=pairs)


def _mobile(text: str) -> str | None:
    try:
        return normalise(text)
    except NotAMobile:
        return None


def _filtered(engine: Engine, which: UnknownFilter, probable: bool) -> list[UnknownFilter]:
    """The filter; with `probable` in parts, each of which names as many submissions as a statement takes."""
    if not probable:
        return [which]
    submission_ids = evidence.find_probably_not_taken(engine, now=datetime.now(UTC))
    return [replace(which, submission_ids=part) for part in chunks(submission_ids)]


def _ask(engine: Engine, parts: Sequence[UnknownFilter], report: Report | None, probable: bool) -> None:
    """Asks before anything is settled, if anything is there. Raises Failed where nobody can answer."""
    with reading(engine) as connection:
        counts = [ledger_unknown.count(connection, part) for part in parts]
    calls, recipients = sum(calls for calls, _ in counts), sum(recipients for _, recipients in counts)
    if not calls:
        return
    action = f"call them {report}" if report else "send again"
    are = "unknown, and were probably not taken" if probable else "unknown"
    question = f"{recipients:,} recipients of {calls:,} calls are {are}: {action}?"
    if not sys.stdin.isatty():
        raise Failed(f"{question} Nobody can answer here: give --yes, or look first with `sms unknown list`")
    typer.confirm(question, abort=True, err=True)


def _resend(engine: Engine, parts: Sequence[UnknownFilter], lanes: Mapping[str, Lane]) -> dict[str, Any]:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        return {"submissions": sum(ledger_unknown.resend(connection, part, lanes, now=now) for part in parts)}


def _resolve(engine: Engine, parts: Sequence[UnknownFilter], report: Report) -> dict[str, Any]:
    set_by, now = operator(), datetime.now(UTC)
    with engine.begin() as connection:
        count = sum(ledger_unknown.resolve(connection, part, report, set_by=set_by, now=now) for part in parts)
    return {"recipients": count, "status": report, "said_by": set_by}
