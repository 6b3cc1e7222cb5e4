"""`sms doctor` and `sms migrate`; and every command as a process that has no more settings than it needs."""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pytest
from celery import Celery
from ledger_driver import Ledger, message, mobile, reply_push, status_push
from redis import Redis
from sms_command import sms, sms_process
from sqlalchemy import text

from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger.engine import open_engine
from worker.ledger.inbound import pushes
from worker.ledger.sending import gates, messages
from worker.maintenance.clock_guard import ClockGuard
from worker.redis_store import accounts as announced
from worker.redis_store import heartbeat, intake, intake_parked, intake_pushes, sick_workers
from worker.redis_store.sick_workers import Sick
from worker.runtime.process import process_name

CERTIFICATE = Path(__file__).parents[2] / "samples" / "self-signed.pem"
"""A certificate for 127.0.0.1, signed by nobody but itself."""


@pytest.fixture
def gateway_url() -> Iterator[str]:
    """A gateway that listens, and fails the test if anything is sent to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/webservice"
        listener.settimeout(1)
        said = listener.accept()[0].recv(1)
    assert said == b""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str, redis: Redis, redis_url: str, gateway_url: str) -> None:
    redis.config_set("appendonly", "yes")
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    heartbeat.note_tick(redis, now=datetime.now(UTC))
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)
    monkeypatch.setenv("SMS_GATEWAY_URL", gateway_url)


def findings(exit_code: int) -> dict[str, tuple[str, str]]:
    """The state and the finding of each check, by its name."""
    result = sms("doctor", "--json")
    assert result.exit_code == exit_code, result.output
    return {
        check["name"]: (check["state"], f"{check['found']} → {check['remedy']}") for check in json.loads(result.stdout)
    }


@pytest.mark.usefixtures("settings")
def test_pushes_that_nearly_have_their_room_are_to_be_looked_at(
    ledger: Ledger, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_PUSH_HOURLY_MIB", "8")
    now = datetime.now(UTC)
    for at in (now - timedelta(hours=2), now):
        with ledger.engine.begin() as connection:
            pushes.add(connection, bytes(7_000_000), source="127.0.0.1", received_at=at)
    assert intake_pushes.put(redis, "p", bytes(30 * 1024**2), source="127.0.0.1", now=now)
    checks = findings(exit_code=1)  # nobody processes them here
    assert checks["pushes: budget"][0] == "look"
    assert checks["pushes: budget"][1].startswith("7 MiB of 8 in an hour → see `sms pushes` for who sends them")
    assert checks["pushes: in Redis"] == ("ok", "40 MiB of 64 in Redis → None")


@pytest.mark.usefixtures("settings")
def test_an_unusual_number_of_opt_outs_is_to_be_looked_at(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    ledger.sent_to(*map(mobile, range(101)))
    ledger.push(reply_push(*((mobile(n), "100", "TD") for n in range(101))), now - timedelta(minutes=1))
    state, finding = findings(exit_code=0)["opt-outs"]
    assert state == "look"
    assert finding.startswith(
        "101 by replies within an hour, 0 in the week before → see `sms optout list` for the pushes"
    )


@pytest.mark.usefixtures("settings")
def test_a_gateway_that_is_called_in_clear_over_a_network_is_to_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, gateway_url: str
) -> None:
    # As by a proxy: the address that is asked for is not this machine's, and all traffic stays on it.
    monkeypatch.setenv("http_proxy", gateway_url)
    monkeypatch.setenv("SMS_GATEWAY_URL", f"http://gateway.invalid/{urlsplit(gateway_url).port}")
    state, finding = findings(exit_code=0)["gateway"]
    assert state == "look"
    assert finding.startswith(
        "gateway.invalid:80 can be reached; in clear: anybody on the way can read texts, mobiles and the key"
    )


@pytest.mark.usefixtures("settings")
def test_a_gateway_whose_certificate_the_pinned_authority_did_not_sign_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert findings(exit_code=0)["gateway"][0] == "ok"  # in clear, on this machine
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(plain, server_side=True):
                        pass

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("SMS_GATEWAY_URL", f"https://127.0.0.1:{listener.getsockname()[1]}/api")
        monkeypatch.setenv("SMS_GATEWAY_CA", str(CERTIFICATE))
        assert findings(exit_code=0)["gateway"][0] == "ok"
        monkeypatch.setenv("SMS_GATEWAY_CA", certifi.where())
        state, finding = findings(exit_code=1)["gateway"]
        assert (state, "SSLCertVerificationError" in finding) == ("wrong", True)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("settings")
def test_a_system_that_is_well_has_nothing_wrong(ledger_url: str) -> None:
    states = {name: state for name, (state, _) in findings(exit_code=0).items()}
    if ledger_url.startswith("postgresql"):
        # The tests' own user is one.
        assert states.pop("ledger: user") == "look"
    assert set(states) == {
        "settings", "Redis", "Redis: AOF", "Redis: when full", "Redis: memory", "worker and beat", "queues", "intake",
        "pushes: in Redis", "pushes: budget", "opt-outs", "clocks", "ledger", "ledger: a write", "submissions held",
        "submissions queued", "submissions submitting", "recipients unknown", "pushes unprocessed", "pushes quarantined",
        "gateway", "accounts unknown", "accounts removed",
    }  # fmt: skip
    # These are the settings of a client, not of a worker.
    assert states.pop("settings") == "look"
    assert set(states.values()) == {"ok"}


@pytest.mark.usefixtures("settings")
def test_what_nobody_sees_to_is_wrong(ledger: Ledger, redis: Redis) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    ledger.accept(message("m"), now=long_ago)
    intake.put(redis, [message("n")], now=long_ago)
    heartbeat.note_tick(redis, now=long_ago)
    checks = findings(exit_code=1)
    assert checks["submissions queued"][0] == "look"
    assert "1, 1 of them overdue → a closed gate, the account's rate or the hours" in checks["submissions queued"][1]
    assert checks["worker and beat"][0] == "wrong"
    assert checks["worker and beat"][1].startswith("the last tick was 30")
    assert checks["intake"][0] == "wrong"
    assert checks["intake"][1].startswith("1, notice 1; the oldest waits 30")
    assert "start a worker and beat" in checks["intake"][1]


@pytest.mark.usefixtures("settings")
def test_the_oldest_keeps_its_age_while_workers_take_it_and_cannot_keep_it(redis: Redis) -> None:
    start = datetime.now(UTC) - timedelta(minutes=5)
    intake.put(redis, [message("n")], now=start)
    for second in range(0, 300, 10):
        intake.take(redis, "notice", now=start + timedelta(seconds=second))
        intake.requeue_lost(redis, "notice", now=start + timedelta(seconds=second + 6))
    assert "the oldest waits 29" in findings(exit_code=1)["intake"][1]
    intake.remove(redis, "notice", ["n"])
    assert "oldest" not in findings(exit_code=0)["intake"][1]


@pytest.mark.usefixtures("settings")
def test_a_ledger_that_answers_and_takes_no_write_is_wrong_by_its_name(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(ledger_url)
    database = engine.url.database
    if engine.dialect.name == "sqlite":
        monkeypatch.setenv("SMS_LEDGER_URL", f"sqlite:///file:{database}?mode=ro&uri=true")
    else:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'))
    engine.dispose()
    state, said = findings(exit_code=1)["ledger: a write"]
    assert state == "wrong"
    assert "read-only transaction" in said or "readonly database" in said
    assert "make room on the disk of PostgreSQL on" in said or f"make room on the disk of file:{database}" in said


@pytest.fixture
def role(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a role without any right, which SMS_LEDGER_URL names."""
    name = f"role_{time.monotonic_ns()}"
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
    monkeypatch.setenv("SMS_LEDGER_URL", postgres_url.replace("//postgres:@", f"//{name}@"))
    yield name
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))
    engine.dispose()


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("settings")
def test_a_role_that_may_read_and_not_write_is_told_and_all_other_checks_are_made(
    postgres_url: str, request: pytest.FixtureRequest
) -> None:
    before = set(findings(exit_code=0))
    role = request.getfixturevalue("role")
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    engine.dispose()
    checks = findings(exit_code=1)
    assert set(checks) == before - {"ledger: user"}  # who was a superuser
    state, said = checks["ledger: a write"]
    assert state == "wrong"
    assert "permission denied for table alembic_version → grant the role in SMS_LEDGER_URL what it lacks" in said


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("settings", "role")
def test_a_role_that_may_not_even_read_is_told_in_words() -> None:
    checks = findings(exit_code=1)
    assert checks["ledger"][0] == "wrong"
    assert "permission denied" in checks["ledger"][1]
    assert "Name a user that may do this in SMS_LEDGER_URL" in checks["ledger"][1]
    assert "gateway" in checks
    assert "Name a user that may do this in SMS_LEDGER_URL" in sms("messages").stderr


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "check", "remedy", "another"),
    [
        (
            "LOCK TABLE submissions", "ledger: questions",
            "Another session has locked a table: look for it in pg_stat_activity", "gateway",
        ),
        (
            "UPDATE alembic_version SET version_num = version_num", "ledger: a write",
            "another transaction holds the schema's version, as `sms migrate` does", "pushes quarantined",
        ),
    ],
    ids=["a table", "the version"],
)  # fmt: skip
@pytest.mark.usefixtures("settings")
def test_what_another_session_has_locked_is_told_and_not_waited_for(
    postgres_url: str, statement: str, check: str, remedy: str, another: str
) -> None:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text(statement))
        checks = findings(exit_code=0)
    engine.dispose()
    state, said = checks[check]
    assert state == "look"
    assert remedy in said
    assert another in checks


