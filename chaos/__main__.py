"""`python -m chaos`: the command line. The exit code is 0 if every promise was kept, else 1."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from chaos.campaign import run_of_a_campaign
from chaos.load.run import Options as LoadOptions
from chaos.load.run import load
from chaos.run import Options, chaos
from chaos.task_loss import compare
from worker.devstack.errors import StackError
from worker.devstack.signals import Signalled

T = TypeVar("T")
WHAT = """\
`all` breaks parts at random while messages flow; \
`intake` measures only what a killed worker loses, with the intake and without it; \
`campaign` kills beats and workers while a campaign is sent to --messages members; \
`load` kills nothing: it combines a flood, pushes, a campaign to --messages members, poison, a sick worker and \
a bad gateway, and shows each figure beside its bound"""


def main() -> None:
    try:
        sys.exit(0 if _run(_parser().parse_args()) else 1)
    except StackError as error:
        sys.exit(f"chaos: {error}")
    except Signalled as signal:
        sys.exit(128 + signal.number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("what", nargs="?", choices=("all", "intake", "campaign", "load"), default="all", help=WHAT)
    add("--seed", type=int, default=1, help="decides the messages, and the order of the faults")
    add(
        "--minutes",
        type=_above_zero,
        default=argparse.SUPPRESS,
        help="how long messages flow and faults happen (default: 10, for `load` 5)",
    )
    add("--messages", type=int, default=10_000, help="number of messages, or of members of the campaign")
    add("--every", type=_above_zero, default=4, metavar="SECONDS", help="time between two faults")
    add("--ledger", choices=("postgresql", "sqlite"), default="postgresql", help="the database of the ledger")
    add("--freeze", type=_above_zero, default=20, metavar="SECONDS", help="how long PostgreSQL freezes")
    add("--settle", type=_above_zero, default=600, metavar="SECONDS", help="how long to wait at the end")
    add("--only", metavar="WORD", help="only faults or trouble with this word in their names")
    add("--directory", type=Path, help="where the logs stay; by default they are deleted, unless something was lost")
    add("--json", type=Path, help="file for the figures")
    add("--kills", type=int, default=10, help="`intake`: how often the worker is killed")
    _add_load_options(add)
    return parser


def _add_load_options(add: Callable[..., Any]) -> None:
    add("--rate", type=_above_zero, default=400, help="`load`: messages of the flood a second")
    add(
        "--backlog",
        type=int,
        default=10_000,
        help="`load`: the flood pauses when that many messages wait, until only half as many do",
    )
    add(
        "--in-a-row",
        type=int,
        default=10,
        help="`load`: how many unknown outcomes in a row close the gate; part of the bound of burnt recipients",
    )


def _run(given: argparse.Namespace) -> bool:
    if given.what == "intake":
        return compare(given.seed, given.messages, given.kills)
    if given.what == "campaign":
        return run_of_a_campaign(given.seed, given.messages, given.every, given.ledger)
    if given.what == "load":
        return load(_options(LoadOptions, given, minutes=5.0))
    return chaos(_options(Options, given, minutes=10.0))


def _options(kind: type[T], given: argparse.Namespace, **defaults: object) -> T:
    """The options of this kind, from the command line."""
    values = defaults | vars(given)
    return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]  # argparse has checked the types


def _above_zero(text: str) -> float:
    if float(text) <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return float(text)


if __name__ == "__main__":
    main()
