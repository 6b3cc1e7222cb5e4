"""`sms campaign report`: the results of a campaign as a page, a table, JSON, or CSV with a row for each recipient."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy import Connection

from worker.campaigns.report.page import html as page
from worker.cli.campaign.format import share
from worker.cli.campaign.options import Name, RunId, find_runs
from worker.cli.campaign.show import render
from worker.cli.connections import ledger
from worker.cli.csv_file import STDOUT, ToSheet, whole_file, write_sheet
from worker.cli.errors import Failed
from worker.cli.output import AsJson, clean, console, print_json, shortened, table
from worker.config import load_settings
from worker.domain.campaigns.campaign import Run
from worker.domain.campaigns.report import ByPrefix, ByResult, CampaignReport
from worker.domain.carrier import carrier_of
from worker.ledger.campaigns import audiences, figures
from worker.ledger.campaigns.recipients import recipient_rows
from worker.present.campaigns import CampaignStatus, campaign_report_json

PREFIXES_SHOWN = 10
HEADER = ("mobile", "status", "reason", "result", "tips", "message", "msg_id", "updated_at")


def report(
    name: Name,
    run: RunId = None,
    csv: ToSheet = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as one page, to read, pass on or print.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Reports the results of a campaign: over time, by result and by carrier, and who was left out and why.

    The CSV has a row for each recipient. A campaign that runs again and again is reported with all of its runs, unless
    you name one.

    \b
    Example:
      sms campaign report spring --html spring.html
      sms campaign report spring --csv spring.csv
    """
    if json and csv == STDOUT:
        raise typer.BadParameter("--json and --csv - would both be printed; give --csv a file")
    with ledger() as connection:
        status, results = _look(connection, name, run)
        if html:
            _write_page(connection, status, results, html)
        if csv:
            write_sheet(csv, HEADER, _rows(connection, status.runs), total=status.figures.expanded)
    if json:
        print_json(campaign_report_json(status, results))
    elif not (csv or html):
        _print(status, results)
    else:
        for path in (html, csv):
            if path and path != STDOUT:
                typer.echo(f"{path} has the report")


def _look(connection: Connection, name: str, run_id: int | None) -> tuple[CampaignStatus, CampaignReport]:
    report_wait, now = load_settings("ledger").report_wait, datetime.now(UTC)
    campaign, runs = find_runs(connection, name, run_id)
    results = figures.campaign_report(connection, campaign, runs, report_wait=report_wait, now=now)
    return CampaignStatus(campaign, runs, results.figures, now), results


def _write_page(connection: Connection, status: CampaignStatus, results: CampaignReport, path: Path) -> None:
    campaign = status.campaign
    audience = audiences.find(connection, campaign.audience)
    if audience is None:
        raise Failed(f"audience {campaign.audience!r} of {campaign.name} is gone; --csv and --json work without it")
    with whole_file(path, "--html") as file:
        file.write(page(campaign, audience, status.runs, results, now=status.at))


def _rows(connection: Connection, runs: Sequence[Run]) -> Iterator[tuple[Any, ...]]:
    for row in recipient_rows(connection, runs):
        yield row.mobile, row.status, row.suppressed, row.result, row.tips, row.message, row.msg_id, row.updated_at


def _print(status: CampaignStatus, results: CampaignReport) -> None:
    screen = console()
    screen.print(render(status))
    if results.results:
        _print_results(screen, results.results)
    if results.prefixes:
        _print_prefixes(screen, results.prefixes)


def _print_results(screen: Console, results: Sequence[ByResult]) -> None:
    listed = table("result", "tips", "recipients")
    for row in results:
        listed.add_row(clean(row.result or ""), shortened(row.tips or "", 40), f"{row.recipients:,}")
    screen.print(listed)


def _print_prefixes(screen: Console, prefixes: Sequence[ByPrefix]) -> None:
    listed = table("prefix", "carrier", "called", "delivered", "share")
    for row in prefixes[:PREFIXES_SHOWN]:
        delivered = share(row.delivered, row.called)
        listed.add_row(row.prefix, carrier_of(row.prefix), f"{row.called:,}", f"{row.delivered:,}", delivered)
    screen.print(listed)
    if len(prefixes) > PREFIXES_SHOWN:
        screen.print(f"and {len(prefixes) - PREFIXES_SHOWN:,} more prefixes: see --json or --html")
