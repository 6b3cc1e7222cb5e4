"""The report of `run.py attack`."""

import pytest

from attack.__main__ import report
from attack.table import Attack, Result, counted


def attack(row: int) -> Attack:
    return Attack(row, f"attack {row}", lambda _: Result(True, ""))


def test_one_attack_that_was_not_held_is_shown_and_fails_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report([(attack(2), counted(3, 4, "commands refused")), (attack(1), Result(True, "fine"))])
    shown = capsys.readouterr().out
    assert shown.index("fine") < shown.index("3 of 4 commands refused")
    assert "NOT HELD" in shown
    assert "1 of 2 held" in shown


def test_an_attack_that_could_not_be_tried_is_shown_and_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([(attack(1), counted(4, 4, "refused")), (attack(2), Result(None, "SQLite has no users"))])
    assert "not tried" in capsys.readouterr().out
