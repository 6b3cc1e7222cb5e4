"""`python -m chaos`: the command line. Exit code 0 where all the zeros are zeros, else 1."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from chaos.campaign import run_of_a_campaign
from chaos.load.run import Options as LoadOptions
from chaos.load.run import load
from chaos.run import Options, chaos
from chaos.task_loss import compare
from worker.devstack.errors import StackError
from worker.devstack.signals import Signalled

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("all", "intake", "campaign", "load"),
        default="all",
        help="`intake` measures alone what a worker that is killed loses, with the intake and without; "
        "`campaign` kills beats and workers through a run of a campaign to so many --messages; "
        "`load` kills nothing: a flood, pushes, a campaign of --messages, poison, a sick worker and a bad gateway at once, and each "
        "figure beside its bound",
    )
    parser.add_argument("--kills", type=int, default=10, help="of `intake`: how often the worker is killed")
    parser.add_argument("--seed", type=int, default=1, help="decides what is sent and what is broken, in which order")
    parser.add_argument(
        "--minutes",
        type=_above_zero,
        default=argparse.SUPPRESS,
        help="how long messages flow and faults happen (default: 10, of `load` 5)",
    )
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--every", type=_above_zero, default=4, metavar="SECONDS", help="from one fault to the next")
    parser.add_argument("--ledger", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--freeze", type=_above_zero, default=20, metavar="SECONDS", help="how long PostgreSQL freezes")
    parser.add_argument(
        "--settle", type=_above_zero, default=600, metavar="SECONDS", help="how long to wait at the end"
    )
    parser.add_argument("--rate", type=_above_zero, default=400, help="of `load`: single sends a second")
    parser.add_argument(
        "--backlog",
        type=int,
        default=10_000,
        help="of `load`: the flood pauses while so many wait, until half of them do",
    )
    parser.add_argument(
        "--in-a-row",
        type=int,
        default=10,
        help="of `load`: so many unknown in a row close the gate, for the bound of burnt",
    )
    parser.add_argument("--only", metavar="WORD", help="only faults, or trouble, whose name has this word in it")
    parser.add_argument("--directory", type=Path, help="where the logs stay; else they go, unless something was lost")
    parser.add_argument("--json", type=Path, help="where the figures go")
    try:
        sys.exit(0 if _run(parser.parse_args()) else 1)
    except StackError as why:
        sys.exit(f"chaos: {why}")
    except Signalled as signal:
        sys.exit(128 + signal.number)


def _run(given: argparse.Namespace) -> bool:
    if given.what == "intake":
        return compare(given.seed, given.messages, given.kills)
    if given.what == "campaign":
        return run_of_a_campaign(given.seed, given.messages, given.every, given.ledger)
    if given.what == "load":
        return load(_options(LoadOptions, given, minutes=5.0))
    return chaos(_options(Options, given, minutes=10.0))


def _options(kind: type[T], given: argparse.Namespace, **defaults: object) -> T:
    """What the command line says of those that this kind has."""
    said = defaults | vars(given)
    return kind(**{one.name: said[one.name] for one in fields(kind)})  # type: ignore[arg-type]


def _above_zero(text: str) -> float:
    if float(text) <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return float(text)


if __name__ == "__main__":
    main()
