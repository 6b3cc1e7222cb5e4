"""`sms campaign show`: the state and the figures of a campaign, once or live."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from sqlalchemy import Connection

from worker.cli.campaign.format import local, share
from worker.cli.campaign.options import Name, RunId, find_runs
from worker.cli.connections import ledger
from worker.cli.output import AsJson, clean, console, counted, print_json, styled, table
from worker.config import load_settings
from worker.domain.status import WAITING, Report, State
from worker.ledger.campaigns.figures import campaign_figures
from worker.present.campaigns import CampaignStatus, campaign_json
from worker.present.durations import duration_in_words
from worker.present.reasons import NO_TEXT

REFRESH_SECONDS = 2.0
RUNS_SHOWN = 5


def show(
    name: Name,
    run: RunId = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it live until it is over or you press Ctrl-C; needs a terminal.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Seconds to wait until it is over and reported.")
    ] = 0,
    json: AsJson = False,
) -> None:
    """Shows how a campaign stands: who was sent to, reached or left out, and how long it takes.

    A campaign that runs again and again is shown with all of its runs, unless you name one.

    \b
    Example:
      sms campaign show spring
      sms campaign show spring --watch
      sms campaign show spring --wait 300
      sms campaign show spring --run 7 --json
    """
    screen = console()
    with ledger() as connection:

        def look() -> CampaignStatus:
            return _look(connection, name, run)

        if watch and screen.is_terminal and not json:
            _watch(look, screen)
            return
        status = _wait_until_final(look, wait)
    if json:
        print_json(campaign_json(status))
    else:
        screen.print(render(status))


def watch_live(
    look: Callable[[], CampaignStatus],
    show_status: Callable[[CampaignStatus], object],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> None:
    """Looks and shows until the campaign is over. A look starts every two seconds at most.

    A slow look is followed by a pause of the same length, so that others can use the ledger too.
    """
    while True:
        begun = clock()
        status = look()
        show_status(status)
        if status.is_final:
            return
        sleep(max(REFRESH_SECONDS, clock() - begun))


def _look(connection: Connection, name: str, run_id: int | None) -> CampaignStatus:
    report_wait, now = load_settings("ledger").report_wait, datetime.now(UTC)
    campaign, runs = find_runs(connection, name, run_id)
    figures = campaign_figures(connection, campaign, runs, report_wait=report_wait, now=now)
    return CampaignStatus(campaign, runs, figures, now)


def _watch(look: Callable[[], CampaignStatus], screen: Console) -> None:
    with Live(console=screen, auto_refresh=False) as live:
        try:
            watch_live(
                look,
                lambda status: live.update(render(status), refresh=True),
                clock=time.monotonic,
                sleep=time.sleep,
            )
        except KeyboardInterrupt:
            return  # that is how people stop watching


def _wait_until_final(look: Callable[[], CampaignStatus], seconds: float) -> CampaignStatus:
    until = time.monotonic() + seconds
    status = look()
    while not status.is_final and time.monotonic() < until:
        time.sleep(min(REFRESH_SECONDS, seconds))
        status = look()
    return status


def render(status: CampaignStatus) -> RenderableType:
    """The campaign for people, 80 columns wide."""
    first, *facts = _facts(status)
    parts: list[RenderableType] = [styled(first), *facts, _progress(status), _figures(status)]
    if len(status.runs) > 1:
        parts.append(_runs(status))
    return Group(*parts)


def _facts(status: CampaignStatus) -> Iterator[str]:
    campaign, figures = status.campaign, status.figures
    since = f"since {local(campaign.since, campaign)}, by {clean(campaign.set_by)}"
    why = f": {clean(campaign.reason)}" if campaign.reason else ""
    yield f"campaign   {clean(campaign.name)}, {campaign.state} {since}{why}"
    yield f"text       {clean(campaign.content)}"
    yield f"to         {clean(campaign.audience)}; lane {campaign.lane}, account {clean(campaign.account)}"
    running = next((run for run in status.runs if run.ended_at is None), None)
    if running and running.closes_at:
        yield f"window     {local(running.opens_at, campaign)} to {local(running.closes_at, campaign)}"
    if campaign.next_at:
        yield f"next run   {local(campaign.next_at, campaign)}"
    if figures.first_call and figures.last_call:
        yield f"calls      {local(figures.first_call, campaign)} to {local(figures.last_call, campaign)}"
    if figures.per_minute:
        left = f", {duration_in_words(figures.time_left)} left at this rate" if figures.time_left else ""
        yield f"rate       {figures.per_minute:,} recipients in the last minute{left}"


def _progress(status: CampaignStatus) -> RenderableType:
    members = status.figures.members
    done = members - status.figures.waiting
    return Group(
        f"done       {done:,} of {members:,}  {share(done, members)}",
        ProgressBar(total=max(members, 1), completed=done, width=78),
    )


def _figures(status: CampaignStatus) -> Table:
    figures = status.figures
    listed = table("", "recipients", "share", "of them", fixed={"": 10})
    listed.columns[1].justify = listed.columns[2].justify = "right"

    def add(name: str, count: int, parts: dict[str, int], whole: int = figures.members) -> None:
        known = {part: number for part, number in parts.items() if number}
        listed.add_row(styled(name), f"{count:,}", share(count, whole), styled(counted(known)))

    def by(*statuses: str) -> dict[str, int]:
        return {str(status): figures.statuses.get(status, 0) for status in statuses}

    waiting = [str(state) for state in State if state in WAITING]
    unrenderable = {NO_TEXT: figures.unrenderable}
    add("queued", figures.waiting, {"not made yet": figures.remaining} | by(*waiting))
    add("sent", figures.sent, by(*Report, State.ACCEPTED, State.UNREPORTED))
    add("delivered", figures.delivered, {})
    add("failed", figures.failed, by(Report.UNDELIVERED, State.REJECTED))
    add("unknown", figures.unknown, {})
    add("left out", figures.left_out, {**figures.suppressed, **unrenderable} | by(State.EXPIRED, State.CANCELLED))
    add("replies", figures.replies, {}, figures.sent)
    add("opt-outs", figures.optouts, {}, figures.sent)
    return listed


def _runs(status: CampaignStatus) -> RenderableType:
    listed = table("run", "due", "state", "members done", "why", fixed={"state": 9})
    for run in status.runs[:RUNS_SHOWN]:
        listed.add_row(
            str(run.id),
            local(run.due_at, status.campaign),
            styled(run.state),
            f"{run.expanded + run.unrenderable:,}",
            clean(run.reason or ""),
        )
    more = len(status.runs) - RUNS_SHOWN
    return Group(listed, *([f"and {more:,} earlier runs: see --json"] if more > 0 else []))
