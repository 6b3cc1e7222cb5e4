"""`python -m bench`: the command line of the benchmarks."""

import argparse
import sys
from pathlib import Path

from bench.send import Options, bench_send
from worker.cli.stack import Signalled, StackError

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    send = parser.add_subparsers(required=True, metavar="BENCH").add_parser(
        "send",
        help="calls a second of this system, of a plain Celery task and of a bare loop of requests",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    send.add_argument("--messages", type=_above_zero, default=5000, help="of one recipient each, in each run")
    send.add_argument("--concurrency", type=_above_zero, default=32, help="threads of each sender")
    send.add_argument(
        "--latency", type=_milliseconds, default="0,100", help="of the gateway in ms, with commas between"
    )
    send.add_argument("--repeat", type=_above_zero, default=1, help="rounds; what is shown is the median of them")
    send.add_argument("--json", type=Path, default=RESULTS / "send.json", help="where the figures go, run by run")
    given = parser.parse_args()
    try:
        bench_send(Options(given.messages, given.concurrency, given.latency, given.repeat), given.json)
    except StackError as why:
        sys.exit(f"bench: {why}")
    except Signalled as signal:
        sys.exit(128 + signal.number)


def _above_zero(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _milliseconds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
