"""`sms campaign`: makes campaigns, checks, starts, stops and watches them, and reports on them."""

import typer

from worker.cli.campaign import lifecycle, proof
from worker.cli.campaign.check import check
from worker.cli.campaign.create import create
from worker.cli.campaign.list_campaigns import list_campaigns
from worker.cli.campaign.replies import replies
from worker.cli.campaign.report import report
from worker.cli.campaign.show import show

campaign = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@campaign.callback()
def about() -> None:
    """Sends a text to an audience, once or again and again; shows how it goes, and stops it.

    \b
    Example:
      sms audience import spring customers.csv
      sms campaign create spring --audience spring --text "…，拒收请回复R"
      sms campaign check spring
      sms campaign start spring
      sms campaign show spring
    """


for command in (
    create, check, proof.test, lifecycle.start, lifecycle.pause, lifecycle.resume, lifecycle.cancel, show, replies, report
):  # fmt: skip
    campaign.command(command.__name__)(command)
campaign.command("list")(list_campaigns)
