"""`sms account`: which accounts may send, and closing and opening gates by hand."""

from datetime import timedelta

import pytest
from ledger_driver import NOW, Ledger
from sms_command import sms, sms_json

from worker.ledger.sending import gates


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


def test_an_account_that_is_paused_says_by_whom_and_why_until_it_is_resumed(ledger: Ledger) -> None:
    assert [(account["account"], account["is_open"]) for account in sms_json("account", "list")] == [("default", True)]
    assert sms("account", "pause", "default", "--reason", "wrong text").exit_code == 0
    (paused,) = sms_json("account", "list")
    assert (paused["is_open"], paused["reason"], paused["until"]) == (False, "wrong text", None)
    assert paused["by"].startswith("operator:")
    assert "closed" in sms("account", "list").stdout
    assert sms("account", "resume", "default").exit_code == 0
    assert sms_json("account", "list")[0]["is_open"] is True


def test_a_gate_that_the_gateway_closed_says_when_it_is_probed(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        until = NOW + timedelta(minutes=1)
        gates.close(connection, ledger.account_ids["default"], "account: -3 Key验证失败", now=NOW, until=until)
    (closed,) = sms_json("account", "list")
    assert (closed["by"], closed["until"]) == ("gateway", until.isoformat())
    assert "Key验证失败" in closed["reason"]


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_an_account_that_there_is_not_is_told_with_those_that_there_are(ledger: Ledger, command: str) -> None:
    result = sms("account", command, "shop")
    assert result.exit_code == 1
    assert "there is no account 'shop'; the accounts are: default" in result.stderr