@pytest.mark.usefixtures("settings")
def test_a_process_whose_clock_is_wrong_is_shown_for_as_long_as_it_says_so(redis: Redis, ledger: Ledger) -> None:
    off = timedelta(hours=1)
    counted = iter(range(0, 1000, 100))
    guard = ClockGuard(
        redis, ledger.engine, "host-7/4711", clock=lambda: datetime.now(UTC) + off, monotonic=lambda: next(counted)
    )
    assert not guard.may_work()
    assert findings(exit_code=1)["clocks"] == (
        "wrong",
        "host-7/4711: 3600 s ahead → set that machine's clock (NTP): a process whose clock is wrong takes nothing",
    )
    off = timedelta(0)
    assert guard.may_work()
    assert findings(exit_code=0)["clocks"][0] == "ok"


@pytest.mark.usefixtures("settings")
def test_what_a_person_has_to_decide_is_to_be_looked_at_and_not_wrong(ledger: Ledger) -> None:
    submission_ids = [
        submission_id
        for queued in ledger.accept(message("m", mobile(1), mobile(2)), message("n", lane="otp")).values()
        for submission_id in queued
    ]
    claimed = ledger.claim(submission_ids)
    ledger.record(*(Recorded(call.id, call.attempt, State.UNKNOWN, None, None, None) for call in claimed))
    first = next(call for call in claimed if len(call.mobiles) == 2)
    ledger.push(status_push((mobile(1), first.msg_id, 1)))
    ledger.push("no xml")
    checks = findings(exit_code=0)
    assert checks["recipients unknown"] == (
        "look",
        "2 → look at them with `sms unknown list`; a report may still settle them",
    )
    assert checks["pushes quarantined"][0] == "look"


