"""`sms campaign check`: what a campaign would do, told to those who wrote it before anything goes."""

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.table import Table

from worker.campaigns.preflight import Room, Rules, Watch, preflight
from worker.campaigns.template import TemplateFault
from worker.cli.campaign.options import Name, find
from worker.cli.csv_file import noted_in
from worker.cli.errors import Failed
from worker.cli.options import ledger
from worker.cli.output import AsJson, clean, console, print_json, progress_bar, shortened, table
from worker.config import Settings, load_settings, revealed
from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, Leftover
from worker.domain.campaigns.preflight import Preflight
from worker.domain.caps import Capped
from worker.domain.rate import Rate
from worker.ledger.campaigns import audiences
from worker.redis_store import caps
from worker.redis_store.connect import open_redis

SHOWN = 5
"""Reasons that people are shown; JSON has them all, and --refusals every row."""


def check(
    name: Name,
    refusals: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Where to write the rows that make no text, and why.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Shows what a campaign would do if it went now: to how many, what it says and costs, when it ends. Nothing is sent.

    Exit code 1 says that nobody would be sent to. How long it takes and what the signature adds are known where the account's settings
    are, as they are on the host of a worker; the caps of the lane where SMS_REDIS_URL is set.

    \b
    Example:
      sms campaign check spring
      sms campaign check spring --refusals refused.csv
    """
    settings = load_settings("ledger")
    with ledger(settings) as connection:
        campaign = find(connection, name)
        audience = audiences.find(connection, campaign.audience)
        if audience is None or not audience.ready:
            raise Failed(
                f"audience {campaign.audience!r} is not there whole; import it anew with `sms audience import`"
            )
        account, lane = settings.accounts.get(campaign.account), settings.lanes[campaign.lane]
        with (
            _asking(settings) as room,
            noted_in(refusals, "--refusals", ("line", "mobile", "reason")) as write,
            _progress(audience.good) as progress,
        ):
            try:
                found = preflight(
                    connection,
                    campaign,
                    Rules(
                        lane=lane,
                        zone=account.time_zone if account else ZoneInfo(campaign.time_zone),
                        rate=account.limit if account else Rate(),
                        signature=account.signature if account else "",
                        max_mobiles=settings.max_mobiles,
                        room=room,
                    ),
                    watch=Watch(lambda member: write((member.line, member.mobile, member.reason)), progress),
                    random=random.random,
                    now=datetime.now(UTC),
                )
            except TemplateFault as why:
                raise Failed(f"the text of {name} cannot be made: {why}") from why
    if as_json:
        print_json(_told(campaign, audience, found))
    else:
        _print(campaign, audience, found, account.signature if account else None)
    raise typer.Exit(0 if found.recipients and found.forecast.starts_at else 1)


@contextmanager
def _asking(settings: Settings) -> Iterator[Room | None]:
    """Whoever can be asked for the caps; nobody where no Redis is set."""
    if settings.redis_url is None:
        yield None
        return
    with closing(open_redis(revealed(settings.redis_url), patience_seconds=5)) as redis:

        def room(wanted: Collection[Capped]) -> dict[Capped, int]:
            return caps.room(redis, settings.lanes, wanted, now=datetime.now(UTC))

        yield room


@contextmanager
def _progress(members: int) -> Iterator[Callable[[int], object]]:
    with progress_bar() as progress:
        looking = progress.add_task("checking", total=members)
        yield lambda more: progress.advance(looking, more)


def _told(campaign: Campaign, audience: Audience, found: Preflight) -> dict[str, Any]:
    takes = found.forecast.takes
    values = asdict(found)
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
        "forecast": {**asdict(found.forecast), "takes": takes and takes.total_seconds()},
    }


def _print(campaign: Campaign, audience: Audience, found: Preflight, signature: str | None) -> None:
    screen = console()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(min_width=10)
    facts.add_column(overflow="fold")
    for label, fact in _facts(campaign, audience, found, signature):
        facts.add_row(label, clean(fact))
    screen.print(facts)
    if found.unrenderable:
        listed = table("rows", "make no text, for", "for example", fixed={"rows": 7})
        for reason, count in list(found.unrenderable.items())[:SHOWN]:
            lines = ", ".join(str(one.line) for one in found.examples if one.reason == reason)
            listed.add_row(f"{count:,}", shortened(reason, 200), lines and f"line {lines}")
        screen.print(listed)
        if len(found.unrenderable) > SHOWN:
            screen.print(f"and {len(found.unrenderable) - SHOWN} more reasons: see --json")
    if found.noticed:
        listed = table("texts", "look at this before it goes", fixed={"texts": 9})
        for one in found.noticed:
            listed.add_row(f"{one.texts:,}", f"{clean(one.warning)} (line {one.line})")
        screen.print(listed)
    for sample in found.samples:
        screen.print(f"{sample.why:10}  line {sample.line}, {sample.mobile}\n{clean(sample.text)}\n")
    screen.print("Nothing was sent.")


def _facts(
    campaign: Campaign, audience: Audience, found: Preflight, signature: str | None
) -> Iterator[tuple[str, str]]:
    """What there is to know in labelled sentences."""
    yield "campaign", f"{campaign.name}, {campaign.state}; lane {campaign.lane}, account {campaign.account}"
    left_out = f"; {audience.refused:,} rows and {audience.repeats:,} repeats were left out when it was imported"
    yield "audience", f"{audience.name}: {found.members:,} members" + left_out
    yield "goes to", f"{found.recipients:,} of them{_not_to(found)}"
    if campaign.first_share:
        yield "", f"about {campaign.first_share:.2%} of them first; then it pauses and asks"
    if not found.recipients:
        return
    each = (
        f"{found.least}" if found.least == found.most else f"{found.least} to {found.most}, {found.mean:.2f} on average"
    )
    signed = (
        "its signature is not known here and would add to it" if signature is None else f"with signature {signature}"
    )
    yield (
        "segments",
        f"{found.segments:,} in all, {each} for each; {signed if signature != '' else 'without a signature'}",
    )
    yield "calls", f"{found.calls:,}, " + ("texts that differ go apart" if found.personal else "one text for all")
    yield from _when(campaign, found)


def _not_to(found: Preflight) -> str:
    """Whom of the audience it does not go to, and why."""
    counts = {
        "make no text": sum(found.unrenderable.values()),
        "opted out": found.opted_out,
        "have been sent to as often as the lane allows": found.capped or 0,
    }
    told = ", ".join(f"{count:,} {why}" for why, count in counts.items() if count)
    unknown = "less whom the caps of the lane leave out: SMS_REDIS_URL is not set" if found.capped is None else ""
    return "".join(f"; {one}" for one in (told, unknown) if one)


def _when(campaign: Campaign, found: Preflight) -> Iterator[tuple[str, str]]:
    will, zone = found.forecast, ZoneInfo(campaign.time_zone)

    def local(moment: datetime) -> str:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"

    if will.starts_at is None:
        yield "begins", "never: its hours and those of its lane have no moment in common"
        return
    yield "begins", local(will.starts_at) + ("" if campaign.next_at or campaign.cron else ", if it is started now")
    if will.takes is None:
        yield "takes", "not known: the rate of the account is not set here"
        return
    yield "takes", f"{_length(will.takes)} of sending, if nothing else is sent"
    yield "ends", local(will.ends_at) if will.ends_at else "not within a year"
    if will.left_over:
        yield "left over", f"{will.left_over:,} are not sent to: its hours end first, and leftover is {Leftover.EXPIRE}"


def _length(takes: timedelta) -> str:
    """`1 d 2 h`, `3 min 20 s`: the two greatest units."""
    left, parts = max(1, round(takes.total_seconds())), []
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= seconds:
            parts.append(f"{left // seconds} {unit}")
            left %= seconds
    return " ".join(parts[:2])
