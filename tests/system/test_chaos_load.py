"""A short run of `python3 run.py chaos load`: a flood, pushes, a campaign, poison, a sick worker and a bad gateway at once.

The bounds for times are those that a busy machine of two cores keeps. The command's own bounds are tighter.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long("measures times under a flood of a minute")

REPO = Path(__file__).parents[2]
OPTIONS = (
    "--seed",
    "3",
    "--minutes",
    "0.7",
    "--rate",
    "300",
    "--backlog",
    "4000",
    "--messages",
    "2000",
    "--settle",
    "90",
)
SECONDS = {"OTP p50": 2, "taken again after a bad gateway": 40, "oldest push": 15, "oldest tick": 15}
"""Bounds of a few times those of the command. Where a queue starves, it takes tens of seconds."""
AS_IT_SAYS = (
    "tasks in a lane's queue",
    "gate closed, the gateway well",
    "lost",
    "twice",
    "burnt: unknown, never taken",
    "good ones refused",
    "expired or rejected",
    "poison unaccounted for",
    "reports lost",
    "processes that ended by themselves",
    "still waiting",
    "faults of `send`",
)
"""The figures with the bounds of the command: no machine is too slow for these."""


@pytest.mark.timeout(300)
def test_in_bad_company_otps_pushes_and_ticks_are_in_time_and_nothing_is_lost_doubled_or_burnt(tmp_path: Path) -> None:
    figures_in = tmp_path / "figures.json"
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "load", *OPTIONS, "--json", str(figures_in)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert figures_in.exists(), ran.stdout + ran.stderr
    results = json.loads(figures_in.read_text())
    figures = results["figures"]
    assert results["poison given"] >= 20
    assert results["spells of a bad gateway"] == 1
    assert results["of them, counted (the gateway well)"] >= 50
    late = {
        name: figures[name]["value"] for name, most in SECONDS.items() if not (figures[name]["value"] or 1e9) <= most
    }
    wrong = {name: figures[name]["value"] for name in AS_IT_SAYS if not figures[name]["holds"]}
    assert (late, wrong) == ({}, {}), ran.stdout
    assert (ran.returncode == 0) == all(figure["holds"] for figure in figures.values())
