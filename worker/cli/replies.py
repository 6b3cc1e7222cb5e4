"""`sms replies`: what people wrote back."""

from typing import Annotated

import typer

from worker.cli.connections import ledger
from worker.cli.options import Limit, Since
from worker.cli.output import AsJson, clean, console, print_json, table, utc
from worker.domain.mobile import NotAMobile, normalise
from worker.ledger.inbound import push_queries
from worker.present.pushes import reply_json


def _number(text: str) -> str:
    try:
        return normalise(text)
    except NotAMobile:
        # A carrier's short number may reply too; the ledger keeps it as it came.
        return text


def replies(
    mobile: Annotated[
        str | None, typer.Option(parser=_number, metavar="MOBILE", help="Only from this number, in any usual writing.")
    ] = None,
    since: Since = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Lists what people wrote back, the newest first.

    \b
    Example:
      sms replies --since 1d
      sms replies --mobile 13800138000 --json
    """
    with ledger() as connection:
        newest = push_queries.newest_replies(connection, limit=limit, mobile=mobile, since=since)
    if as_json:
        print_json([reply_json(reply) for reply in newest])
        return
    listed = table("received (UTC)", "from", "reply, and the message it answers", fixed={"from": 11})
    for reply in newest:
        answered = reply.message or f"msgId {clean(reply.msg_id)}, which we did not send"
        listed.add_row(utc(reply.received_at), clean(reply.mobile), f"{clean(reply.content)}\n{answered}")
    console().print(listed if newest else "no replies")