@pytest.mark.usefixtures("settings")
def test_what_lies_in_queues_that_nobody_takes_from_is_told_with_its_tasks_and_without_its_texts(
    redis: Redis, redis_url: str
) -> None:
    app = Celery(broker=redis_url, set_as_current=False)
    fields = {"to": "13812345678", "content": "您的验证码是 987123"}
    for queue, task in (
        ("celery", "sms.send"),
        ("sms.opt", "sms.send"),
        ("sms.opt", "sms.sned"),
        ("shop", "shop.pack"),
    ):
        app.send_task(task, kwargs={"message": fields}, queue=queue)
    app.send_task("sms.send", kwargs={"message": fields}, queue="sms.otp")
    redis.lpush("sms.opt", b"\xff")
    checks = findings(exit_code=1)
    assert checks["queues of nobody"][0] == "wrong"
    assert "celery 1 (sms.send 1), sms.opt 3 (" in checks["queues of nobody"][1]
    assert "no task 1" in checks["queues of nobody"][1]
    assert "correct the queue in `send_task` (sms.otp, sms.notice, sms.marketing)" in checks["queues of nobody"][1]
    assert not {"shop", "13812345678", "987123"} & set(re.split(r"[^0-9a-z]", checks["queues of nobody"][1]))


@pytest.mark.usefixtures("settings")
def test_a_queue_with_a_name_like_ours_and_nothing_of_ours_in_it_is_to_be_looked_at(
    redis: Redis, redis_url: str
) -> None:
    Celery(broker=redis_url, set_as_current=False).send_task("shop.pack", queue="sms.reminders")
    assert findings(exit_code=0)["queues of nobody"][:1] == ("look",)


