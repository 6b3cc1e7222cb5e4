"""`sms pushes`: lists and shows the pushes of the gateway, reads them again, and revokes forged ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from worker.cli.connections import ledger, ledger_engine, operator
from worker.cli.errors import Failed
from worker.cli.options import Limit
from worker.cli.optout import undone_in_words
from worker.cli.output import AsJson, clean, console, print_json, progress, shortened, styled, table, utc
from worker.config import load_settings
from worker.inbound.revoke import Revocation, revoke_push
from worker.ledger.inbound import push_queries
from worker.ledger.inbound import pushes as ledger_pushes
from worker.ledger.inbound.push_queries import PushView
from worker.ledger.inbound.pushes import PROCESSED, QUARANTINED, RECEIVED
from worker.ledger.sending.optouts import Undone
from worker.present.pushes import full_push_json, push_json

SHOWN = 200
"""How many characters of a reason the table shows; `show` has all of it."""

_ELEMENT_BEGINS = re.compile(r"(?<=>)\s*(?=<[^/])")


class State(StrEnum):
    """The state of a push."""

    RECEIVED = RECEIVED
    PROCESSED = PROCESSED
    QUARANTINED = QUARANTINED


class Replayable(StrEnum):
    """A state whose pushes can be read again all at once."""

    QUARANTINED = QUARANTINED


pushes = typer.Typer(add_completion=False, rich_markup_mode=None)
_PushIds = Annotated[
    list[int],
    typer.Argument(min=1, max=2**63 - 1, metavar="ID...", help="The ids that the list shows.", show_default=False),
]
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
        newest = push_queries.newest(connection, limit=limit, state=state)
    if as_json:
        print_json([push_json(push) for push in newest])
        return
    listed = table("id", "received (UTC)", "source", "state", "items", "unmatched", "reason", fixed={"id": 4})
    for push in newest:
        listed.add_row(
            str(push.id), utc(push.received_at).replace(" ", "\n"), clean(push.source),
            "revoked" if push.revoked_at else styled(push.state),
            _number(push.items), _number(push.unmatched), shortened(push.reason or "", SHOWN),
        )  # fmt: skip
    console().print(listed if newest else "no pushes")


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
        match = push_queries.find(connection, push_id)
    if match is None:
        raise Failed(f"there is no push {push_id}; `sms pushes` lists them")
    push, body = match
    if as_json:
        print_json(full_push_json(push, readable(body)))
    else:
        _print(push, readable(body))


@pushes.command("replay")
def replay(
    push_ids: Annotated[
        list[int] | None,
        typer.Argument(min=1, max=2**63 - 1, metavar="ID...", help="The ids that the list shows."),
    ] = None,
    state: Annotated[Replayable | None, typer.Option("--state", help="All in this state, instead of ids.")] = None,
    as_json: AsJson = False,
) -> None:
    """Has pushes read again, for example after their account was added. What they brought before is not doubled.

    \b
    Example:
      sms pushes replay 17 18
      sms pushes replay --state quarantined
    """
    if bool(push_ids) == bool(state):
        raise typer.BadParameter("give either the ids of pushes or --state quarantined")
    with ledger_engine(load_settings("ledger")) as engine, engine.begin() as connection:
        again = ledger_pushes.replay(connection, push_ids=push_ids or (), state=state, now=datetime.now(UTC))
    if as_json:
        print_json(sorted(again))
    elif again or state:
        console().print(f"{_pushes(len(again))} read again at the next tick of beat")
    if left := sorted({*(push_ids or ())} - {*again}):
        needs = "A push must exist, be read, not revoked, and still have its body; see `sms pushes show ID`"
        raise Failed(f"not replayed: {', '.join(map(str, left))}. {needs}")


@pushes.command("revoke")
def revoke(
    push_ids: _PushIds,
    as_json: AsJson = False,
) -> None:
    """Takes back for good what forged pushes brought: their reports, their replies, and the opt-outs by them.

    What other pushes said about the same recipients counts instead. A submission that was `unknown` until the push
    reported on it stays accepted. `sms optout undo` takes back only the opt-outs.

    \b
    Example:
      sms pushes revoke 17 18
    """
    revoked = _revoke(push_ids)
    if as_json:
        print_json([{"id": push_id} | asdict(revocation) for push_id, revocation in revoked.items()])
    else:
        _print_revoked(revoked)
    if left := [str(push_id) for push_id in push_ids if push_id not in revoked]:
        raise Failed(f"there is no push {', '.join(left)}; `sms pushes` lists them")


def _revoke(push_ids: Sequence[int]) -> dict[int, Revocation]:
    """Revokes those of the pushes that there are, by their ids."""
    settings = load_settings("ledger")
    revoked: dict[int, Revocation] = {}
    with ledger_engine(settings) as engine, progress("pushes that said the same", None) as advance:
        for push_id in dict.fromkeys(push_ids):
            revocation = revoke_push(
                engine, push_id, words=settings.optout_words, by=operator(), now=datetime.now(UTC),
                checked=lambda: advance(1),
            )  # fmt: skip
            if revocation:
                revoked[push_id] = revocation
    return revoked


def _print_revoked(revoked: Mapping[int, Revocation]) -> None:
    screen = console()
    for push_id, done in revoked.items():
        screen.print(f"push {push_id} is revoked: {done.reports:,} reports and {done.replies:,} replies taken back")
        screen.print(undone_in_words(Undone(done.optouts, done.optouts_kept)))
        if done.read_again:
            screen.print(f"{_pushes(done.read_again)} read again at the next tick of beat: they said the same")


def _pushes(count: int) -> str:
    return "1 push will be" if count == 1 else f"{count:,} pushes will be"


def _print(push: PushView, body: str) -> None:
    screen = console()
    screen.print(f"push {push.id} from {clean(push.source)}, received {utc(push.received_at)} UTC")
    if push.revoked_at:
        by = clean(push.revoked_by or "?")
        screen.print(f"revoked {utc(push.revoked_at)} UTC by {by}: it does not count")
    screen.print(styled(push.state), f"items {_number(push.items)}, unmatched {push.unmatched}")
    if push.reason:
        screen.print(clean(push.reason))
    screen.print()
    screen.print(clean(body) or "(deleted: a body is kept for SMS_KEEP_DAYS)", soft_wrap=True)


def readable(body: bytes) -> str:
    """The body as text, with an element on each line. It is not parsed, so entities in it have no effect."""
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
