"""Keys: what is kept of a message under its key, and which messages it tells apart."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.key import (
    BUCKETS,
    KeyRecord,
    KeyUsed,
    bucket_and_name,
    day_of,
    id_of_key,
    reused_key_fault,
    reused_key_faults,
    with_key_id,
)
from worker.domain.lane import LANES
from worker.domain.message import Fault, Message, MessageKey, is_id
from worker.domain.read_message import read_message

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
DAY = day_of(NOW)


def read(**fields: object) -> Message:
    whole = {"to": "13800138000", "content": "您的验证码是 123456", "key": "k"} | fields
    return read_message(whole, now=NOW, default_id="an-id")


@pytest.mark.parametrize(
    "other",
    [{"to": "13800138001"}, {"to": ["13800138000", "13800138001"]}, {"content": "您好"}, {"lane": "otp"}],
    ids=str,
)
def test_another_text_recipient_or_lane_is_another_message(other: dict[str, object]) -> None:
    assert KeyRecord.for_message(read(), DAY).digest != KeyRecord.for_message(read(**other), DAY).digest


@pytest.mark.parametrize(
    "other",
    [{"to": "+86 138 0013 8000"}, {"at": NOW + timedelta(hours=1)}, {"valid_for": 60}, {"metadata": {"x": 1}}],
    ids=str,
)
def test_what_is_reckoned_anew_when_it_is_sent_again_makes_no_other_message(other: dict[str, object]) -> None:
    assert KeyRecord.for_message(read(), DAY).digest == KeyRecord.for_message(read(**other), DAY).digest


def test_what_was_enqueued_before_a_key_was_met_that_another_process_had_used_is_told() -> None:
    fault = Fault("[501].key", "was used for another message")
    assert str(KeyUsed({501: fault})).startswith("refused, nothing was enqueued: [501].key ")
    error = KeyUsed({501: fault}, enqueued=["a", "b"])
    assert str(error).startswith("refused, the first 2 messages are enqueued, nothing further was: [501].key ")
    assert error.enqueued == ("a", "b")


def test_the_order_of_recipients_makes_no_other_message() -> None:
    assert (
        reused_key_faults([read(to=["13800138000", "13800138001"]), read(to=["13800138001", "13800138000"])], DAY) == {}
    )


@given(st.integers(0, 9999), st.sampled_from(sorted(LANES)), st.integers(1, 500))
def test_what_is_kept_is_read_back_and_takes_no_more_than_a_few_bytes(number: int, lane: str, length: int) -> None:
    record = KeyRecord.for_message(read(to=f"1380000{number:04}", lane=lane, content="字" * length), DAY)
    assert KeyRecord.unpack(record.pack()) == record
    assert len(record.pack()) + len(bucket_and_name(MessageKey("default", "", "k"))[1]) <= 32


def test_the_fault_shows_both_messages_and_neither_a_text_nor_a_mobile() -> None:
    first, now = (
        KeyRecord.for_message(read(), DAY),
        KeyRecord.for_message(read(to=["13900139001", "13900139002"], content="您好", lane="otp"), DAY),
    )
    fault = str(reused_key_fault(MessageKey("default", "", "k"), first, now))
    assert "on 2026-11-22: first notice to ****8000, 13 characters, now" in fault
    assert "now otp to ****9001 and 1 others, 2 characters, with another text or other recipients" in fault
    assert id_of_key(MessageKey("default", "", "k"), DAY) in fault
    assert "1380013" not in fault
    assert "123456" not in fault


def test_the_same_key_of_another_account_or_caller_or_day_is_another_id() -> None:
    ids = {
        id_of_key(MessageKey(account, caller, text), day)
        for account, caller, text, day in [("a", "", "k", 1), ("", "a", "k", 1), ("a", "b", "k", 1), ("a", "", "k", 2)]
    }
    assert len(ids) == 4
    assert all(map(is_id, ids))
    assert with_key_id(read(), DAY).id == id_of_key(MessageKey("default", "", "k"), DAY)


@given(st.text(), st.text(), st.text())
def test_a_key_has_its_place_in_a_bucket(account: str, caller: str, text: str) -> None:
    bucket, name = bucket_and_name(MessageKey(account, caller, text))
    assert 0 <= bucket < BUCKETS
    assert len(name) == 10


def test_of_messages_that_are_sent_together_each_that_has_anothers_key_is_told() -> None:
    assert list(
        reused_key_faults([read(), read(content="a"), read(), read(key="l", content="a"), read(content="b")], DAY)
    ) == [
        1,
        4,
    ]


def test_what_is_kept_of_a_code_tells_it_to_nobody_who_does_not_know_its_key() -> None:
    ours = KeyRecord.for_message(read(content="您的验证码是 123456", key="a1b2"), DAY)
    guessed = KeyRecord.for_message(read(content="您的验证码是 123456", key="another"), DAY)
    assert ours.digest != guessed.digest
    assert ours.digest == KeyRecord.for_message(read(content="您的验证码是 123456", key="a1b2"), DAY).digest