@pytest.mark.usefixtures("settings")
def test_messages_that_were_refused_of_late_are_to_be_looked_at(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        for name, days in (("old", 3), ("new", 0)):
            at = datetime.now(UTC) - timedelta(days=days)
            messages.refuse(connection, name, ["to is missing"], "{}", now=at)
    assert findings(exit_code=0)["messages refused"] == (
        "look",
        "1 within a day → read them and their faults with `sms messages --refused`; the sender has to correct them",
    )


@pytest.mark.usefixtures("settings")
def test_a_worker_that_does_not_reach_the_gateway_is_wrong_until_it_is_well(redis: Redis) -> None:
    sick_workers.report_health(redis, Sick(process_name(), "no connection: gaierror", timedelta(minutes=5)))
    state, finding = findings(exit_code=1)[f"worker {process_name()}"]
    assert state == "wrong"
    assert finding.startswith(
        "it has not reached the gateway for 300 s and takes nothing: no connection: gaierror → let"
    )
    sick_workers.report_health(redis, None)
    assert f"worker {process_name()}" not in findings(exit_code=0)


@pytest.mark.usefixtures("settings")
def test_what_waits_for_an_account_that_workers_do_not_have_is_to_be_looked_at(ledger: Ledger, redis: Redis) -> None:
    ledger.accept(message("m"), message("n", at="2026-11-23T04:00:00+00:00"))
    # Ten minutes later, so that the account of the fixture is forgotten.
    announced.announce(redis, ["shop"], now=datetime.now(UTC) + timedelta(minutes=11))
    announced.announce(redis, ["shop"], now=datetime.now(UTC))
    heartbeat.note_tick(redis, now=datetime.now(UTC))
    valid_until = datetime.now(UTC) + timedelta(minutes=1)
    intake_parked.park(redis, "otp", "new", {b"p": valid_until})
    intake_parked.park(redis, "notice", "new", {b"q": valid_until, b"r": valid_until})
    checks = findings(exit_code=0)
    assert checks["accounts unknown"][0] == checks["accounts removed"][0] == "look"
    assert checks["accounts unknown"][1].startswith(
        "3 messages for new → start a worker whose settings have that account"
    )
    assert checks["accounts removed"][1].startswith("2 submissions of default → put the account back into the settings")


@pytest.mark.usefixtures("settings")
def test_an_intake_in_which_nothing_waits_but_for_an_unknown_account_is_not_wrong(redis: Redis) -> None:
    start = datetime.now(UTC) - timedelta(minutes=5)
    intake.put(redis, [message("n", account="new", valid_for=86400)], now=start)
    # A worker was lost with it before another parked it.
    intake.take(redis, "notice", now=start)
    intake.requeue_lost(redis, "notice", now=start + timedelta(seconds=6))
    assert findings(exit_code=1)["intake"][0] == "wrong"
    taken = intake.take(redis, "notice", now=start + timedelta(seconds=7))
    intake_parked.park(redis, "notice", "new", dict.fromkeys(taken, datetime.now(UTC) + timedelta(days=1)))
    checks = findings(exit_code=0)
    assert checks["intake"] == ("ok", "1, notice 1 → None")
    assert checks["accounts unknown"][0] == "look"


@pytest.mark.usefixtures("settings")
def test_what_waits_while_a_workers_clock_is_wrong_waits_for_that_clock(redis: Redis, ledger: Ledger) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    intake.put(redis, [message("n")], now=long_ago)
    heartbeat.note_tick(redis, now=long_ago)
    off = timedelta(hours=1)
    guard = ClockGuard(
        redis, ledger.engine, "host-7:4711", clock=lambda: datetime.now(UTC) + off, monotonic=lambda: 0.0
    )
    assert not guard.may_work()
    checks = findings(exit_code=1)
    for check in ("intake", "worker and beat"):
        assert checks[check][0] == "wrong"
        assert checks[check][1].endswith(
            "→ set the clock (NTP) of host-7:4711, 3600 s ahead: a process whose clock is wrong takes nothing"
        )


@pytest.mark.usefixtures("settings")
def test_a_gate_says_who_opens_it_and_one_that_no_worker_needs_is_not_wrong(ledger: Ledger, redis: Redis) -> None:
    now = datetime.now(UTC)
    with ledger.engine.begin() as connection:
        gates.pause(connection, "default", reason="wrong text", by="operator:eve", now=now)
    state, said = findings(exit_code=1)["gate of default"]
    assert state == "wrong"
    assert said.endswith("UTC by operator:eve: wrong text → put that right; it waits for `sms account resume default`")
    # Ten minutes later, so that the account of the fixture is forgotten.
    announced.announce(redis, ["shop"], now=now + timedelta(minutes=11))
    state, said = findings(exit_code=0)["gate of default"]
    assert state == "look"
    assert "no worker has this account any more" in said


@pytest.mark.usefixtures("settings")
def test_a_gate_that_the_gateway_closed_opens_by_itself(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    with ledger.engine.begin() as connection:
        gates.close(connection, ledger.account_ids["default"], "account: -3", now=now, until=now)
    state, said = findings(exit_code=1)["gate of default"]
    assert state == "wrong"
    assert said.endswith("it opens by itself once a call goes through, or with `sms account resume default`")


@pytest.mark.usefixtures("settings")
def test_a_redis_that_forgets_is_wrong(redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    checks = findings(exit_code=1)
    redis.config_set("maxmemory-policy", "noeviction")
    assert (checks["Redis: AOF"][0], checks["Redis: when full"][0]) == ("wrong", "wrong")


def test_what_is_away_is_told_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SMS_LEDGER_URL", f"sqlite:///{tmp_path / 'new.db'}")
    monkeypatch.setenv("SMS_GATEWAY_URL", "http://127.0.0.1:1/")
    checks = findings(exit_code=1)
    assert {name for name, (state, _) in checks.items() if state == "wrong"} == {"Redis", "ledger", "gateway"}
    assert "run `sms migrate`" in checks["ledger"][1]
    shown = sms("doctor").stdout
    assert "→ start Redis, or correct SMS_REDIS_URL" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_without_any_settings_each_gap_is_told() -> None:
    process = sms_process("doctor", SMS_GATEWAY_URL="http://127.0.0.1:1/")
    assert process.returncode == 1
    assert "SMS_REDIS_URL is missing" in " ".join(process.stdout.split())
    assert process.stderr == ""


def test_migrate_says_from_what_version_to_what(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    first, again = (sms_process("migrate", SMS_LEDGER_URL=url) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert first.stdout.startswith("the ledger went from empty to version ")
    assert again.stdout.endswith("already\n")


def test_a_ledger_of_a_newer_version_is_left_alone(
    ledger: Ledger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    migrated, listed = sms("migrate"), sms("messages")
    assert (migrated.exit_code, listed.exit_code) == (1, 1)
    assert "newer version" in migrated.stderr
    assert "at version 9999" in listed.stderr


@pytest.mark.parametrize("command", [("migrate",), ("show", "m"), ("messages",), ("replies",), ("pushes",)])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "SMS_LEDGER_URL is missing"),
        ("nonsense", "SMS_LEDGER_URL is not the address of a database"),
        ("mysql://sms:s3cret@127.0.0.1/sms", "SMS_LEDGER_URL is not the address of a database"),
        ("postgresql://sms:s3cret@127.0.0.1:x/sms", "SMS_LEDGER_URL is not the address of a database"),
        ("sqlite:////no/such/folder/ledger.db", "the ledger cannot be used: unable to open database file"),
        ("postgresql://sms:s3cret@127.0.0.1:1/sms", "the ledger cannot be used: connection failed"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_told_in_words_without_its_password(
    command: tuple[str, ...], url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", url)
    result = sms(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("command", ["messages", "replies", "pushes", "show m"])
def test_a_command_that_reads_needs_the_ledger_and_nothing_else(ledger: Ledger, ledger_url: str, command: str) -> None:
    ledger.accept(message("m"))
    process = sms_process(*command.split(), "--json", SMS_LEDGER_URL=ledger_url)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith(("[", "{"))


def test_send_needs_redis_and_nothing_else(redis: Redis, redis_url: str) -> None:
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    heartbeat.note_tick(redis, now=datetime.now(UTC))
    process = sms_process("send", "--to", mobile(1), "--content", "您好", SMS_REDIS_URL=redis_url)
    assert (process.returncode, process.stderr) == (0, "")
    assert intake.find(redis, process.stdout.strip())
