"""`sms unknown`: what the gateway may or may not have taken, and what a person decides about it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Engine

from worker.cli.errors import Failed
from worker.cli.options import Lane, Limit, Since, ledger, ledger_engine, operator
from worker.cli.output import AsJson, clean, console, folded, print_json, shortened, table, utc
from worker.config import load_settings
from worker.domain import lane as domain
from worker.domain.mobile import NotAMobile, normalise
from worker.domain.status import Report
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading
from worker.ledger.sending import evidence
from worker.ledger.sending import unknown as kept
from worker.ledger.sending.unknown import UnknownView, Which

ID_WIDTH = 36
RESENT = "calls to be made again at the next tick of beat: {submissions:,}"
SETTLED = "recipients {status}, as {said_by} said: {recipients:,}"

unknown = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_OnlyLane = Annotated[Lane | None, typer.Option(help="Only of this lane.")]
_OnlyAccount = Annotated[str | None, typer.Option(help="Only of this account.")]


@unknown.callback()
def about() -> None:
    """Lists what the gateway may or may not have taken, and settles it by your word.

    \b
    Example:
      sms unknown list --since 1d
      sms unknown resolve --lane otp --failed
    """


@unknown.command("list")
def list_unknown(
    lane: _OnlyLane = None,
    account: _OnlyAccount = None,
    since: Since = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Lists the calls that the gateway may or may not have taken, the newest first, with how many recipients wait.

    A call was probably not taken where none of its recipients was reported on for several times as long as usual, while calls of its
    account made just before and after it were.

    \b
    Example:
      sms unknown list --lane notice --since 1h
    """
    with ledger() as connection:
        found = kept.newest(connection, Which(lane=lane, account=account, since=since), limit=limit)
        whys = evidence.reasons(connection, [one.id for one in found], now=datetime.now(UTC))
    if as_json:
        print_json([_told(one, whys.get(one.id)) for one in found])
        return
    least = {"since (UTC)": len("2026-11-22"), "lane": max(map(len, domain.LANES)), "recipients": 10}
    known = "message, and what is known"
    listed = table(known, *least, fixed={known: ID_WIDTH}, least=least)
    for one in found:
        said = ("resent; " if one.resent else "") + (" ".join(filter(None, (one.result, one.tips))) or "no reply")
        listed.add_row(
            f"{folded(one.message, ID_WIDTH)}\n{shortened(said, ID_WIDTH)}", utc(one.since).replace(" ", "\n"),
            f"{one.lane}\n{clean(one.account)}", f"{one.recipients:,}",
        )  # fmt: skip
    console().print(listed if found else "nothing is unknown")
    for one in found:
        if one.id in whys:
            typer.echo(f"{clean(one.message)} was probably not taken: {whys[one.id]}")


@unknown.command("resolve")
def resolve(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID[:MOBILE]...", help="Of these messages, or one recipient of one.", show_default=False
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that is unknown.")] = False,
    lane: _OnlyLane = None,
    account: _OnlyAccount = None,
    since: Since = None,
    probable: Annotated[
        bool, typer.Option("--probable", help="Only what was probably not taken, as `sms unknown list` says.")
    ] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send it again, under the same msgId; who has it already may get it twice.")
    ] = False,
    delivered: Annotated[bool, typer.Option("--delivered", help="It reached them.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="It did not reach them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Settles by your word what is unknown: by message, or by filter, and then you are asked first.

    What is sent again may go out for as long as the message might, but at least for as long as a new one of its lane.
    If a report comes before that, it is not sent. A report that comes after your word is kept beside it.

    \b
    Example:
      sms unknown resolve 01a20346-6bd1-7ef9-9530-deb074fa32cf --resend
      sms unknown resolve 01a20346-6bd1-7ef9-9530-deb074fa32cf:13800138000 --delivered
      sms unknown resolve --lane otp --since 1d --failed
      sms unknown resolve --resend --probable
    """
    filtered = bool(lane or account or since or probable)
    if bool(names) + everything + filtered != 1:
        raise typer.BadParameter(
            "say which: ids of messages, or --all, or some of --lane, --account, --since, --probable"
        )
    if resend + delivered + failed != 1:
        raise typer.BadParameter("say what to do: --resend, --delivered or --failed")
    if probable and delivered:
        raise typer.BadParameter("--probable is for what was probably not taken: say --resend or --failed")
    report = Report.DELIVERED if delivered else Report.UNDELIVERED if failed else None
    settings = load_settings("ledger")
    with ledger_engine(settings) as engine:
        submission_ids = evidence.probable(engine, now=datetime.now(UTC)) if probable else None
        with reading(engine) as connection:
            which = _named(connection, names) if names else Which(lane=lane, account=account, since=since)
            whiches = (
                [which]
                if submission_ids is None
                else [replace(which, submission_ids=some) for some in chunks(submission_ids)]
            )
            calls, recipients = map(sum, zip((0, 0), *(kept.count(connection, one) for one in whiches), strict=True))
        if resend and which.pairs:
            raise typer.BadParameter("--resend takes whole messages: a call goes to all of its recipients")
        if calls and not names and not yes:
            todo = f"call them {report}" if report else "send again"
            what = "unknown, and were probably not taken" if probable else "unknown"
            _ask(f"{recipients:,} recipients of {calls:,} calls are {what}: {todo}?")
        done = _carry_out(engine, whiches, report, settings.lanes)
    if as_json:
        print_json(done)
    else:
        typer.echo(clean((SETTLED if report else RESENT).format(**done)))


def _told(one: UnknownView, why: str | None) -> dict[str, Any]:
    fields = asdict(one)
    del fields["id"]
    return fields | {"probably_not_taken": why}


def _named(connection: Connection, names: Sequence[str]) -> Which:
    """What is meant by each ID or ID:MOBILE. An id may itself have a colon and a number in it, so it is tried as an id first."""
    ids, pairs, nothing = [], [], []
    for name in names:
        before, _, after = name.rpartition(":")
        if any(kept.count(connection, Which(ids=[name]))):
            ids.append(name)
        elif (mobile := _mobile(after)) and any(kept.count(connection, Which(pairs=[(before, mobile)]))):
            pairs.append((before, mobile))
        else:
            nothing.append(name)
    if nothing:
        raise Failed(f"nothing is unknown of {', '.join(nothing)}; nothing was done. `sms unknown list` shows what is")
    return Which(ids=ids, pairs=pairs)


def _mobile(text: str) -> str | None:
    try:
        return normalise(text)
    except NotAMobile:
        return None


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise Failed(f"{question} There is nobody to ask here: say --yes, or look first with `sms unknown list`")
    typer.confirm(question, abort=True, err=True)


def _carry_out(
    engine: Engine, whiches: Sequence[Which], report: Report | None, lanes: Mapping[str, domain.Lane]
) -> dict[str, Any]:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        if report is None:
            return {"submissions": sum(kept.resend(connection, one, lanes, now=now) for one in whiches)}
        said_by = operator()
        count = sum(kept.settle(connection, one, report, said_by=said_by, now=now) for one in whiches)
        return {"recipients": count, "status": report, "said_by": said_by}
