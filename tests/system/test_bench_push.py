import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long("runs two benchmarks, which measure times")

REPO = Path(__file__).parents[2]


@pytest.mark.beside
@pytest.mark.timeout(300)
def test_bench_push_applies_every_report_just_once_on_both_ledgers(tmp_path: Path) -> None:
    options = ["--sizes", "1,100", "--rate", "50", "--seconds", "0.4", "--pushes", "20", "--items", "300"]
    printed, runs = _bench("push", options, tmp_path)
    loads = [(1, 20), (1, 20), (100, 20), (100, 3)]  # paced and at once, each
    assert [(run["ledger"], run["size"], run["pushes"], run["applied"]) for run in runs] == [
        (ledger, size, pushes, size * pushes) for ledger in ("sqlite", "postgresql") for size, pushes in loads
    ]
    assert all(0 < run["p50_ms"] <= run["p99_ms"] <= run["longest_ms"] for run in runs)
    assert printed.count("at once") == 8  # in each of the two tables


@pytest.mark.timeout(300)
def test_bench_ledger_measures_the_same_with_an_empty_ledger_and_a_filled_one(tmp_path: Path) -> None:
    # There are enough pushes of each kind that their CPU time is several ticks of the clock that counts it.
    options = ["--recipients", "5000", "--messages", "100", "--items", "5000", "--seconds", "0.2", "--concurrency", "4"]
    printed, (*runs, last) = _bench("ledger", [*options, "--repeat", "2"], tmp_path)
    assert [(run["round"], run["ledger"], run["recipients"]) for run in runs] == [
        (1, "empty", 0),
        (1, "large", 5000),
        (2, "large", 5000),
        (2, "empty", 0),
    ]
    assert all(value > 0 for run in runs for value in run["figures"].values())
    assert all(name in printed for name in runs[0]["figures"])
    assert (
        last["limits"].items()
        >= {
            "one tick's unreport: of 20,000 that wait too long": 20_000,
            "multixact members used for 120,000 reports": 0,
        }.items()
    )


def _bench(name: str, options: list[str], tmp_path: Path) -> tuple[str, list[dict]]:
    """Runs the benchmark. Returns what it prints, and the runs that it writes."""
    results = tmp_path / f"{name}.json"
    command = [sys.executable, "-m", "bench", name, *options, "--json", str(results)]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout, json.loads(results.read_text())["runs"]
