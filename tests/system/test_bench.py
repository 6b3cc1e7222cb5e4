import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
SENDERS = [
    ("requests", None, False, 1, 1),
    ("celery", None, False, 1, 1),
    ("system", "sqlite", False, 1, 1),
    ("system", "postgresql", False, 1, 1),
    ("system", "sqlite", True, 1, 1),
    ("system", "postgresql", True, 1, 1),
    ("system", "postgresql", False, 50, 1),
]

pytestmark = [
    pytest.mark.long("runs each benchmark, which measure times"),
    pytest.mark.timeout(300),
]


def _bench(name: str, tmp_path: Path, options: str) -> tuple[list[dict[str, Any]], str]:
    """Runs a benchmark. Returns its runs, and what it printed."""
    results = tmp_path / f"{name}.json"
    command = [sys.executable, "-m", "bench", name, *options.split(), "--json", str(results)]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(results.read_text())["runs"], ran.stdout


@pytest.mark.beside
def test_bench_send_calls_every_message_just_once_with_each_sender(tmp_path: Path) -> None:
    runs, shown = _bench("send", tmp_path, "--messages 50 --latency 0 --concurrency 4")
    assert [tuple(run["sender"].values()) for run in runs] == SENDERS
    assert [run["called_once"] for run in runs] == [50] * len(SENDERS)
    assert [round(run["mobiles_per_second"] / run["calls_per_second"]) for run in runs] == [1] * 6 + [50]
    assert shown.count("postgresql + pushes") == 3  # once in each table


@pytest.mark.beside
def test_bench_scale_calls_every_message_just_once_with_several_workers(tmp_path: Path) -> None:
    runs, _ = _bench("scale", tmp_path, "--workers 1,2 --concurrency 1 --latency 50 --seconds 1")
    assert [(run["workers"], run["called_once"]) for run in runs] == [(1, 200), (2, 400)]
    assert {"worker", "worker-2", "postgres", "valkey", "simulator"} <= runs[1]["used"].keys()


def test_bench_rate_sees_two_workers_keep_to_one_limit_and_use_it_up(tmp_path: Path) -> None:
    [run], _ = _bench("rate", tmp_path, "--workers 2 --rates 20 --concurrency 2 --seconds 5")
    assert run["allowed"] == 24
    # Where the machine is so busy that calls stand still after their token, they come together later. Without a limit it would
    # be hundreds.
    assert 20 <= run["most_in_a_second"] < 2 * 20
    assert abs(run["deviation"]) < 0.3


def test_bench_otp_times_the_call_of_each_otp_beside_a_campaign(tmp_path: Path) -> None:
    runs, _ = _bench(
        "otp", tmp_path, "--recipients 2000 --to-a-call 5 --rates 20 --pace 5 --seconds 2 --concurrency 4 --latency 10"
    )
    assert [(run["own_worker"], run["called_once"], len(run["latencies"])) for run in runs] == [
        (False, 10, 10),
        (True, 10, 10),
    ]
    for run in runs:
        assert 0 < run["p50"] <= run["p99"] <= run["max"]
        assert 0 < run["marketing_left"] < 400


@pytest.mark.beside
def test_bench_memory_looks_at_each_process_after_so_many_messages(tmp_path: Path) -> None:
    runs, _ = _bench("memory", tmp_path, "--after 50,100 --batch 25 --rest 0 --concurrency 4")
    assert [run["messages"] for run in runs] == [50, 100]
    for run in runs:
        assert run["memory"].keys() == {"worker", "beat", "callback", "callback's child 1"}
        assert all(0 < memory["uss"] <= memory["pss"] <= memory["rss"] for memory in run["memory"].values())


def test_bench_campaign_starts_pauses_resumes_and_cancels_a_campaign_and_nothing_is_called_after_it(
    tmp_path: Path,
) -> None:
    [run], shown = _bench("campaign", tmp_path, "--recipients 30000 --rate 20 --otps 10 --concurrency 4 --latency 10")
    # A call that was under way when the command returned may come a moment later.
    assert max(run["last_call_after_pause"], run["last_call_after_cancel"]) < 3
    assert min(run["start_to_first_call"], run["resume_to_first_call"]) > 0
    assert {"worker", "beat", "sms audience import", "sms campaign start"} <= run["peak_mb"].keys()
    assert "import: rows a second" in shown
