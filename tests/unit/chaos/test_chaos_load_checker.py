"""The checker of `chaos load`: which OTPs count, what is lost, doubled and burnt, and that each bound can be broken."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chaos.load.checker import (
    NEVER,
    RECOVERY_SECONDS,
    Bounds,
    burnt_at_most,
    figures,
    is_well,
    otp_seconds,
    percentile,
    unaccounted,
)
from chaos.load.evidence import Evidence, Rows
from chaos.load.trouble import Spell
from chaos.load.watch import Look

BOUNDS = Bounds(in_flight=160, in_a_row=10)
BEYOND = 100
SPELL = Spell(began=1100, ended=1110, statuses=(502, 429))
ROWS = Rows(
    messages={"a", "b"},
    refused={"poison"},
    in_intake=(),
    states={"accepted": 2},
    unknown={},
    said_taken={1, 2},
    members=0,
    reports=2,
    foreign_reports=2000,
    unread_reports=0,
)


def call(msg_id: int, mobile: str, at: float) -> dict[str, Any]:
    return {"msg_id": msg_id, "mobiles": [mobile], "arrived_at": at}


def look(at: float, **seen: Any) -> Look:
    return Look(at=at, **{"tick": 1.0, "push": 0.5, "waiting": BEYOND, "gate_closed": False, **seen})


GOOD = Evidence(
    accepted={"a": "13000000001", "b": "13100000001"},
    otps={"13100000001": 1000.0},
    poison={"poison": "a time in the year 9999"},
    members=0,
    pushed=2000,
    spells=[SPELL],
    looks=[look(1000), look(1000.25)],
    calls=[call(1, "13000000001", 1112.0), call(2, "13100000001", 1000.3)],
    rows=ROWS,
    ended=(),
    waiting={},
)


def broken(evidence: Evidence) -> Sequence[str]:
    return [figure.name for figure in figures(evidence, BOUNDS, beyond=BEYOND) if not figure.holds]


def test_a_run_in_which_all_went_well_is_within_all_bounds() -> None:
    assert broken(GOOD) == []


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [
        ({"otps": {"13100000001": 999.0}}, "OTP p99"),
        ({"otps": {"13100000009": 1000.0}}, "OTP p99"),
        ({"looks": [look(1000, tick=84)]}, "oldest tick"),
        ({"looks": [look(1000, push=41)]}, "oldest push"),
        ({"looks": [look(1000, bells=21)]}, "tasks in a lane's queue"),
        ({"looks": [look(1000 + n, gate_closed=True) for n in range(3)]}, "gate closed, the gateway well"),
        ({"looks": [look(1000, waiting=BEYOND - 1)]}, "waited at most, the gateway well"),
        ({"accepted": {**GOOD.accepted, "c": "13000000002"}}, "lost"),
        ({"rows": replace(ROWS, said_taken={1, 2, 3})}, "lost"),
        ({"members": 1}, "lost"),
        ({"calls": [*GOOD.calls, call(3, "13000000001", 1113.0)], "rows": replace(ROWS, reports=3)}, "twice"),
        ({"rows": replace(ROWS, unknown=dict.fromkeys(range(10, 183), 1))}, "burnt: unknown, never taken"),
        ({"rows": replace(ROWS, refused={"poison", "b"})}, "good ones refused"),
        ({"rows": replace(ROWS, states={"expired": 1})}, "expired or rejected"),
        ({"rows": replace(ROWS, refused=())}, "poison unaccounted for"),
        ({"rows": replace(ROWS, foreign_reports=1999)}, "reports lost"),
        ({"calls": [GOOD.calls[1], call(1, "13000000001", 1131.0)]}, "taken again after a bad gateway"),
        ({"ended": ["worker: exit 1"]}, "processes that ended by themselves"),
        ({"waiting": {"queued": 1}}, "still waiting"),
        ({"waiting": None}, "still waiting"),
    ],
)
def test_what_went_wrong_breaks_its_bound_and_no_other(spoilt: dict[str, Any], name: str) -> None:
    assert broken(replace(GOOD, **spoilt)) == [name]


def test_what_still_lies_in_the_intake_waits_and_is_not_lost() -> None:
    waits = replace(GOOD, accepted={**GOOD.accepted, "c": "13000000002"}, rows=replace(ROWS, in_intake={"c"}))
    assert broken(waits) == []


def test_reports_in_a_push_that_nobody_has_read_are_not_lost() -> None:
    assert broken(replace(GOOD, rows=replace(ROWS, foreign_reports=0, unread_reports=2000))) == []


@pytest.mark.parametrize(
    ("at", "well"),
    [
        (1098.9, True),
        (1099.1, False),  # its second would reach into the spell
        (1105.0, False),
        (SPELL.ended + RECOVERY_SECONDS - 0.1, False),
        (SPELL.ended + RECOVERY_SECONDS, True),
    ],
)
def test_an_otp_counts_if_it_is_sent_while_the_gateway_is_well_and_has_recovered(at: float, well: bool) -> None:
    assert is_well(at, [SPELL], ahead=1) is well
    assert otp_seconds(replace(GOOD, otps={"13100000001": at})) == ([1000.3 - at] if well else [])


def test_an_unknown_call_that_was_taken_burns_nobody() -> None:
    rows = replace(ROWS, said_taken={2}, unknown={1: 5000})
    assert broken(replace(GOOD, rows=rows)) == []


def test_a_gateway_that_says_busy_may_burn_nobody() -> None:
    busy, bad = replace(SPELL, statuses=(429,)), SPELL
    assert burnt_at_most([busy], BOUNDS) == 0
    assert burnt_at_most([busy, bad, bad], BOUNDS) == 2 * burnt_at_most([bad], BOUNDS) > 0


def test_poison_that_is_kept_as_a_message_is_accounted_for() -> None:
    assert unaccounted(replace(GOOD, poison={"a": "metadata nested 900 deep"})) == []


def test_a_percentile_is_the_nearest_rank_and_of_nothing_is_never() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [percentile(hundred, percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 99) == 7
    assert percentile([], 50) == NEVER
