"""`sms demo`: starts the whole system on this machine, sends three messages through it, and checks the results."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from worker.client import SmsClient
from worker.devstack.directory import kept_directory
from worker.devstack.signals import Signalled, deferred_signals
from worker.devstack.stack import Stack, running_stack
from worker.domain.message import MAX_RECIPIENTS
from worker.domain.status import Report
from worker.ledger.engine import open_engine, reading
from worker.ledger.inbound import push_queries
from worker.ledger.sending import message_queries

MOST_OF_A_CALL = 50
SETTLE_SECONDS = 60
QUESTION, REPLY = "您预约了明天 10:00 的保养，回复 1 确认", "1"
# Slow enough to be watched.
GATEWAY = ("--latency-ms", "200", "--report-delay-ms", "800", "--max-mobiles", str(MOST_OF_A_CALL))


@dataclass(frozen=True)
class _Sent:
    """A message that was sent, with a name to show."""

    name: str
    id: str
    mobiles: Sequence[str]


@dataclass(frozen=True)
class _Seen:
    """The results so far: the ledger's status counts by message name and its replies; the gateway's log and sums."""

    counts: Mapping[str, Mapping[str, int]]
    replies: Sequence[tuple[str, str]]
    calls: Sequence[Mapping[str, Any]]
    sums: Mapping[str, Any]


@dataclass(frozen=True)
class _Check:
    holds: bool
    what: str
    actual: str


def demo(
    directory: Annotated[Path | None, typer.Option(help="Directory for its files, which stay there.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep its files in their temporary directory.")] = False,
    recipients: Annotated[
        int, typer.Option(min=1, max=MAX_RECIPIENTS, help="Number of recipients of the batch.")
    ] = 120,
) -> None:
    """Shows the whole system at work on this machine, against a simulated gateway.

    It sends three messages, shows how their statuses change, and checks the results against the gateway's own log.
    Nothing leaves this machine, and nothing is left running. The exit code is 0 if all checks hold, else 1.

    \b
    Example:
      sms demo --recipients 1000 --keep
    """
    console = Console(highlight=False, markup=False)

    def print_kept(place: Path) -> None:
        if directory is None:
            console.print(f"The files are kept in {place}")

    try:
        with deferred_signals() as raise_if_interrupted:
            with kept_directory(directory, prefix="sms-demo-", kept=print_kept) as (place, keep_it):
                if keep:
                    keep_it()
                console.print("Starting Valkey, a simulated gateway, worker, beat and callback app ...")
                began = time.monotonic()
                with running_stack(
                    place, simulator_options=GATEWAY, raise_if_interrupted=raise_if_interrupted
                ) as stack:
                    console.print(f"All are up after {time.monotonic() - began:.1f} s; their files are in {place}")
                    checks = _run(stack, console, recipients)
            raise_if_interrupted()
    except Signalled as signalled:
        typer.echo(f"sms demo: {signalled}, so all is ended; nothing is left running", err=True)
        raise typer.Exit(128 + signalled.number) from signalled
    raise typer.Exit(0 if all(check.holds for check in checks) else 1)


def _run(stack: Stack, console: Console, recipients: int) -> Sequence[_Check]:
    stack.ask_simulator("behave", {"replies": [{"content_contains": QUESTION, "reply": REPLY}]})
    sms = SmsClient(stack.redis_url_of("producer"))
    batch = [f"139{number:08}" for number in range(recipients)]
    sent = [
        _send(sms, "code", ["13800138000"], "您的验证码是 482913，5 分钟内有效", "otp"),
        _send(sms, "batch", batch, "您的包裹已到，请凭取件码领取", "notice"),
        _send(sms, "question", ["13700137000"], QUESTION, "notice"),
    ]
    engine = open_engine(stack.ledger_url)
    try:
        checks = _watch(stack, engine, sent, console)
    finally:
        engine.dispose()
    table = Table("", "checked", "found", title="By the gateway's own log and the ledger", title_justify="left")
    for check in checks:
        table.add_row(Text("✓", "green") if check.holds else Text("✗", "red"), check.what, check.actual)
    console.print(table)
    return checks


def _send(sms: SmsClient, name: str, mobiles: Sequence[str], content: str, lane: str) -> _Sent:
    return _Sent(name, sms.send(mobiles, content, lane=lane), mobiles)


def _watch(stack: Stack, engine: Engine, sent: Sequence[_Sent], console: Console) -> Sequence[_Check]:
    """Shows how the statuses change until every check holds or SETTLE_SECONDS are over. Returns the checks."""
    began = time.monotonic()
    with Live(console=console) if console.is_terminal else nullcontext() as live:
        show = _line_printer(console, began) if live is None else lambda seen: live.update(_statuses(sent, seen))
        while True:
            stack.check()
            seen = _look(stack, engine, sent)
            show(seen)
            checks = _checks(sent, seen)
            if all(check.holds for check in checks) or time.monotonic() > began + SETTLE_SECONDS:
                return checks
            time.sleep(0.05)


def _look(stack: Stack, engine: Engine, sent: Sequence[_Sent]) -> _Seen:
    # The gateway's sums are read first: the reports that it counts as acknowledged must then be in the ledger.
    sums = stack.ask_simulator("summary")
    calls = stack.ask_simulator(f"calls?limit={sums['calls_taken']}")["calls"]
    with reading(engine) as connection:
        rows = {message.name: message_queries.find(connection, message.id) for message in sent}
        newest = push_queries.newest_replies(connection, limit=100)
    ours = {message.id for message in sent}
    replies = [(reply.mobile, reply.content) for reply in newest if reply.message in ours]
    return _Seen({name: row.counts if row else {} for name, row in rows.items()}, replies, calls, sums)


def _line_printer(console: Console, began: float) -> Callable[[_Seen], None]:
    """Returns a function that prints a line for each message whose statuses have changed."""
    printed: dict[str, Mapping[str, int]] = {}

    def show(seen: _Seen) -> None:
        for name, counts in seen.counts.items():
            if counts != printed.get(name, {}):
                printed[name] = counts
                console.print(f"{time.monotonic() - began:5.2f} s  {name}: {_counted(counts)}")

    return show


def _statuses(sent: Sequence[_Sent], seen: _Seen) -> Table:
    table = Table("message", "id", "recipients", "status")
    for message in sent:
        table.add_row(message.name, message.id, str(len(message.mobiles)), _counted(seen.counts[message.name]))
    return table


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "in the intake"


def _checks(sent: Sequence[_Sent], seen: _Seen) -> Sequence[_Check]:
    """What must hold in the end, and whether it does."""
    mobiles = [mobile for message in sent for mobile in message.mobiles]
    taken = Counter(mobile for call in seen.calls for mobile in call["mobiles"])
    longest = max((len(call["mobiles"]) for call in seen.calls), default=0)
    delivered = sum(counts.get(Report.DELIVERED, 0) for counts in seen.counts.values())
    reports, pushed = seen.sums["reports"], seen.sums["replies"]
    questioned = sent[-1].mobiles[0]
    return [
        _Check(delivered == len(mobiles), "every recipient is delivered", f"{delivered} of {len(mobiles)}"),
        _Check(
            taken == Counter(mobiles),
            "each mobile was taken exactly once",
            f"{taken.total()} in {len(seen.calls)} calls, {taken.total() - len(taken)} again",
        ),
        _Check(0 < longest <= MOST_OF_A_CALL, f"at most {MOST_OF_A_CALL} mobiles to a call", f"{longest}"),
        _Check(
            reports["made"] == reports["acknowledged"] == len(mobiles)
            and pushed["made"] == pushed["acknowledged"] == 1,
            "all reports and replies are acknowledged",
            f"{reports['acknowledged']} and {pushed['acknowledged']}",
        ),
        _Check(
            seen.replies == [(questioned, REPLY)],
            "the reply is in the ledger",
            ", ".join(f"{mobile}: {content}" for mobile, content in seen.replies) or "none",
        ),
    ]
