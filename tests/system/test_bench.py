import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
SENDERS = [
    ("requests", None, False),
    ("celery", None, False),
    ("system", "sqlite", False),
    ("system", "postgresql", False),
    ("system", "sqlite", True),
    ("system", "postgresql", True),
]


@pytest.mark.timeout(300)
def test_bench_send_calls_every_message_just_once_with_each_sender(tmp_path: Path) -> None:
    results = tmp_path / "send.json"
    options = ["--messages", "50", "--latency", "0", "--concurrency", "4", "--json", str(results)]
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "send", *options], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    runs = json.loads(results.read_text())["runs"]
    assert [tuple(run["sender"].values()) for run in runs] == SENDERS
    assert [run["called_once"] for run in runs] == [50] * len(SENDERS)
    assert ran.stdout.count("postgresql + pushes") == 3  # once in each table
