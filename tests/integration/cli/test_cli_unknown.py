"""`sms unknown`."""

import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from ledger_driver import NOW, Ledger, message, mobile, status_push
from rich.cells import cell_len
from sms_command import sms, sms_json

from worker.domain.status import State
from worker.domain.submission import Recorded

LONG_ID = "01a20346-6bd1-7ef9-9530-deb074fa32cf"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    monkeypatch.setenv("LOGNAME", "alice")


def made_unknown(
    ledger: Ledger, message_id: str, *to: str, lane: str = "notice", tips: str = "no response came"
) -> int:
    """Adds a message of one call that is unknown. Returns its msgId."""
    [submission_ids] = ledger.accept(message(message_id, *to, lane=lane)).values()
    [call] = ledger.claim(submission_ids)
    ledger.record(Recorded(call.id, call.attempt, State.UNKNOWN, None, None, tips))
    return call.msg_id


def test_the_list_tells_each_call_with_how_many_recipients_wait(ledger: Ledger) -> None:
    made_unknown(ledger, "settled", mobile(9))
    made_unknown(ledger, "otp", lane="otp")
    msg_id = made_unknown(ledger, LONG_ID, mobile(1), mobile(2), mobile(3))
    ledger.push(status_push((mobile(1), msg_id, 1)))
    assert sms_json("unknown", "resolve", "settled", "--failed")["recipients"] == 1
    listed = sms_json("unknown", "list")
    assert listed[0] == {
        "message": LONG_ID,
        "account": "default",
        "lane": "notice",
        "msg_id": msg_id,
        "recipients": 2,
        "since": "2026-11-22T04:00:00+00:00",
        "resent": False,
        "result": None,
        "tips": "no response came",
        "probably_not_taken": None,
    }
    assert [call["message"] for call in listed] == [LONG_ID, "otp"]
    assert [call["message"] for call in sms_json("unknown", "list", "--limit", 1)] == [LONG_ID]
    assert [call["message"] for call in sms_json("unknown", "list", "--lane", "otp", "--account", "default")] == ["otp"]
    assert sms_json("unknown", "list", "--since", (NOW + timedelta(seconds=1)).isoformat()) == []
    shown = sms("unknown", "list").stdout
    assert LONG_ID in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("message_id", [LONG_ID, "n" * 64])
def test_a_long_answer_of_the_gateway_leaves_the_other_columns_their_room(ledger: Ledger, message_id: str) -> None:
    made_unknown(ledger, message_id, tips="HTTP 502: 系统繁忙请稍后再试 " + "bad gateway " * 40, lane="marketing")
    lines = sms("unknown", "list").stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    shown = "\n".join(lines)
    for whole in (
        "2026-11-22",
        "04:00:00",
        "marketing",
        "default",
        "recipients",
        "HTTP 502: 系统繁忙",
        message_id[-28:],
    ):
        assert whole in shown
    assert len(lines) <= 7


def test_an_empty_list_says_so(ledger: Ledger) -> None:
    assert sms("unknown", "list").stdout == "nothing is unknown\n"


def test_a_message_is_sent_again_by_its_id_without_a_question(ledger: Ledger) -> None:
    made_unknown(ledger, "m")
    made_unknown(ledger, "n")
    assert sms("unknown", "resolve", "m", "--resend").stdout == "1 call will be queued again within a second\n"
    assert ledger.states() == {"held": 1, "unknown": 1}
    assert len(ledger.pull(datetime.now(UTC) + timedelta(seconds=1)).claimed) == 1


def test_a_recipient_is_settled_by_the_word_of_who_is_there_and_show_says_whose(ledger: Ledger) -> None:
    made_unknown(ledger, "m", mobile(1), mobile(2))
    done = sms_json("unknown", "resolve", f"m:+86{mobile(2)}", "--delivered")
    assert done == {"recipients": 1, "status": "delivered", "said_by": "operator:alice"}
    first, second = sms_json("show", "m")["recipients"]
    assert "`sms unknown resolve`" in first["reason"]
    assert (second["status"], second["reason"]) == ("delivered", "operator:alice said so")
    assert (
        sms("unknown", "resolve", "m", "--failed").stdout == "1 recipient is now undelivered, set by operator:alice\n"
    )
    assert sms_json("show", "m")["counts"] == {"delivered": 1, "undelivered": 1}


def test_an_id_that_looks_like_an_id_and_a_mobile_is_an_id(ledger: Ledger) -> None:
    made_unknown(ledger, f"login:{mobile(1)}", mobile(1), mobile(2))
    made_unknown(ledger, "login", mobile(1))
    assert sms_json("unknown", "resolve", f"login:{mobile(1)}", "--delivered")["recipients"] == 2
    assert sms_json("unknown", "resolve", f"login:{mobile(1)}", "--delivered")["recipients"] == 1


def test_a_filter_settles_all_that_it_leaves(ledger: Ledger) -> None:
    made_unknown(ledger, "m", mobile(1), mobile(2))
    made_unknown(ledger, "o", lane="otp")
    assert sms_json("unknown", "resolve", "--lane", "otp", "--failed", "--yes")["recipients"] == 1
    assert sms_json("unknown", "resolve", "--all", "--resend", "--yes") == {"submissions": 1}
    assert sms_json("unknown", "resolve", "--all", "--resend") == {"submissions": 0}


def test_without_a_terminal_a_filter_is_refused_unless_it_says_yes(ledger: Ledger) -> None:
    made_unknown(ledger, "m", mobile(1), mobile(2))
    refused = sms("unknown", "resolve", "--all", "--delivered")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "2 recipients of 1 calls are unknown: call them delivered? Nobody can answer here" in refused.stderr
    assert ledger.statuses() == dict.fromkeys([mobile(1), mobile(2)], "unknown")


@pytest.mark.parametrize(("answer", "exit_code", "states"), [("y", 0, {"held": 1}), ("n", 1, {"unknown": 1})])
def test_on_a_terminal_a_filter_is_asked_about(
    ledger: Ledger, ledger_url: str, answer: str, exit_code: int, states: dict[str, int]
) -> None:
    made_unknown(ledger, "m")
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "unknown", "resolve", "--all", "--resend"],
        env=os.environ | {"SMS_LEDGER_URL": ledger_url}, stdin=terminal, capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(keyboard)
    os.close(terminal)
    assert "1 recipients of 1 calls are unknown: send again? [y/N]" in done.stderr
    assert done.returncode == exit_code
    assert ledger.states() == states


def test_an_id_of_which_nothing_is_unknown_stops_it_all(ledger: Ledger) -> None:
    made_unknown(ledger, "m")
    ledger.accept(message("queued"))
    refused = sms("unknown", "resolve", "m", "queued", "nobody", f"m:{mobile(7)}", "--delivered")
    assert refused.exit_code == 1
    assert f"nothing is unknown of queued, nobody, m:{mobile(7)}; nothing was done" in refused.stderr
    assert ledger.states() == {"unknown": 1, "queued": 1}
    assert len(sms_json("unknown", "list")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("m",),
        ("m", "--resend", "--failed"),
        ("--resend",),
        ("m", "--all", "--resend"),
        ("--all", "--lane", "otp", "--failed"),
        ("m", "--since", "1d", "--failed"),
        (f"m:{mobile(0)}", "--resend"),
    ],
)
def test_a_wrong_use_is_told_with_exit_code_2(ledger: Ledger, wrong: tuple[str, ...]) -> None:
    made_unknown(ledger, "m")
    assert sms("unknown", "resolve", *wrong).exit_code == 2
    assert ledger.states() == {"unknown": 1}
