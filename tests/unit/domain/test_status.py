"""How submissions move from state to state, and the status of a recipient that follows."""

import pytest

from worker.domain.status import (
    STATUSES,
    TRANSITIONS,
    WAITING,
    LeftOut,
    Report,
    State,
    Suppression,
    recipient_status,
    sources,
)


def test_every_state_has_its_line_in_the_table() -> None:
    assert TRANSITIONS.keys() == set(State)


def test_every_state_can_be_reached_from_those_in_which_a_submission_is_made() -> None:
    reached, open_ends = {State.HELD, State.QUEUED}, [State.HELD, State.QUEUED]
    while open_ends:
        new = TRANSITIONS[open_ends.pop()] - reached
        reached |= new
        open_ends += new
    assert reached == set(State)


def test_only_what_waits_to_be_sent_can_be_claimed() -> None:
    assert sources(State.SUBMITTING) == (State.HELD, State.QUEUED)


def test_what_may_have_been_called_is_never_queued_again_by_itself() -> None:
    assert State.QUEUED not in TRANSITIONS[State.UNKNOWN] | TRANSITIONS[State.SUBMITTING]


def test_three_states_wait_for_something() -> None:
    assert {State.HELD, State.QUEUED, State.SUBMITTING} == WAITING


@pytest.mark.parametrize("state", list(State))
def test_a_recipient_without_a_report_is_where_its_submission_is(state: State) -> None:
    assert recipient_status(state, []) == state
    assert state in STATUSES


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("report", list(Report))
def test_a_report_settles_a_recipient_whatever_its_submission_says(state: State, report: Report) -> None:
    assert recipient_status(state, [report]) == report


@pytest.mark.parametrize("why", list(Suppression))
@pytest.mark.parametrize("reports", [[], list(Report)])
def test_who_was_left_out_is_suppressed_whatever_is_reported(why: Suppression, reports: list[Report]) -> None:
    assert recipient_status(why, reports) is LeftOut.SUPPRESSED
    assert LeftOut.SUPPRESSED in STATUSES
    assert len(set(STATUSES)) == len(STATUSES)


def test_delivered_is_never_taken_back() -> None:
    assert recipient_status(State.ACCEPTED, [Report.UNDELIVERED, Report.DELIVERED]) is Report.DELIVERED
