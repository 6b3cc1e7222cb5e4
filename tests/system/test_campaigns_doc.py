"""The script of docs/campaigns.md, run as it stands there on a stack like that of `sms up`. The report is compared with
the gateway's log.
"""

import csv
import json
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from processes import SMS

from worker.devstack.stack import Stack

pytestmark = [
    pytest.mark.long("sends two campaigns to thousands and reads their reports"),
    pytest.mark.beside,
]

REPO = Path(__file__).parents[2]
DOC = (REPO / "docs" / "campaigns.md").read_text()
(SCRIPT,) = re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)
GOOD = 4518
TEST_NUMBERS = {"13800138000", "13900139000"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which the paths of the script lead somewhere, and which gets its files."""
    (tmp_path / "tests").symlink_to(REPO / "tests")
    return tmp_path


def run(line: str, stack: Stack, place: Path) -> str:
    command = [*SMS, *shlex.split(line)[1:]]
    done = subprocess.run(
        command, cwd=place, env=stack.environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.timeout(300)
def test_the_script_of_the_docs_sends_two_campaigns_and_reports_what_the_gateway_took(
    stack: Stack, place: Path
) -> None:
    said = {line: run(line, stack, place) for line in SCRIPT.splitlines()}
    checked = next(text for line, text in said.items() if line == "sms campaign check bills")
    assert f"{GOOD:,}" in checked
    refused = list(csv.reader((place / "refused.csv").open(encoding="utf-8-sig")))
    assert refused[0] == ["line", "value", "reason"]
    assert len(refused) == 1 + 5000 - GOOD

    calls = []
    while page := stack.ask_simulator(f"calls?since={len(calls)}&limit=1000")["calls"]:
        calls += page
    taken = {
        "bills": [call for call in calls if "账单" in call["content"] and not TEST_NUMBERS & set(call["mobiles"])],
        "news": [call for call in calls if "客服热线" in call["content"]],
    }
    assert len(taken["news"]) == -(-GOOD // 50)
    assert all(len(call["mobiles"]) == 1 for call in taken["bills"])
    for name, its_calls in taken.items():
        mobiles = Counter(mobile for call in its_calls for mobile in call["mobiles"])
        figures = json.loads(run(f"sms campaign report {name} --json", stack, place))
        with (place / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert max(mobiles.values()) == 1
        assert len(mobiles) == GOOD
        assert {row["mobile"]: row["status"] for row in rows} == dict.fromkeys(mobiles, "delivered")
        assert figures["figures"]["statuses"] == {"delivered": GOOD}
        assert f"{GOOD:,}" in (place / f"{name}.html").read_text(encoding="utf-8")
    greeted = {call["mobiles"][0]: call["content"] for call in taken["bills"]}
    assert len(set(greeted.values())) > GOOD / 2
    assert all(
        re.fullmatch(r"尊敬的.+，您本期账单[0-9.]+元，请于\d{4}-\d\d-\d\d前缴纳", text) for text in greeted.values()
    )
