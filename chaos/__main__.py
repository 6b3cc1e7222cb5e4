"""`python -m chaos`: the command line. Exit code 0 where all the zeros are zeros, else 1."""

import argparse
import sys
from pathlib import Path

from chaos.campaign import run_of_a_campaign
from chaos.intake import compare
from chaos.run import Options, chaos
from worker.cli.stack import Signalled, StackError


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("all", "intake", "campaign"),
        default="all",
        help="`intake` measures alone what a worker that is killed loses, with the intake and without; "
        "`campaign` kills beats and workers through a run of a campaign to so many --messages",
    )
    parser.add_argument("--kills", type=int, default=10, help="of `intake`: how often the worker is killed")
    parser.add_argument("--seed", type=int, default=1, help="decides what is sent and what is broken, in which order")
    parser.add_argument("--minutes", type=_above_zero, default=10, help="how long messages flow and faults happen")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--every", type=_above_zero, default=4, metavar="SECONDS", help="from one fault to the next")
    parser.add_argument("--ledger", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--freeze", type=_above_zero, default=20, metavar="SECONDS", help="how long PostgreSQL freezes")
    parser.add_argument(
        "--settle", type=_above_zero, default=600, metavar="SECONDS", help="how long to wait at the end"
    )
    parser.add_argument("--only", metavar="WORD", help="only faults whose name has this word in it")
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
    return chaos(Options(**{name: value for name, value in vars(given).items() if name not in ("what", "kills")}))


def _above_zero(text: str) -> float:
    if float(text) <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return float(text)


if __name__ == "__main__":
    main()
