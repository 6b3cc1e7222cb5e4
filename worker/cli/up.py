"""`sms up`: the whole system on this machine, until you stop it."""

import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import make_url

from worker.devstack.signals import Signalled, deferred_signals
from worker.devstack.stack import Stack, running_stack

DIRECTORY = Path(".sms")


def up(
    directory: Annotated[Path, typer.Option(help="Directory of its files. A later `up` uses them again.")] = DIRECTORY,
    ledger_url: Annotated[
        str | None,
        typer.Option(help="Another ledger, such as one on PostgreSQL. A superuser's URL also makes its roles."),
    ] = None,
    latency_ms: Annotated[int, typer.Option(min=0, help="Milliseconds until the simulated gateway answers.")] = 100,
    concurrency: Annotated[int, typer.Option(min=1, help="Threads of the worker.")] = 16,
) -> None:
    """Runs the whole system on this machine, against a simulated gateway, until you stop it.

    It prints where everything listens, and the settings that another shell needs for `sms send` and `sms show`.
    Ctrl-C stops it all.

    \b
    Example:
      sms up --latency-ms 50
    """
    with (
        suppress(Signalled),
        deferred_signals() as raise_if_interrupted,
        running_stack(
            directory,
            ledger_url=ledger_url,
            concurrency=concurrency,
            simulator_options=("--latency-ms", str(latency_ms)),
            raise_if_interrupted=raise_if_interrupted,
        ) as stack,
    ):
        typer.echo(_introduction(stack, write_environment(stack)))
        while True:
            stack.check()
            time.sleep(0.2)


def write_environment(stack: Stack) -> Path:
    """Writes the stack's settings, with the secrets, to a file for a shell. Only its owner can read it."""
    path = stack.directory / "environment"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    settings = {name: value for name, value in stack.environment.items() if name.startswith("SMS_")}
    path.write_text(
        "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()), encoding="utf-8"
    )
    return path


def _introduction(stack: Stack, environment: Path) -> str:
    # Printed lines may end up in a log, so passwords stay in the file.
    ledger = make_url(stack.environment["SMS_LEDGER_URL"])
    return f"""\
Redis        {stack.redis_url}
Ledger       {ledger.render_as_string()}
Simulator    {stack.simulator_url} (the calls it took: /sim/calls; to make it misbehave: docs/simulator.md)
Callback     {stack.callback_url}
Files, logs  {stack.directory}

For another shell, and again after each `sms up`, which takes other ports:
. {shlex.quote(str(environment))}

Ctrl-C stops it all."""
