"""`sms campaign check`."""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from campaign_rows import add_campaign
from ledger_driver import Ledger, mobile
from redis import Redis
from sms_command import sms, sms_json

from worker.domain.caps import Cap, CapKey
from worker.domain.lane import LANES
from worker.ledger.sending import optouts
from worker.redis_store import caps

TEXT = "尊敬的{{ 姓名 }}，详情见 t.cn/A1b2，回T退订"
CONFIG = """
[accounts.default]
epr_id = 1
user_id = "shop"
password = "secret"
rate = 2
signature = "【某商城】"

[lanes.notice]
caps = ["1/hour"]
"""


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(CONFIG)
    monkeypatch.setenv("SMS_CONFIG", str(tmp_path / "sms.toml"))


def people(count: int) -> list[tuple[str, str]]:
    return [(mobile(number), "" if number == 1 else f"客户{number}") for number in range(count)]


def opt_out(ledger: Ledger, *mobiles: str) -> None:
    with ledger.engine.begin() as connection:
        said = [(to, "T", None) for to in mobiles]
        optouts.add(connection, ledger.account_ids["default"], said, since=datetime.now(UTC), set_by="reply")


@pytest.mark.usefixtures("account")
def test_check_tells_people_what_would_happen_in_80_columns(ledger: Ledger) -> None:
    add_campaign(ledger, people(5000), TEXT, first_share=0.01)
    opt_out(ledger, mobile(2), mobile(3))
    shown = sms("campaign", "check", "spring")
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    for told_so in (
        "spring, draft; lane marketing, account default",
        "customers: 5,000 members; the import left out 3 rows and 4 repeats",
        "4,997 of them; 1 make no text, 2 opted out",
        "about 1.00% of them first; then it pauses and asks",
        "4,997 in all, 1 for each; with signature 【某商城】",
        "4,997, texts that differ go in separate calls",
        "41 min 38 s of sending, if nothing else is sent",
        'column "姓名" is empty line 3',
        "t.cn/A1b2 is a link",
        f"first line 2, {mobile(0)} 尊敬的客户0，详情见 t.cn/A1b2，回T退订",
        "Nothing was sent.",
    ):
        assert told_so in text
    assert max(map(width, shown.stdout.splitlines())) <= 80
    assert ledger.states() == {}


def width(line: str) -> int:
    """The columns that the line takes on a terminal: a Chinese character takes two."""
    return sum(2 if ord(char) > 0x2E7F else 1 for char in line)


@pytest.mark.usefixtures("account")
def test_check_tells_programs_the_same_in_the_shape_that_they_rely_on(ledger: Ledger) -> None:
    add_campaign(ledger, people(3), "您好，{{ 姓名 }}。拒收请回复R", next_at=datetime(2100, 1, 1, 4, tzinfo=UTC))
    plan = sms_json("campaign", "check", "spring")
    samples = plan.pop("samples")
    assert plan == {
        "campaign": "spring",
        "state": "draft",
        "account": "default",
        "lane": "marketing",
        "audience": "customers",
        "import_repeats": 4,
        "import_refused": 3,
        "members": 3,
        "unmade": {'column "姓名" is empty': 1},
        "examples": [{"line": 3, "mobile": mobile(1), "reason": 'column "姓名" is empty'}],
        "opted_out": 0,
        "capped": 0,
        "recipients": 2,
        "personal": True,
        "segments": 2,
        "least": 1,
        "mean": 1.0,
        "most": 1,
        "calls": 2,
        "forecast": {
            "takes": 1.0,
            "starts_at": "2100-01-01T04:00:00+00:00",
            "ends_at": "2100-01-01T04:00:01+00:00",
            "left_over": 0,
        },
        "noticed": [],
    }
    assert samples[0] == {"why": "first", "line": 2, "mobile": mobile(0), "text": "您好，客户0。拒收请回复R"}


