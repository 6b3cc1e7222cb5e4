"""`sms campaign start`, `pause`, `resume` and `cancel`: a person moves a campaign from one state to another."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from worker.campaigns.draft import BadCampaign, start_time
from worker.campaigns.window import window_of
from worker.cli.campaign.options import Name, find_campaign
from worker.cli.connections import ledger_engine, operator
from worker.cli.errors import Failed
from worker.config import load_settings
from worker.domain.campaigns.campaign import Campaign
from worker.ledger.campaigns import campaigns

Reason = Annotated[str, typer.Option(help="Why, for those who look at it.")]


def start(
    name: Name,
    at_once: Annotated[bool, typer.Option("--now", help="Begin now, not at the time of the draft.")] = False,
) -> None:
    """Starts a draft: it begins at its time, or now if it has none.

    \b
    Example:
      sms campaign start spring
    """

    def change(connection: Connection, campaign: Campaign, by: str, now: datetime) -> bool:
        try:
            next_at = now if at_once else start_time(campaign, now=now)
        except BadCampaign as error:
            raise Failed(str(error)) from error
        return campaigns.start(connection, campaign.id, next_at=next_at, by=by, now=now)

    started = _change(name, "draft", change)
    due_at = started.next_at or datetime.now(UTC)
    window = window_of(load_settings("ledger"), started, due_at)
    begins = (window.opens if window else due_at).astimezone(ZoneInfo(started.time_zone))
    why = ", when its hours begin" if begins > due_at else ""
    typer.echo(f"{name} begins {begins:%Y-%m-%d %H:%M %Z}{why}; `sms campaign show {name}` shows how it goes")


def pause(name: Name, reason: Reason = "paused by hand") -> None:
    """Stops an active campaign at once, until somebody resumes it. Calls under way end.

    \b
    Example:
      sms campaign pause spring --reason "wrong price"
    """
    _change(name, "active", lambda connection, campaign, by, now: campaigns.pause(
        connection, campaign.id, reason=reason, by=by, now=now
    ))  # fmt: skip
    typer.echo(f"{name} is paused; `sms campaign resume {name}` continues it")


def resume(name: Name) -> None:
    """Continues a paused campaign where it stopped.

    \b
    Example:
      sms campaign resume spring
    """
    _change(name, "paused", lambda connection, campaign, by, now: campaigns.resume(
        connection, campaign.id, by=by, now=now
    ))  # fmt: skip
    typer.echo(f"{name} continues")


def cancel(name: Name, reason: Reason = "cancelled by hand") -> None:
    """Ends a campaign for good: what was not sent yet is never sent. Calls under way end.

    \b
    Example:
      sms campaign cancel spring --reason "the shop is closed"
    """
    _change(name, "under way", lambda connection, campaign, by, now: campaigns.cancel(
        connection, campaign.id, reason=reason, by=by, now=now
    ))  # fmt: skip
    typer.echo(f"{name} is cancelled")


def _change(name: str, wanted: str, change: Callable[[Connection, Campaign, str, datetime], bool]) -> Campaign:
    """Changes the campaign and returns it. Raises Failed where it is not in the wanted state."""
    with ledger_engine(load_settings("ledger")) as engine, engine.begin() as connection:
        campaign = find_campaign(connection, name)
        if not change(connection, campaign, operator(), datetime.now(UTC)):
            raise Failed(
                f"{name} is {campaign.state}, not {wanted}; `sms campaign show {name}` says since when and why"
            )
        return find_campaign(connection, name)
