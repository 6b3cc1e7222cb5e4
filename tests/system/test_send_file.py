"""A text to the column of a real export: it goes once to each mobile that can be sent to, and the others are listed."""

import subprocess
from collections import Counter
from pathlib import Path

from processes import SMS

from worker.cli.send_file import read_file
from worker.devstack.stack import Stack

AUDIENCE = Path(__file__).parents[1] / "samples" / "audience.csv"
SEND = (
    *SMS,
    "send",
    "--to-file",
    str(AUDIENCE),
    "--column",
    "mobile",
    "--content",
    "您的订单已发货",
    "--key",
    "spring",
)
LEFT_OUT = {"is too short": 58, "is a landline": 52, "has letters": 25, "starts with a prefix": 65, "is empty": 30}


def test_each_of_thousands_is_sent_to_once_and_the_rest_is_told(stack: Stack, tmp_path: Path) -> None:
    def send() -> str:
        environment = stack.environment | {"COLUMNS": "150"}
        ran = subprocess.run(
            [*SEND, "--wait", "60"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    said = send()
    assert "4,518 good numbers, 252 repeats, 230 refused" in said
    for reason, count in {**LEFT_OUT, "is a repeat": 252}.items():
        assert any(reason in line and str(count) in line for line in said.splitlines()), said
    # The same again: the key says that it is the same message.
    assert said == send()

    summary = stack.ask_simulator("summary")
    calls = stack.ask_simulator(f"calls?limit={summary['calls_taken']}")["calls"]
    taken = Counter(mobile for call in calls for mobile in call["mobiles"])
    assert taken == Counter(read_file(AUDIENCE).mobiles.keys())
    assert len(taken) == 4518
    assert summary["max_mobiles_per_call"] <= 50
    assert summary["reports"]["acknowledged"] == 4518
