"""`python -m bench`: the command line of the benchmarks."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.campaign import Options as CampaignOptions
from bench.campaign import bench_campaign
from bench.ledger import Options as LedgerOptions
from bench.ledger import bench_ledger
from bench.memory import Options as MemoryOptions
from bench.memory import bench_memory
from bench.otp import Options as OtpOptions
from bench.otp import bench_otp
from bench.push import Options as PushOptions
from bench.push import bench_push
from bench.rate import Options as RateOptions
from bench.rate import bench_rate
from bench.scale import Options as ScaleOptions
from bench.scale import bench_scale
from bench.send import Options as SendOptions
from bench.send import bench_send
from worker.devstack.errors import StackError
from worker.devstack.signals import Signalled

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    benches = parser.add_subparsers(required=True, metavar="BENCH")
    for add in (_add_send, _add_scale, _add_rate, _add_otp, _add_memory, _add_push, _add_ledger, _add_campaign):
        add(benches)
    given = vars(parser.parse_args())
    bench, options, results = given.pop("bench"), given.pop("options"), given.pop("json")
    try:
        bench(options(**given), results)
    except StackError as error:
        sys.exit(f"bench: {error}")
    except Signalled as signal:
        sys.exit(128 + signal.number)


def _add_send(benches: Any) -> None:
    add = _bench(
        benches,
        "send",
        "calls a second of this system, and of two baselines: a Celery task and a loop of requests",
        bench_send,
        SendOptions,
    )
    add("--messages", type=_above_zero, default=5000, help="messages in each run")
    add("--concurrency", type=_above_zero, default=32, help="threads of each sender")
    add(
        "--latency",
        dest="latencies_ms",
        type=_numbers,
        default="0,100",
        help="latencies of the gateway in ms, separated by commas",
    )
    add("--repeat", dest="rounds", type=_above_zero, default=1, help="number of rounds; their median is shown")


def _add_scale(benches: Any) -> None:
    add = _bench(benches, "scale", "calls a second of several worker processes", bench_scale, ScaleOptions)
    add("--workers", type=_numbers, default="1,2,4,8", help="numbers of worker processes, separated by commas")
    add(
        "--concurrency",
        type=_above_zero,
        default=2,
        help="threads of each worker; a thread makes 10 calls side by side",
    )
    add("--latency", dest="latency_ms", type=_above_zero, default=200, help="latency of the gateway in ms")
    add("--seconds", type=float, default=10, help="how long a run would take if only the gateway took time")


def _add_rate(benches: Any) -> None:
    add = _bench(benches, "rate", "whether several workers keep to a limit together", bench_rate, RateOptions)
    add("--workers", type=_numbers, default="1,4,16", help="numbers of worker processes, separated by commas")
    add("--rates", type=_numbers, default="50,500", help="limits in calls a second, separated by commas")
    add("--concurrency", type=_above_zero, default=16, help="threads of each worker")
    add("--latency", dest="latency_ms", type=_count, default=0, help="latency of the gateway in ms")
    add("--seconds", type=float, default=60, help="how long each run is measured")


def _add_otp(benches: Any) -> None:
    add = _bench(benches, "otp", "how soon an OTP is called while marketing uses up the rate", bench_otp, OtpOptions)
    add("--recipients", type=_above_zero, default=1_000_000, help="waiting marketing recipients")
    add("--to-a-call", type=_numbers, default="50,1", help="marketing recipients of each call, separated by commas")
    add("--rates", type=_numbers, default="50,300", help="rates of the account in calls a second, separated by commas")
    add("--pace", type=float, default=5, help="OTPs a second")
    add("--seconds", type=float, default=60, help="how long OTPs are sent")
    add("--concurrency", type=_above_zero, default=16, help="threads of each worker")
    add("--latency", dest="latency_ms", type=_count, default=100, help="latency of the gateway in ms")


def _add_campaign(benches: Any) -> None:
    add = _bench(
        benches,
        "campaign",
        "a campaign to a million: import, first call, pause, resume, cancel, and its effect on other messages",
        bench_campaign,
        CampaignOptions,
    )
    add("--recipients", type=_above_zero, default=1_000_000, help="members of the audience")
    add("--otps", type=_above_zero, default=100, help="OTPs that are sent meanwhile, ten a second, three times")
    add("--rate", type=float, default=0, help="rate of the account in calls a second; 0 means no limit")
    add("--concurrency", type=_above_zero, default=16, help="threads of the worker")
    add("--latency", dest="latency_ms", type=_count, default=100, help="latency of the gateway in ms")


def _add_memory(benches: Any) -> None:
    add = _bench(benches, "memory", "the memory of each process as messages pass through", bench_memory, MemoryOptions)
    add(
        "--after",
        type=_numbers,
        default="1000,100000,200000",
        help="numbers of messages after which to look, separated by commas",
    )
    add("--batch", type=_above_zero, default=500, help="messages enqueued at once, whenever fewer than that wait")
    add("--rest", type=float, default=10, help="idle seconds before each look")
    add("--concurrency", type=_above_zero, default=16, help="threads of the worker")
    add("--latency", dest="latency_ms", type=_count, default=300, help="latency of the gateway in ms")


def _add_push(benches: Any) -> None:
    add = _bench(
        benches,
        "push",
        "how soon pushes are acknowledged, and how many reports are applied a second",
        bench_push,
        PushOptions,
    )
    add("--sizes", type=_numbers, default="1,100,1000", help="items of a push, separated by commas")
    add("--rate", type=float, default=200, help="paced pushes a second; fewer if they have more than 25 items")
    add("--seconds", type=float, default=30, help="how long pushes are paced")
    add("--pushes", type=_above_zero, default=3000, help="largest number of pushes at once")
    add("--items", type=_above_zero, default=200_000, help="largest number of items of the pushes at once")


def _add_ledger(benches: Any) -> None:
    add = _bench(benches, "ledger", "whether a large ledger is as fast as an empty one", bench_ledger, LedgerOptions)
    add(
        "--recipients",
        type=_above_zero,
        default=10_000_000,
        help="recipients in the large ledger; the default takes 5 GB of disk",
    )
    add("--messages", type=_above_zero, default=5000, help="messages in each round")
    add("--items", type=_above_zero, default=200_000, help="reports in each round, and a hundredth of them one by one")
    add("--rate", type=float, default=200, help="paced pushes of 1 a second")
    add("--seconds", type=float, default=20, help="how long pushes are paced")
    add("--concurrency", type=_above_zero, default=32, help="threads of each worker")
    add("--repeat", dest="rounds", type=_above_zero, default=3, help="number of rounds; their median is shown")


def _bench(
    benches: Any, name: str, what: str, bench: Callable[[Any, Path], None], options: type[Any]
) -> Callable[..., Any]:
    """Adds a benchmark. Returns the function that adds its options; each goes into the field of its name."""
    parser: argparse.ArgumentParser = benches.add_parser(
        name, help=what, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.set_defaults(bench=bench, options=options)
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="file for the figures of each run")
    return parser.add_argument


def _count(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return int(text)


def _above_zero(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
