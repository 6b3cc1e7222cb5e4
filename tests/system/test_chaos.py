"""A short run of `python3 run.py chaos`: everything is broken for 40 seconds, and then nothing is lost and nothing doubled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long("breaks a whole system for a minute and waits until it has settled"),
    pytest.mark.beside,
]

REPO = Path(__file__).parents[2]
OPTIONS = (
    "--seed",
    "7",
    "--minutes",
    "0.67",
    "--messages",
    "300",
    "--every",
    "2.5",
    "--freeze",
    "5",
    "--settle",
    "90",
)


@pytest.mark.timeout(300)
def test_whatever_breaks_nothing_is_lost_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    figures_in = tmp_path / "figures.json"
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", *OPTIONS, "--json", str(figures_in)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(figures_in.read_text())
    assert {name: who for name, who in figures["must_be_none"].items() if who} == {}
    assert sum(figures["faults"].values()) >= 10
    assert figures["messages accepted by send"] >= 200
    assert figures["calls taken by the gateway"] >= 100


@pytest.mark.timeout(300)
def test_a_campaign_goes_to_everybody_once_while_its_beats_and_workers_are_killed() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "campaign", "--messages", "600", "--every", "0.7", "--ledger", "sqlite"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("nothing") == 2, "two campaigns, in which nothing was wrong"
