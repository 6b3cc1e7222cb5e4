"""A process that cannot start names everything that is missing, once, and ends."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from worker.ledger.engine import open_engine
from worker.ledger.sending import accounts

CELERY = [sys.executable, "-m", "celery", "-A", "worker.app"]
WORKER = [*CELERY, "worker", "--pool", "threads", "-c", "1"]
COMMANDS = {
    "worker": (WORKER, ["SMS_REDIS_URL is missing", "SMS_LEDGER_URL is missing", "the gateway account is missing"]),
    "beat": ([*CELERY, "beat", "-s", "beat-schedule"], ["SMS_REDIS_URL is missing"]),
    "callback app": (
        [sys.executable, "-m", "gunicorn", "callback_app.wsgi:app", "--bind", "127.0.0.1:0", "--no-control-socket"],
        ["SMS_REDIS_URL is missing", "SMS_LEDGER_URL", "SMS_PUSH_TOKEN", "SMS_PUSH_ALLOW"],
    ),
}
REPO = Path(__file__).parents[2]


def run(command: list[str], tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SMS_")}
    environment = own | {"PYTHONPATH": str(REPO)} | settings
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("command", "gaps"), COMMANDS.values(), ids=COMMANDS)
def test_a_process_without_settings_lists_what_is_missing_and_ends(
    tmp_path: Path, command: list[str], gaps: list[str]
) -> None:
    done = run(command, tmp_path)
    assert done.returncode != 0
    for gap in gaps:
        assert gap in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [command for command, _ in COMMANDS.values()], ids=COMMANDS)
@pytest.mark.parametrize(
    ("name", "address"), [("SMS_LEDGER_URL", "mysql://sms:pa55word@h/sms"), ("SMS_REDIS_URL", "localhost:6379")]
)
def test_a_process_with_an_address_that_is_none_says_so_and_ends(
    tmp_path: Path, command: list[str], name: str, address: str
) -> None:
    settings = {
        "SMS_REDIS_URL": "redis://127.0.0.1:1/0",
        "SMS_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "SMS_EPR_ID": "1",
        "SMS_USER_ID": "sword123",
        "SMS_PASSWORD": "geheim",
        "SMS_PUSH_TOKEN": "0123456789abcdef",
        "SMS_PUSH_ALLOW": "127.0.0.1",
    }
    done = run(command, tmp_path, **settings | {name: address})
    assert done.returncode != 0
    assert f"these settings are missing or wrong; correct them and start again:\n  - {name} is no" in done.stderr
    assert "pa55word" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_meets_an_old_ledger_says_so_and_stops(tmp_path: Path, redis_url: str, ledger_url: str) -> None:
    engine = open_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    engine.dispose()
    account = {"SMS_EPR_ID": "1", "SMS_USER_ID": "sword123", "SMS_PASSWORD": "geheim"}
    done = run(WORKER, tmp_path, SMS_REDIS_URL=redis_url, SMS_LEDGER_URL=ledger_url, **account)
    assert done.returncode == 1
    assert "the ledger is at version 0000, this program needs" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_whose_account_has_another_name_in_the_ledger_says_so_and_stops(
    tmp_path: Path, redis_url: str, ledger_url: str
) -> None:
    engine = open_engine(ledger_url)
    with engine.begin() as connection:
        names = {"default": (7, "seven"), "shop": (1, "sword123")}
        accounts.register(connection, names, first_msg_id=1, now=datetime.now(UTC))
        accounts.note_credentials(connection, names)
    engine.dispose()
    account = {"SMS_EPR_ID": "1", "SMS_USER_ID": "sword123", "SMS_PASSWORD": "geheim"}
    done = run(WORKER, tmp_path, SMS_REDIS_URL=redis_url, SMS_LEDGER_URL=ledger_url, **account)
    assert done.returncode == 1
    assert "account 'default' has the eprId and userId of 'shop'" in done.stderr
    assert "call it 'shop' again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_cannot_reach_the_ledger_says_so_and_stops(tmp_path: Path, redis_url: str) -> None:
    account = {"SMS_EPR_ID": "1", "SMS_USER_ID": "sword123", "SMS_PASSWORD": "geheim"}
    nowhere = "postgresql://sms:pa55word@127.0.0.1:1/sms"
    done = run(WORKER, tmp_path, SMS_REDIS_URL=redis_url, SMS_LEDGER_URL=nowhere, **account)
    assert done.returncode == 1
    assert "the ledger cannot be reached" in done.stderr
    assert "pa55word" not in done.stderr
    assert "Traceback" not in done.stderr
