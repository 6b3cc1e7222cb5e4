"""`sms campaign report`: what a campaign came to, as a page, a table, figures, or a row for each recipient."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from worker.campaigns.report.page import html as page
from worker.cli.campaign.format import RunNo, as_json, runs_wanted, share
from worker.cli.campaign.options import Name, find
from worker.cli.campaign.show import Seen, shown
from worker.cli.csv_file import STDOUT, ToSheet, whole_file, write_sheet
from worker.cli.errors import Failed
from worker.cli.options import ledger
from worker.cli.output import AsJson, clean, console, print_json, shortened, table
from worker.config import load_settings
from worker.domain.campaigns.campaign import Run
from worker.domain.campaigns.report import CampaignReport
from worker.domain.carrier import carrier_of
from worker.ledger.campaigns import audiences
from worker.ledger.campaigns.figures import campaign_report
from worker.ledger.campaigns.recipients import recipient_rows

PREFIXES_SHOWN = 10
HEADER = ("mobile", "status", "reason", "result", "tips", "message", "msg_id", "updated_at")


def report(
    name: Name,
    run: RunNo = None,
    csv: ToSheet = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as one page: to be read, passed on, printed.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Reports what a campaign came to: over time, by result, by carrier; who was left out and why.

    The CSV has a row for each recipient. Of a campaign that goes again and again it is of all runs, unless you name one.

    \b
    Example:
      sms campaign report spring --html spring.html
      sms campaign report spring --csv spring.csv
    """
    if json and csv == STDOUT:
        raise typer.BadParameter("--json and --csv - would both be printed; give --csv a file")
    report_wait = load_settings("ledger").report_wait
    with ledger() as connection:
        campaign = find(connection, name)
        of = runs_wanted(connection, campaign, run)
        now = datetime.now(UTC)
        told = campaign_report(connection, campaign, of, report_wait=report_wait, now=now)
        if html:
            audience = audiences.find(connection, campaign.audience)
            if audience is None:
                raise Failed(f"audience {campaign.audience!r} of {name} is gone")
            with whole_file(html, "--html") as file:
                file.write(page(campaign, audience, of, told, now=now))
        if csv:
            write_sheet(csv, HEADER, _rows(connection, of), total=told.figures.expanded)
    if json:
        print_json(as_json(campaign, of, told.figures) | _json(told))
    elif not (csv or html):
        console().print(shown(Seen(campaign, of, told.figures, now)))
        _print(told)
    else:
        for path in (html, csv):
            if path and path != STDOUT:
                typer.echo(f"{path} has it")


def _rows(connection: Connection, of: Sequence[Run]) -> Iterator[tuple[Any, ...]]:
    for one in recipient_rows(connection, of):
        yield one.mobile, one.status, one.suppressed, one.result, one.tips, one.message, one.msg_id, one.updated_at


def _json(told: CampaignReport) -> dict[str, Any]:
    over_time = told.over_time and {
        "step_seconds": int(told.over_time.step.total_seconds()),
        "buckets": [asdict(bucket) for bucket in told.over_time.buckets],
        "later": asdict(told.over_time.later),
    }
    return {
        "over_time": over_time,
        "results": [asdict(one) for one in told.results],
        "other_results": told.other_results,
        "prefixes": [{**asdict(one), "carrier": carrier_of(one.prefix)} for one in told.prefixes],
    }


def _print(told: CampaignReport) -> None:
    screen = console()
    if told.results:
        results = table("result", "tips", "recipients")
        for result in told.results:
            results.add_row(clean(result.result or ""), shortened(result.tips or "", 40), f"{result.recipients:,}")
        screen.print(results)
    if told.prefixes:
        prefixes = table("prefix", "carrier", "called", "delivered", "share")
        for one in told.prefixes[:PREFIXES_SHOWN]:
            carrier = carrier_of(one.prefix)
            prefixes.add_row(
                one.prefix, carrier, f"{one.called:,}", f"{one.delivered:,}", share(one.delivered, one.called)
            )
        screen.print(prefixes)
        if len(told.prefixes) > PREFIXES_SHOWN:
            screen.print(f"and {len(told.prefixes) - PREFIXES_SHOWN:,} more prefixes: see --json or --html")
