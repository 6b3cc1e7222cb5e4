"""What `run.py attack` makes of what came of its attacks."""

import pytest

from attack.__main__ import report
from attack.table import Attack, Seen, counted


def attack(row: int) -> Attack:
    return Attack(row, f"attack {row}", lambda _: Seen(True, ""))


def test_one_attack_that_was_not_held_is_told_and_fails_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report([(attack(2), counted(3, 4, "commands refused")), (attack(1), Seen(True, "fine"))])
    said = capsys.readouterr().out
    assert said.index("fine") < said.index("3 of 4 commands refused")
    assert "NOT HELD" in said
    assert "1 of 2 held" in said


def test_what_could_not_be_tried_is_told_and_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([(attack(1), counted(4, 4, "refused")), (attack(2), Seen(None, "SQLite knows no users"))])
    assert "not tried" in capsys.readouterr().out
