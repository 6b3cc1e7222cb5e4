"""`sms campaign check`: shows what a campaign would do, before anything is sent."""

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from worker.campaigns.preflight import Rules, Watch, preflight
from worker.campaigns.template import TemplateFault
from worker.cli.audience_file import NOT_READY
from worker.cli.campaign.format import local
from worker.cli.campaign.options import Name, find_campaign
from worker.cli.connections import ledger, redis_of
from worker.cli.csv_file import rows_file
from worker.cli.errors import Failed
from worker.cli.output import AsJson, clean, console, print_json, progress, shortened, table
from worker.config import Account, Settings, load_settings
from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, Leftover
from worker.domain.campaigns.preflight import Preflight, Unrenderable
from worker.domain.caps import CapKey, Room
from worker.domain.rate import Rate
from worker.ledger.campaigns import audiences
from worker.present.durations import duration_in_words
from worker.redis_store import caps

SHOWN = 5
"""How many reasons a table shows; JSON has all reasons, and --refusals every row."""


def check(
    name: Name,
    refusals: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Where to write the rows that make no text, and why.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Shows what a campaign would do now: to how many it goes, what it says and costs, and when it ends.

    Nothing is sent. Exit code 1 says that it would be sent to nobody. The duration and the signature are known where
    the settings of the account are, as on the host of a worker. The caps of the lane are known where SMS_REDIS_URL is
    set.

    \b
    Example:
      sms campaign check spring
      sms campaign check spring --refusals refused.csv
    """
    settings = load_settings("ledger")
    with ledger(settings) as connection:
        campaign = find_campaign(connection, name)
        audience = audiences.find(connection, campaign.audience)
        if audience is None or not audience.ready:
            raise Failed(f"audience {campaign.audience!r} is {NOT_READY}")
        with rows_file(refusals, "--refusals", ("line", "mobile", "reason")) as write:

            def note(row: Unrenderable) -> None:
                write((row.line, row.mobile, row.reason))

            result = _preflight(connection, settings, campaign, audience, note)
    if as_json:
        print_json(_as_json(campaign, audience, result))
    else:
        _print(campaign, audience, result, settings.accounts.get(campaign.account))
    raise typer.Exit(0 if result.recipients and result.forecast.starts_at else 1)


def _preflight(
    connection: Connection,
    settings: Settings,
    campaign: Campaign,
    audience: Audience,
    note: Callable[[Unrenderable], object],
) -> Preflight:
    account = settings.accounts.get(campaign.account)
    with _room(settings) as room, progress("checking", audience.good) as advance:
        try:
            return preflight(
                connection,
                campaign,
                Rules(
                    lane=settings.lanes[campaign.lane],
                    zone=account.time_zone if account else ZoneInfo(campaign.time_zone),
                    rate=account.limit if account else Rate(),
                    signature=account.signature if account else "",
                    max_mobiles=settings.max_mobiles,
                    room=room,
                ),
                watch=Watch(note, advance),
                random=random.random,
                now=datetime.now(UTC),
            )
        except TemplateFault as error:
            raise Failed(f"the text of {campaign.name} cannot be made: {error}") from error


@contextmanager
def _room(settings: Settings) -> Iterator[Room | None]:
    """How often mobiles may still be sent to under the caps of the lane; None where no Redis is set."""
    if settings.redis_url is None:
        yield None
        return
    with redis_of(settings) as redis:

        def room(wanted: Collection[CapKey]) -> dict[CapKey, int]:
            return caps.room(redis, settings.lanes, wanted, now=datetime.now(UTC))

        yield room


def _as_json(campaign: Campaign, audience: Audience, result: Preflight) -> dict[str, Any]:
    takes = result.forecast.takes
    values = asdict(result)
    values["unmade"] = values.pop("unrenderable")
    return {
        "campaign": campaign.name,
        "state": campaign.state,
        "account": campaign.account,
        "lane": campaign.lane,
        "audience": audience.name,
        "import_repeats": audience.repeats,
        "import_refused": audience.refused,
        **values,
        "forecast": {**asdict(result.forecast), "takes": takes and takes.total_seconds()},
    }


def _print(campaign: Campaign, audience: Audience, result: Preflight, account: Account | None) -> None:
    screen = console()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(min_width=10)
    facts.add_column(overflow="fold")
    for label, fact in _facts(campaign, audience, result, account):
        facts.add_row(label, clean(fact))
    screen.print(facts)
    if result.unrenderable:
        _print_unrenderable(screen, result)
    if result.noticed:
        listed = table("texts", "look at this before it goes", fixed={"texts": 9})
        for warning in result.noticed:
            listed.add_row(f"{warning.texts:,}", f"{clean(warning.warning)} (line {warning.line})")
        screen.print(listed)
    for sample in result.samples:
        screen.print(f"{sample.why:10}  line {sample.line}, {sample.mobile}\n{clean(sample.text)}\n")
    screen.print("Nothing was sent.")


def _print_unrenderable(screen: Console, result: Preflight) -> None:
    listed = table("rows", "make no text, because", "for example", fixed={"rows": 7})
    for reason, count in list(result.unrenderable.items())[:SHOWN]:
        lines = ", ".join(str(example.line) for example in result.examples if example.reason == reason)
        listed.add_row(f"{count:,}", shortened(reason, 200), lines and f"line {lines}")
    screen.print(listed)
    if len(result.unrenderable) > SHOWN:
        screen.print(f"and {len(result.unrenderable) - SHOWN} more reasons: see --json")


def _facts(
    campaign: Campaign, audience: Audience, result: Preflight, account: Account | None
) -> Iterator[tuple[str, str]]:
    """Labels and sentences about the campaign."""
    yield "campaign", f"{campaign.name}, {campaign.state}; lane {campaign.lane}, account {campaign.account}"
    left_out = f"; the import left out {audience.refused:,} rows and {audience.repeats:,} repeats"
    yield "audience", f"{audience.name}: {result.members:,} members" + left_out
    yield "goes to", f"{result.recipients:,} of them{_not_to(result)}"
    if campaign.first_share:
        yield "", f"about {campaign.first_share:.2%} of them first; then it pauses and asks"
    if not result.recipients:
        return
    yield "segments", _segments(result, account)
    personal = "texts that differ go in separate calls" if result.personal else "one text for all"
    yield "calls", f"{result.calls:,}, {personal}"
    yield from _when(campaign, result)


def _segments(result: Preflight, account: Account | None) -> str:
    each = str(result.least)
    if result.least != result.most:
        each = f"{result.least} to {result.most}, {result.mean:.2f} on average,"
    if account is None:
        signature = "its signature is not known here and would add to it"
    elif account.signature:
        signature = f"with signature {account.signature}"
    else:
        signature = "without a signature"
    return f"{result.segments:,} in all, {each} for each; {signature}"


def _not_to(result: Preflight) -> str:
    """Members of the audience that it does not go to, and why."""
    counts = {
        "make no text": sum(result.unrenderable.values()),
        "opted out": result.opted_out,
        "have been sent to as often as the lane allows": result.capped or 0,
    }
    known = ", ".join(f"{count:,} {why}" for why, count in counts.items() if count)
    unknown = "less those whom the caps leave out: SMS_REDIS_URL is not set" if result.capped is None else ""
    return "".join(f"; {part}" for part in (known, unknown) if part)


def _when(campaign: Campaign, result: Preflight) -> Iterator[tuple[str, str]]:
    forecast = result.forecast
    if forecast.starts_at is None:
        yield "begins", "never: its hours and those of its lane have no moment in common"
        return
    if_started = "" if campaign.next_at or campaign.cron else ", if it is started now"
    yield "begins", local(forecast.starts_at, campaign) + if_started
    if forecast.takes is None:
        yield "takes", "not known: the rate of the account is not set here; give SMS_RATE"
        return
    yield "takes", f"{duration_in_words(forecast.takes)} of sending, if nothing else is sent"
    yield "ends", local(forecast.ends_at, campaign) if forecast.ends_at else "not within a year"
    if forecast.left_over:
        why = f"its hours end first, and leftover is {Leftover.EXPIRE}"
        yield "left over", f"{forecast.left_over:,} are not sent to: {why}"
