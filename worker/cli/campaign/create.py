"""`sms campaign create`: makes a draft of an audience, a text and a time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from worker.campaigns.draft import BadCampaign, draft
from worker.campaigns.spec import CampaignSpec
from worker.cli.campaign.options import Name
from worker.cli.connections import ledger_engine, operator
from worker.cli.errors import Failed
from worker.cli.options import Lane
from worker.config import load_settings
from worker.domain.campaigns.campaign import Leftover, Missed

MARKETING = Lane("marketing")


def create(  # noqa: PLR0913 - its options are the command's
    name: Name,
    *,
    audience: Annotated[str, typer.Option(help="An audience that was imported.")],
    text: Annotated[str | None, typer.Option(help="The text; {{ column }} stands for what each row has there.")] = None,
    text_file: Annotated[Path | None, typer.Option(help="A file with the text, UTF-8.")] = None,
    account: Annotated[str, typer.Option(help="The account that sends it.")] = "default",
    lane: Annotated[Lane, typer.Option(help="Its lane.")] = MARKETING,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When it begins, such as 2026-12-01T09:00.")] = None,
    cron: Annotated[str | None, typer.Option(metavar="LINE", help="Begins again and again: `0 9 * * 1`.")] = None,
    zone: Annotated[str, typer.Option(help="The time zone of --at, --cron and --hours.")] = "Asia/Shanghai",
    hours: Annotated[
        str | None, typer.Option(help="Send only in these hours, such as 09:00-20:00, within those of the lane.")
    ] = None,
    leftover: Annotated[
        Leftover, typer.Option(help="What happens to members who are left when the hours end.")
    ] = Leftover.CONTINUE,
    missed: Annotated[
        Missed, typer.Option(help="What happens to a run that was due while beat was down.")
    ] = Missed.LATE,
    first: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Send to that share first, such as 1%, then pause and ask.")
    ] = None,
    stop_at: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Pause if more results than that are bad, such as 5%.")
    ] = None,
) -> None:
    """Makes a campaign. Nothing is sent before you start it.

    \b
    Example:
      sms campaign create spring --audience customers --text "春装上市，全场八折，拒收请回复R"
      sms campaign create bills --audience customers --lane notice --cron "0 9 1 * *" \\
        --text "尊敬的{{ 姓名 }}，本期账单{{ amount }}元，请于{{ due_date }}前缴纳"
    """
    if (text is None) == (text_file is None):
        raise typer.BadParameter("give either --text or --text-file")
    spec = CampaignSpec(
        name=name,
        audience=audience,
        content=_read(text_file) if text_file else text or "",
        account=account,
        lane=lane.value,
        time_zone=zone,
        at=at,
        cron=cron,
        hours=hours,
        leftover=leftover,
        missed=missed,
        first=first,
        stop_at=stop_at,
    )
    _keep(spec)
    typer.echo(
        f"{name} is a draft; `sms campaign check {name}` shows what it would do, `sms campaign start {name}` starts it"
    )


def _keep(spec: CampaignSpec) -> None:
    settings = load_settings("ledger")
    zones = {name: account.time_zone for name, account in settings.accounts.items()}
    with ledger_engine(settings) as engine, engine.begin() as connection:
        try:
            draft(connection, spec, lanes=settings.lanes, zones=zones, by=operator(), now=datetime.now(UTC))
        except BadCampaign as error:
            raise Failed(str(error)) from error


def _read(path: Path) -> str:
    try:
        # An editor puts a line end at the end of a file: it does not belong to the text.
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{path} cannot be read: {error}; give --text-file the path of a text in UTF-8") from error
