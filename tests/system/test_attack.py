"""`run.py attack`: attacks that once succeeded are held."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from attack.__main__ import ATTACKS

pytestmark = [
    pytest.mark.long("tries each attack against a stack of its own"),
    pytest.mark.beside,
]


def test_every_attack_is_held_and_told_in_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "attack", "--directory", str(tmp_path / "stack")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert f"{len(ATTACKS)} of {len(ATTACKS)} held" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert [int(number) for number in re.findall(r"^  (\d+) ", done.stdout, re.MULTILINE)] == list(range(1, 18))
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(tmp_path))
