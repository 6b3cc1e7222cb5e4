"""`sms pushes`: what the gateway pushed to us, and what became of it."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from worker.cli.errors import Failed
from worker.cli.options import Limit, ledger, ledger_engine, operator
from worker.cli.optout import told
from worker.cli.output import AsJson, clean, console, print_json, progress_bar, shortened, styled, table, utc
from worker.config import load_settings
from worker.inbound.revoke import Revocation, revoke_push
from worker.ledger.inbound import push_queries
from worker.ledger.inbound import pushes as kept
from worker.ledger.inbound.push_queries import PushView
from worker.ledger.inbound.pushes import PROCESSED, QUARANTINED, RECEIVED
from worker.ledger.sending.optouts import Undone

SHOWN = 200
"""Characters of a reason that the table shows; `show` has it whole."""

_ELEMENT_BEGINS = re.compile(r"(?<=>)\s*(?=<[^/])")


class State(StrEnum):
    """Where a push stands."""

    RECEIVED = RECEIVED
    PROCESSED = PROCESSED
    QUARANTINED = QUARANTINED


class Replayable(StrEnum):
    """A state whose pushes can be read again all at once."""

    QUARANTINED = QUARANTINED


pushes = typer.Typer(add_completion=False, rich_markup_mode=None)
_OnlyState = Annotated[State | None, typer.Option("--state", help="Only in this state.")]


@pushes.callback(invoke_without_command=True)
def default(ctx: typer.Context, state: _OnlyState = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists what the gateway pushed to us, the newest first, and shows one in full.

    \b
    Example:
      sms pushes --state quarantined
      sms pushes show 17
    """
    if ctx.invoked_subcommand is None:
        list_pushes(state, limit, as_json)


@pushes.command("list")
def list_pushes(state: _OnlyState = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists pushes, the newest first; the same as `sms pushes`.

    \b
    Example:
      sms pushes list --state received --limit 5
    """
    with ledger() as connection:
        found = push_queries.newest(connection, limit=limit, state=state)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    listed = table("id", "received (UTC)", "source", "state", "items", "unmatched", "reason", fixed={"id": 4})
    for one in found:
        listed.add_row(
            str(one.id), utc(one.received_at).replace(" ", "\n"), clean(one.source),
            "revoked" if one.revoked_at else styled(one.state),
            _number(one.items), _number(one.unmatched), shortened(one.reason or "", SHOWN),
        )  # fmt: skip
    console().print(listed if found else "no such push")


@pushes.command("show")
def show_push(
    push_id: Annotated[
        int,
        typer.Argument(min=1, max=2**63 - 1, metavar="ID", help="The id that the list shows.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Shows a push in full, with its body as the gateway sent it.

    \b
    Example:
      sms pushes show 17
    """
    with ledger() as connection:
        found = push_queries.find(connection, push_id)
    if found is None:
        raise Failed(f"there is no push {push_id}; `sms pushes` lists them")
    push, body = found
    if as_json:
        print_json(asdict(push) | {"body": readable(body)})
    else:
        _print(push, readable(body))


@pushes.command("replay")
def replay(
    push_ids: Annotated[
        list[int] | None,
        typer.Argument(min=1, max=2**63 - 1, metavar="ID...", help="The ids that the list shows."),
    ] = None,
    state: Annotated[Replayable | None, typer.Option("--state", help="All in this state, instead of numbers.")] = None,
    as_json: AsJson = False,
) -> None:
    """Has pushes read again, such as after their account was added; what they brought before is not there twice.

    \b
    Example:
      sms pushes replay 17 18
      sms pushes replay --state quarantined
    """
    if bool(push_ids) == bool(state):
        raise typer.BadParameter("give the numbers of pushes, or --state quarantined")
    with ledger_engine(load_settings("ledger")) as engine, engine.begin() as connection:
        again = kept.replay(connection, push_ids=push_ids or (), state=state, now=datetime.now(UTC))
    if as_json:
        print_json(sorted(again))
    elif again or state:
        console().print(f"{_pushes(len(again))} to be read again at the next tick of beat")
    if left := sorted({*(push_ids or ())} - {*again}):
        why = "it waits to be read already, it is revoked, or its body is kept no longer"
        raise Failed(f"there is no push {', '.join(map(str, left))}, or {why}")


@pushes.command("revoke")
def revoke(
    push_ids: Annotated[
        list[int],
        typer.Argument(min=1, max=2**63 - 1, metavar="ID...", help="The ids that the list shows.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Takes back for good what forged pushes said: their reports, their replies, and the opt-outs by them.

    What other pushes said of the same counts in its place. A submission that was `unknown` until the push reported it stays accepted.
    For the opt-outs alone: `sms optout undo`.

    \b
    Example:
      sms pushes revoke 17 18
    """
    settings = load_settings("ledger")
    done: dict[int, Revocation] = {}
    with ledger_engine(settings) as engine, progress_bar() as progress:
        looking = progress.add_task("pushes that said the same", total=None)
        for push_id in dict.fromkeys(push_ids):
            revoked = revoke_push(
                engine, push_id, words=settings.optout_words, by=operator(), now=datetime.now(UTC),
                checked=lambda: progress.advance(looking),
            )  # fmt: skip
            if revoked:
                done[push_id] = revoked
    if as_json:
        print_json([{"id": push_id} | asdict(one) for push_id, one in done.items()])
    else:
        _print_revoked(done)
    if left := [str(push_id) for push_id in push_ids if push_id not in done]:
        raise Failed(f"there is no push {', '.join(left)}; `sms pushes` lists them")


def _print_revoked(done: Mapping[int, Revocation]) -> None:
    screen = console()
    for push_id, one in done.items():
        screen.print(f"push {push_id} is revoked: {one.reports:,} reports and {one.replies:,} replies taken back")
        screen.print(told(Undone(one.optouts, one.optouts_kept)))
        if one.read_again:
            screen.print(f"{_pushes(one.read_again)} to be read again at the next tick of beat: they said the same")


def _pushes(count: int) -> str:
    return "1 push is" if count == 1 else f"{count:,} pushes are"


def _print(push: PushView, body: str) -> None:
    screen = console()
    screen.print(f"push {push.id} from {clean(push.source)}, received {utc(push.received_at)} UTC")
    if push.revoked_at:
        by = clean(push.revoked_by or "?")
        screen.print(f"revoked {utc(push.revoked_at)} UTC by {by}: what it said does not count")
    screen.print(styled(push.state), f"items {_number(push.items)}, unmatched {push.unmatched}")
    if push.reason:
        screen.print(clean(push.reason))
    screen.print()
    screen.print(clean(body) or "(wiped: a body is kept for SMS_KEEP_DAYS)", soft_wrap=True)


def readable(body: bytes) -> str:
    """The body as text, with an element to a line. It is not parsed: what it says of entities and the like has no effect here."""
    return _ELEMENT_BEGINS.sub("\n", _decoded(body))


def _decoded(body: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    return body.decode("ascii", "backslashreplace")


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