def test_check_works_with_the_ledger_alone_and_says_what_is_not_known(ledger: Ledger) -> None:
    add_campaign(ledger, people(10), TEXT)
    shown = sms("campaign", "check", "spring")
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    assert "takes not known: the rate of the account is not set here" in text
    assert "its signature is not known here and would add to it" in text
    assert sms_json("campaign", "check", "spring")["forecast"]["takes"] is None


@pytest.mark.usefixtures("account")
def test_check_asks_for_the_caps_of_the_lane_where_redis_is_known(
    ledger: Ledger, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_campaign(ledger, people(10)[2:], "您好", lane="notice")
    assert "the caps leave out: SMS_REDIS_URL is not set" in " ".join(sms("campaign", "check", "spring").stdout.split())
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)
    lanes = {"notice": replace(LANES["notice"], caps=(Cap(1, 3600),))}
    caps.count(redis, lanes, [CapKey("default", "notice", mobile(5))], now=datetime.now(UTC))
    plan = sms_json("campaign", "check", "spring")
    assert (plan["capped"], plan["recipients"]) == (1, 7)
    assert "1 have been sent to as often as the lane allows" in " ".join(
        sms("campaign", "check", "spring").stdout.split()
    )


@pytest.mark.usefixtures("account")
def test_check_says_that_the_caps_could_not_be_asked_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    add_campaign(ledger, people(10), "您好", lane="notice")
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    shown = sms("campaign", "check", "spring")
    assert shown.exit_code == 1
    assert "Redis cannot be used" in shown.stderr


def test_check_writes_every_row_that_makes_no_text(ledger: Ledger, tmp_path: Path) -> None:
    add_campaign(ledger, [(mobile(number), "客户" if number % 2 else "") for number in range(100)], TEXT)
    refusals = tmp_path / "refused.csv"
    assert sms("campaign", "check", "spring", "--refusals", refusals).exit_code == 0
    with refusals.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:2] == [["line", "mobile", "reason"], ["2", mobile(0), 'column "姓名" is empty']]
    assert len(rows) == 51
    assert refusals.stat().st_mode & 0o777 == 0o600


def test_check_says_which_file_cannot_be_written(ledger: Ledger, tmp_path: Path) -> None:
    add_campaign(ledger, people(1), TEXT)
    shown = sms("campaign", "check", "spring", "--refusals", tmp_path / "nowhere" / "refused.csv")
    assert (shown.exit_code, "give --refusals another path" in shown.stderr) == (1, True)


@pytest.mark.parametrize(
    ("hours", "gone", "said"),
    [("22:00-23:00", 5, "never: its hours and those of its lane"), (None, 0, "0 of them; 1 make no text, 1 opted out")],
)
def test_a_campaign_that_would_send_to_nobody_is_a_failure(
    ledger: Ledger, hours: str | None, gone: int, said: str
) -> None:
    add_campaign(ledger, people(2), TEXT, hours=hours)
    opt_out(ledger, mobile(gone))
    shown = sms("campaign", "check", "spring")
    assert shown.exit_code == 1
    assert said in shown.stdout
    assert "Nothing was sent." in shown.stdout


@pytest.mark.parametrize(
    ("content", "ready", "name", "said"),
    [
        (TEXT, True, "summer", "there is no campaign 'summer'; the campaigns are: spring"),
        (TEXT, False, "spring", "is not ready: an import"),
        ("{{ 姓 }}\n{{ x.y }}", True, "spring", "did you mean 姓名?"),
    ],
)
def test_what_cannot_be_checked_is_told_with_what_to_do(
    ledger: Ledger, content: str, ready: bool, name: str, said: str
) -> None:
    add_campaign(ledger, people(2), content, ready=ready)
    shown = sms("campaign", "check", name)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert said in shown.stderr


def test_what_strangers_wrote_is_no_command_to_the_terminal(ledger: Ledger) -> None:
    add_campaign(ledger, [(mobile(0), "a\x9bb"), (mobile(1), "\x1b[2J")], "{{ 姓名 }}，回T退订")
    shown = sms("campaign", "check", "spring").stdout
    assert "U+009B" in shown
    assert not {"\x1b", "\x9b"} & set(shown)
