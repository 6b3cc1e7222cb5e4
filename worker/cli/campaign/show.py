"""`sms campaign show`: how a campaign stands, once or live."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from sqlalchemy import Connection

from worker.cli.campaign.format import RunNo, as_json, local, runs_wanted, share
from worker.cli.campaign.options import Name, find
from worker.cli.options import ledger
from worker.cli.output import AsJson, clean, console, counted, print_json, styled, table
from worker.config import load_settings
from worker.domain.campaigns.campaign import Campaign, CampaignState, Run
from worker.domain.campaigns.figures import Figures
from worker.domain.status import WAITING, LeftOut, Report, State
from worker.ledger.campaigns.figures import campaign_figures

REFRESH_SECONDS = 2.0
RUNS_SHOWN = 5
_OVER = frozenset({CampaignState.DONE, CampaignState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Seen:
    """A campaign as it stood at that time."""

    campaign: Campaign
    of: Sequence[Run]
    figures: Figures
    at: datetime

    @property
    def is_final(self) -> bool:
        """Whether nothing of it will change by itself any more, within the day."""
        figures = self.figures
        return self.campaign.state in _OVER and not (figures.waiting or figures.unreported or figures.unknown)


def show(
    name: Name,
    run: RunNo = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it live until it is over or you press Ctrl-C; needs a terminal.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait so long until it is over and reported, then show it.")
    ] = 0,
    json: AsJson = False,
) -> None:
    """Shows how a campaign stands: how many are sent to, reached, left out and why, how fast it goes and how long it takes.

    Of a campaign that goes again and again it counts all runs, unless you name one.

    \b
    Example:
      sms campaign show spring
      sms campaign show spring --watch
      sms campaign show spring --wait 300
      sms campaign show spring --run 7 --json
    """
    report_wait = load_settings("ledger").report_wait
    with ledger() as connection:

        def look() -> Seen:
            return _look(connection, name, run, report_wait, datetime.now(UTC))

        screen = console()
        until = time.monotonic() + wait
        if watch and screen.is_terminal and not json:
            _watch(look, screen)
            return
        seen = look()
        while not seen.is_final and time.monotonic() < until:
            time.sleep(min(REFRESH_SECONDS, wait))
            seen = look()
        if json:
            print_json(as_json(seen.campaign, seen.of, seen.figures))
        else:
            screen.print(shown(seen))


def live(
    look: Callable[[], Seen],
    show_it: Callable[[Seen], object],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> None:
    """Looks and shows until it is over: at most every two seconds, and half of the time at the most, for others use the ledger too."""
    while True:
        begun = clock()
        seen = look()
        show_it(seen)
        if seen.is_final:
            return
        sleep(max(REFRESH_SECONDS, clock() - begun))


def _look(connection: Connection, name: str, run_id: int | None, report_wait: timedelta, now: datetime) -> Seen:
    campaign = find(connection, name)
    of = runs_wanted(connection, campaign, run_id)
    return Seen(campaign, of, campaign_figures(connection, campaign, of, report_wait=report_wait, now=now), now)


def _watch(look: Callable[[], Seen], screen: Console) -> None:
    with Live(console=screen, auto_refresh=False) as screen_live:
        try:
            live(
                look,
                lambda seen: screen_live.update(shown(seen), refresh=True),
                clock=time.monotonic,
                sleep=time.sleep,
            )
        except KeyboardInterrupt:
            return  # that is how one stops to watch


def shown(seen: Seen) -> RenderableType:
    """The campaign as people are shown it, 80 columns wide."""
    parts: list[RenderableType] = [*_head(seen), _figures(seen)]
    if len(seen.of) > 1:
        parts.append(_runs(seen))
    return Group(*parts)


def _head(seen: Seen) -> list[RenderableType]:
    campaign = seen.campaign
    since = f"since {local(campaign.since, campaign)}, by {clean(campaign.set_by)}"
    why = f": {clean(campaign.reason)}" if campaign.reason else ""
    lines: list[RenderableType] = [
        styled(f"campaign   {clean(campaign.name)}, {campaign.state} {since}{why}"),
        f"text       {clean(campaign.content)}",
        f"to         {clean(campaign.audience)}; lane {campaign.lane}, account {clean(campaign.account)}",
    ]
    running = next((run for run in seen.of if run.ended_at is None), None)
    if running and running.closes_at:
        lines.append(f"window     {local(running.opens_at, campaign)} to {local(running.closes_at, campaign)}")
    if campaign.next_at:
        lines.append(f"next run   {local(campaign.next_at, campaign)}")
    figures = seen.figures
    if figures.first_call and figures.last_call:
        lines.append(f"calls      {local(figures.first_call, campaign)} to {local(figures.last_call, campaign)}")
    if figures.per_minute:
        left = f", {_length(figures.time_left)} left at this rate" if figures.time_left else ""
        lines.append(f"rate       {figures.per_minute:,} recipients in the last minute{left}")
    done = figures.members - figures.waiting
    lines.append(
        Group(
            f"done       {done:,} of {figures.members:,}  {share(done, figures.members)}",
            ProgressBar(total=max(figures.members, 1), completed=done, width=78),
        )
    )
    return lines


def _figures(seen: Seen) -> Table:
    figures = seen.figures
    listed = table("", "recipients", "share", "of them", fixed={"": 10})
    listed.columns[1].justify = listed.columns[2].justify = "right"

    def row(name: str, count: int, of_them: dict[str, int], whole: int = figures.members) -> None:
        some = {one: number for one, number in of_them.items() if number}
        listed.add_row(styled(name), f"{count:,}", share(count, whole), styled(counted(some)))

    def by(*statuses: str) -> dict[str, int]:
        return {str(status): figures.statuses.get(status, 0) for status in statuses}

    waiting = [str(state) for state in State if state in WAITING]
    row("queued", figures.waiting, {"not made yet": figures.remaining} | by(*waiting))
    row("sent", figures.sent, by(*Report, State.ACCEPTED, State.UNREPORTED))
    row("delivered", figures.delivered, {})
    row("failed", figures.failed, by(Report.UNDELIVERED, State.REJECTED))
    row("unknown", figures.unknown, {})
    left_out = by(State.EXPIRED, State.CANCELLED, LeftOut.SUPPRESSED)
    del left_out[LeftOut.SUPPRESSED]
    row("left out", figures.left_out, {**figures.suppressed, "no text": figures.unrenderable} | left_out)
    row("replies", figures.replies, {}, figures.sent)
    row("opt-outs", figures.optouts, {}, figures.sent)
    return listed


def _runs(seen: Seen) -> RenderableType:
    listed = table("run", "due", "state", "members gone through", "why", fixed={"state": 9})
    for run in seen.of[:RUNS_SHOWN]:
        listed.add_row(
            str(run.id),
            local(run.due_at, seen.campaign),
            styled(run.state),
            f"{run.expanded + run.unrenderable:,}",
            clean(run.reason or ""),
        )
    more = len(seen.of) - RUNS_SHOWN
    return Group(listed, *([f"and {more:,} earlier runs: see --json"] if more > 0 else []))


def _length(time: timedelta) -> str:
    """`2 h 05 min`, `3 min`, `40 s`."""
    minutes, seconds = divmod(round(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
