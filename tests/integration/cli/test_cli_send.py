"""`sms send`: what is enqueued, what is refused, and what it waits for."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_driver import Ledger, message, mobile, status_push
from openpyxl import Workbook
from redis import Redis
from sms_command import sms, sms_json

from worker.domain.key import day_of, id_of_key
from worker.domain.lane import LANES
from worker.domain.message import Message, MessageKey
from worker.domain.message_json import from_json
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.redis_store import accounts as announced

AUDIENCE = Path(__file__).parents[2] / "samples" / "audience.csv"
TEXT = ("--content", "您的订单已发货")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)


@pytest.fixture
def waitable(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


def lying(redis: Redis) -> dict[str, Message]:
    """The messages in the intake, by id."""
    texts = [text for lane in LANES for text in redis.hvals(f"sms:intake:{lane}")]
    return {message.id: message for message in map(from_json, texts)}


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding, newline="")
    return path


def test_send_prints_the_id_of_the_message_that_it_enqueued(redis: Redis) -> None:
    sent = sms("send", "--to", "+86 138-0013-8000,13900139000", "--to", "13700137000", *TEXT, "--lane", "otp")
    [enqueued] = lying(redis).values()
    assert (sent.exit_code, sent.stdout, sent.stderr) == (0, f"{enqueued.id}\n", "")
    assert (enqueued.to, enqueued.lane) == (("13800138000", "13900139000", "13700137000"), "otp")
    assert redis.llen("sms.otp") == 1


def test_send_hands_on_every_field(redis: Redis) -> None:
    at = (datetime.now(UTC) + timedelta(days=200)).replace(microsecond=0)
    sms(
        "send", "--to", mobile(1), *TEXT, "--key", "k", "--at", at.isoformat(), "--valid-for", 60, "--account", "second"
    )
    [enqueued] = lying(redis).values()
    assert enqueued.id == id_today("k", "second")
    assert enqueued.at == at
    assert enqueued.valid_for == timedelta(minutes=1)
    assert enqueued.account == "second"


def test_the_same_key_gives_the_same_id_and_one_message(redis: Redis) -> None:
    ids = {sms_json("send", "--to", mobile(1), *TEXT, "--key", "k")["ids"][0] for _ in range(2)}
    assert ids == set(lying(redis))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--to", f"{mobile(1)},123", *TEXT), "to[1] '123' is too short"),
        (("--to", mobile(1), "--content", "【某】您好"), "content carries a signature"),
        (("--to", mobile(1), *TEXT, "--at", "2020-01-01T00:00:00Z"), "at 2020-01-01T00:00:00+00:00 is in the past"),
        (("--to-file", AUDIENCE, "--column", "mobile", "--content", ""), "content is empty"),
        (("--to-file", AUDIENCE, "--column", "mobil", *TEXT), "one of: mobile, 姓名, amount, due_date"),
        (("--to-file", "/no/such.csv", "--column", "mobile", *TEXT), "No such file"),
        (("--to-file", "/bin/sh", "--column", "mobile", *TEXT), "is not a CSV file"),
        (("--to-file", "/dev/null", "--column", "mobile", *TEXT), "/dev/null is empty"),
        (("--to-file", AUDIENCE, "--column", "姓名", *TEXT), "no number in column '姓名'"),
        (
            ("--to-file", AUDIENCE, "--column", "mobile", *TEXT, "--refusals", "/no/such/f"),
            "/no/such/f cannot be written",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason_and_nothing_is_enqueued(
    redis: Redis, wrong: tuple[object, ...], said: str
) -> None:
    sent = sms("send", *wrong)
    assert sent.exit_code == 1
    assert said in sent.stderr
    assert lying(redis) == {}


def test_an_account_that_nobody_has_is_refused(redis: Redis) -> None:
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    sent = sms("send", "--to", mobile(1), *TEXT, "--account", "nobodys")
    assert sent.exit_code == 1
    assert "'nobodys' is unknown; the accounts are: default" in sent.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        TEXT,
        ("--to", "13800138000"),
        ("--to", "13800138000", "--to-file", AUDIENCE, "--column", "mobile", *TEXT),
        ("--to", "13800138000", "--column", "mobile", *TEXT),
        ("--to", "13800138000", "--sheet", "x", *TEXT),
        ("--to", "13800138000", "--refusals", "x", *TEXT),
        ("--to-file", AUDIENCE, "--column", "mobile", "--refusals", AUDIENCE, *TEXT),
        ("--to", "13800138000", "--lane", "fast", *TEXT),
    ],
)
def test_a_wrong_use_of_send_is_told_with_exit_code_2(redis: Redis, wrong: tuple[object, ...]) -> None:
    assert sms("send", *wrong).exit_code == 2
    assert lying(redis) == {}


def test_without_redis_send_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    sent = sms("send", "--to", mobile(1), *TEXT)
    assert sent.exit_code == 1
    assert "Redis cannot be reached" in sent.stderr
    assert "SMS_REDIS_URL" in sent.stderr


def test_a_file_is_sent_to_its_good_numbers_once_each(redis: Redis, tmp_path: Path) -> None:
    said = sms_json("send", "--to-file", AUDIENCE, "--column", "mobile", *TEXT, "--refusals", tmp_path / "refused.csv")
    assert (said["good"], said["repeats"], said["refused"]) == (4518, 252, 230)
    assert said["reasons"] == {"prefix": 65, "too_short": 58, "landline": 52, "empty": 30, "characters": 25}
    [enqueued] = lying(redis).values()
    assert said["ids"] == [enqueued.id]
    assert len(set(enqueued.to)) == len(enqueued.to) == 4518
    with (tmp_path / "refused.csv").open(encoding="utf-8", newline="") as file:
        refused = list(csv.DictReader(file))
    assert len(refused) == 230
    assert refused[0] == {"line": "2", "value": "0755-26900602", "reason": "is a landline"}


def test_who_was_left_out_is_told_by_reason_with_the_first_lines(redis: Redis) -> None:
    shown = sms("send", "--to-file", AUDIENCE, "--column", "mobile", *TEXT).stdout
    assert "52        is a landline" in shown
    assert "line 2: 0755-26900602" in shown
    assert "252       is a repeat of an earlier number" in shown
    assert "4,518 good numbers, 252 repeats, 230 refused" in shown
    assert shown.splitlines()[-1] in lying(redis)


def test_a_workbook_is_sent_to_and_its_column_is_found(redis: Redis, tmp_path: Path) -> None:
    workbook = Workbook()
    sheet = workbook.create_sheet("四月")
    sheet.append(["姓名", "手机号"])
    sheet.append(["王芳", int(mobile(1))])
    workbook.save(tmp_path / "people.xlsx")
    said = sms_json("send", "--to-file", tmp_path / "people.xlsx", "--sheet", "四月", *TEXT)
    assert (said["column"], said["good"]) == ("手机号", 1)
    [enqueued] = lying(redis).values()
    assert enqueued.to == (mobile(1),)


def test_a_long_file_becomes_several_messages_that_a_key_makes_the_same_again(redis: Redis, tmp_path: Path) -> None:
    path = written(tmp_path / "long.csv", "n\n" + "\n".join(map(mobile, range(20_001))))
    first, again = (sms_json("send", "--to-file", path, "--column", "n", *TEXT, "--key", "k")["ids"] for _ in range(2))
    assert first == again == [id_today("k/1"), id_today("k/2"), id_today("k/3")]
    enqueued = lying(redis)
    assert [len(enqueued[message_id].to) for message_id in first] == [10_000, 10_000, 1]


def test_a_key_that_was_used_for_another_text_is_told_with_both(redis: Redis) -> None:
    sms("send", "--to", mobile(1), "--content", "您好", "--key", "k")
    sent = sms("send", "--to", mobile(2), "--content", "再见了", "--key", "k")
    assert sent.exit_code == 1
    assert "first notice to ****0001, 2 characters" in sent.stderr
    assert "now notice to ****0002, 3 characters" in sent.stderr
    assert len(lying(redis)) == 1


def test_a_file_without_a_key_is_told_one_to_go_on_with(redis: Redis, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f"n\n{mobile(1)}\n")
    sent = sms("send", "--to-file", path, "--column", "n", *TEXT)
    key = sent.stderr.partition("--key ")[2].partition(":")[0]
    assert sent.stdout.splitlines()[-1] == id_today(f"{key}/1")


def test_wait_tells_what_became_of_each_recipient(ledger: Ledger, waitable: None) -> None:
    settled(ledger, "k", mobile(1))
    sent = sms("send", "--to", mobile(1), *TEXT, "--key", "k", "--wait", 30)
    assert (sent.exit_code, sent.stdout.splitlines()) == (0, [id_today("k"), f"{mobile(1)} delivered"])


def test_wait_exits_with_1_where_a_recipient_was_not_sent_to(ledger: Ledger, waitable: None) -> None:
    settled(ledger, "k", mobile(1), mobile(2), state=State.UNKNOWN)
    sent = sms("send", "--to", f"{mobile(1)},{mobile(2)}", *TEXT, "--key", "k", "--wait", 30, "--json")
    assert sent.exit_code == 1
    assert json.loads(sent.stdout)["counts"] == {"delivered": 1, "unknown": 1}


def test_wait_ends_when_its_time_is_over(ledger: Ledger, waitable: None) -> None:
    sent = sms("send", "--to", mobile(1), *TEXT, "--wait", 0)
    assert sent.exit_code == 0
    assert "the time is over" in sent.stderr


def test_wait_asks_for_the_ledger_before_anything_is_enqueued(redis: Redis) -> None:
    sent = sms("send", "--to", mobile(1), *TEXT, "--wait", 5)
    assert sent.exit_code == 1
    assert "SMS_LEDGER_URL is missing" in sent.stderr
    assert lying(redis) == {}


def id_today(key: str, account: str = "default") -> str:
    """The id of a message that is sent with this key for the first time."""
    return id_of_key(MessageKey(account, "", key), day_of(datetime.now(UTC)))


def settled(ledger: Ledger, key: str, *to: str, state: State = State.ACCEPTED) -> None:
    """Adds a message that was sent under this key before. Its first recipient has it, the others stand where the call
    left them.
    """
    [submission_ids] = ledger.accept(message(id_today(key), *to)).values()
    [claimed] = ledger.claim(submission_ids)
    ledger.record(Recorded(claimed.id, claimed.attempt, state, None, None, None))
    ledger.push(status_push((to[0], claimed.msg_id, 1)))
