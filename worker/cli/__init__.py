"""The `sms` command. Each subcommand is the attribute of its own name in the module of that name.

A module is loaded when its command is called. So `sms --help` loads none of them, and production, which lacks the
packages of `demo` and `up`, can run all the others.
"""

import errno
import logging
import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

COMMANDS = {
    "demo": "Shows the whole system at work on this machine, against a simulated gateway.",
    "up": "Runs the whole system on this machine, against a simulated gateway, until you stop it.",
    "migrate": "Brings the ledger up to date.",
    "doctor": "Checks everything that has to be there, and says what to do where it is not.",
    "send": "Sends a message to one mobile, to several, or to those in a CSV or Excel file.",
    "show": "Shows what became of a message.",
    "messages": "Lists messages, the newest first, with how many recipients have which status.",
    "audience": "Imports lists of people for campaigns from CSV and Excel files, shows and removes them.",
    "campaign": "Sends a text to an audience, once or again and again; shows how it goes, and stops it.",
    "replies": "Lists what people wrote back, the newest first.",
    "optout": "Lists the people who want no marketing, adds mobiles to that list and removes them from it.",
    "account": "Shows whether accounts may send, and pauses and resumes them.",
    "unknown": "Lists calls that the gateway may or may not have taken, and settles them by your word.",
    "pushes": "Lists what the gateway pushed to us, the newest first, and shows one in full.",
}
"""Each subcommand, with the first line of its help."""

Resolved = tuple[str | None, Any, list[str]]


class _Commands(TyperGroup):
    """The subcommands: stubs until one is called. An expected error becomes a sentence on stderr and exit code 1."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, text in COMMANDS.items():
            self.add_command(TyperCommand(name, help=text, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Resolved:
        name, command, rest = super().resolve_command(ctx, args)
        return name, name and command and load(name), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, TyperException):
            raise
        except _expected() as error:
            from worker.cli.errors import in_words  # noqa: PLC0415 - see _expected

            typer.echo(f"Error: {in_words(error)}", err=True)
            raise typer.Exit(1) from error


def _expected() -> tuple[type[Exception], ...]:
    from worker.cli.errors import EXPECTED  # noqa: PLC0415 - it loads every library that can fail

    return EXPECTED


def load(name: str) -> Any:
    """The subcommand, ready to run: a Typer app, or a function that becomes one."""
    attribute = getattr(import_module(f"worker.cli.{name}"), name)
    if isinstance(attribute, typer.Typer):
        return typer.main.get_command(attribute)
    subcommand = _typer()
    subcommand.command(name)(attribute)
    return typer.main.get_command(subcommand)


def _typer(**options: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **options)


app = _typer(cls=_Commands, no_args_is_help=True)


@app.callback()
def sms() -> None:
    """Sends text messages and shows what became of them.

    \b
    Example:
      sms send --to 13800138000 --content "您的验证码是 123456" --lane otp
    """


def main() -> None:
    """The entry point of `sms`."""
    logging.setLogRecordFactory(_first_record)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that does not know a character gets its number.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="sms")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # Errors of the ledger and of Redis have types of their own. This one is of stdout, or of a file that we write.
        raise SystemExit(f"Error: the disk is full, and what was to be written is not whole: {error}") from None


def _first_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Installs the filter of the log at the first record.

    Most commands log nothing, and need not load pydantic for it.
    """
    from worker.config import ConfigError, load_settings  # noqa: PLC0415 - it loads pydantic
    from worker.runtime import log_filter  # noqa: PLC0415 - it loads pydantic

    log_filter.install()
    with suppress(ConfigError):
        log_filter.install(load_settings())
    return logging.getLogRecordFactory()(*args, **kwargs)
