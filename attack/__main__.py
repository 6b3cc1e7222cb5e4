"""`python -m attack`: tries attacks that once succeeded, against a stack of its own.

The exit code is 0 if all are held, else 1.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import SubprocessError

from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from attack import on_files, on_messages, on_pushes, on_settings, on_stores
from attack.table import Attack, Result
from chaos.postgres import postgres_for
from worker.cli.output import clean, console, progress_bar
from worker.devstack.directory import kept_directory
from worker.devstack.errors import StackError
from worker.devstack.signals import Signalled, deferred_signals
from worker.devstack.stack import Stack, running_stack

# The order counts: the flood takes the room of all other pushes, and the logs are searched at the end.
ATTACKS = (
    Attack(1, "a stolen user of Redis", on_stores.redis_users),
    Attack(2, "a stolen user of PostgreSQL", on_stores.ledger_users),
    Attack(9, "another's signature, hidden characters", on_messages.signatures),
    Attack(10, "a caller that is a campaign", on_messages.callers),
    Attack(16, "codes to one mobile without end", on_messages.bombing),
    Attack(4, "pushes without the token", on_pushes.without_token),
    Attack(5, "a push that opts everybody out", on_pushes.forged_optouts),
    Attack(8, "line breaks and controls in a push", on_pushes.forged_lines),
    Attack(3, "pushes to fill the ledger and Redis", on_pushes.flood),
    Attack(15, "codes that stay in the ledger", on_messages.texts_of_codes),
    Attack(6, "a workbook that unpacks to very much", on_files.workbook),
    Attack(14, "formulas in an export", on_files.export),
    Attack(11, "the way to the gateway in clear", on_settings.in_clear),
    Attack(12, "ports that all may reach", on_settings.ports),
    Attack(13, "a password in an error", on_settings.address),
    Attack(17, "cores, and packages that nobody needs", on_settings.images),
    Attack(7, "secrets, texts and mobiles in the logs", on_pushes.logs),
)


FAILED = (StackError, RedisError, SQLAlchemyError, OSError, SubprocessError, LookupError, ValueError)
"""The errors of an attack that broke something, or took too long."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="attack", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--ledger", choices=("postgresql", "sqlite"), default="postgresql", help="its database")
    parser.add_argument(
        "--row",
        type=int,
        action="append",
        choices=range(1, len(ATTACKS) + 1),
        metavar="NO",
        help="only the attack with this number; may be repeated",
    )
    parser.add_argument(
        "--directory", type=Path, help="where the logs stay; by default they are deleted, unless an attack was not held"
    )
    given = parser.parse_args()
    try:
        sys.exit(0 if attack(given.ledger, given.row or [], given.directory) else 1)
    except StackError as error:
        sys.exit(f"attack: {error}")
    except Signalled as signal:
        sys.exit(128 + signal.number)


def attack(ledger: str, rows: list[int], directory: Path | None) -> bool:
    """Tries the attacks with these numbers, or all, and prints the results. Returns whether all were held."""
    chosen = [attack for attack in ATTACKS if not rows or attack.row in rows]
    with (
        deferred_signals() as raise_if_interrupted,
        kept_directory(directory, prefix="sms-attack-", kept=_print_place) as (path, keep),
        _stack(path, ledger, raise_if_interrupted) as stack,
    ):
        held = report(list(_tried(stack, chosen)))
        if not held:
            keep()
    return held


def _print_place(path: Path) -> None:
    print(f"the logs are in {path}")


@contextmanager
def _stack(directory: Path, ledger: str, raise_if_interrupted: Callable[[], None]) -> Iterator[Stack]:
    settings = {"SMS_PUSH_HOURLY_MIB": str(on_pushes.HOURLY_MIB)}
    with postgres_for(ledger) as postgres:
        url = postgres.url if postgres is not None else None
        with running_stack(
            directory, ledger_url=url, concurrency=4, settings=settings, raise_if_interrupted=raise_if_interrupted
        ) as stack:
            yield stack


def _tried(stack: Stack, attacks: list[Attack]) -> Iterator[tuple[Attack, Result]]:
    with progress_bar() as progress:
        trying = progress.add_task("attacks", total=len(attacks))
        for attack in attacks:
            progress.update(trying, description=attack.name)
            try:
                yield attack, attack.attempt(stack)
            except FAILED as error:
                yield attack, Result(False, f"{type(error).__name__}: {error}".splitlines()[0])
            progress.advance(trying)


def report(results: list[tuple[Attack, Result]]) -> bool:
    """Prints the result of each attack, by row. Returns whether none succeeded."""
    table = Table("row", "attack", "", "what was seen", title="Attacks", title_justify="left", box=SIMPLE_HEAD)
    words = {True: "held", False: "NOT HELD", None: "not tried"}
    for attack, result in sorted(results, key=lambda pair: pair[0].row):
        table.add_row(str(attack.row), attack.name, words[result.held], clean(result.seen))
    console().print(table)
    held = sum(result.held is True for _, result in results)
    console().print(f"{held} of {len(results)} held")
    return all(result.held is not False for _, result in results)


if __name__ == "__main__":
    main()
