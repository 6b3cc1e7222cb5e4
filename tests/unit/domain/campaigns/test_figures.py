"""The figures of a campaign: they add up to its members."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.campaigns.campaign import CampaignState, RunState
from worker.domain.campaigns.figures import CallTimes, Figures, Walk, figures, walked
from worker.domain.status import STATUSES

GOOD = 50
NO_CALLS = CallTimes(None, None, 0)
# For each run: how many members became recipients, and how many were refused. The rest comes later, or never.
WALKS = st.lists(
    st.builds(
        lambda state, expanded, refused: Walk(state, *((0, 0) if state is RunState.SKIPPED else (expanded, refused))),
        st.sampled_from(RunState),
        st.integers(0, 30),
        st.integers(0, 20),
    ),
    max_size=5,
)


def counted(statuses: dict[str, int], *, members: int = 100, expanded: int = 0, unrenderable: int = 0) -> Figures:
    walk = walked(members, [Walk(RunState.RUNNING, expanded, unrenderable)], CampaignState.ACTIVE)
    return figures(walk, statuses, {}, calls=NO_CALLS, replies=0, optouts=0)


@given(WALKS, st.sampled_from(CampaignState), st.randoms(use_true_random=False))
def test_whatever_became_of_the_members_the_counts_add_up_to_them(walks, state, random) -> None:
    walk = walked(GOOD, walks, state)
    statuses = dict.fromkeys(STATUSES, 0)
    for _ in range(walk.expanded):
        statuses[random.choice(STATUSES)] += 1
    counts = figures(walk, statuses, {}, calls=NO_CALLS, replies=0, optouts=0)
    assert counts.remaining == walk.remaining
    assert walk.expanded + walk.unrenderable + walk.remaining + walk.cancelled + walk.expired == walk.members
    assert sum(counts.statuses.values()) + counts.unrenderable + counts.remaining == counts.members
    rejected = counts.statuses.get("rejected", 0)
    assert counts.waiting + counts.sent + rejected + counts.unknown + counts.left_out == counts.members


def test_a_campaign_that_never_ran_has_everybody_before_it_or_called_them_off() -> None:
    assert walked(GOOD, [], CampaignState.DRAFT).remaining == GOOD
    assert walked(GOOD, [], CampaignState.CANCELLED).cancelled == GOOD


def test_a_run_that_was_skipped_has_no_members() -> None:
    walks = [Walk(RunState.DONE, GOOD, 0), Walk(RunState.SKIPPED, 0, 0)]
    assert walked(GOOD, walks, CampaignState.ACTIVE).members == GOOD


def test_several_runs_in_the_same_state_count_as_often() -> None:
    walk = walked(GOOD, [Walk(RunState.DONE, 2 * GOOD - 3, 3, runs=2)], CampaignState.ACTIVE)
    assert (walk.members, walk.remaining) == (2 * GOOD, 0)


def test_members_expanded_during_the_count_are_taken_off_the_remaining() -> None:
    counts = counted({"queued": 30}, members=100, expanded=20, unrenderable=5)
    assert (counts.expanded, counts.remaining) == (30, 65)


def test_a_called_recipient_is_in_one_of_the_sums_and_undelivered_is_sent_and_failed() -> None:
    counts = counted({"delivered": 5, "undelivered": 2, "accepted": 3, "unreported": 1, "rejected": 4, "unknown": 6})
    assert (counts.sent, counts.delivered, counts.unreported, counts.failed, counts.unknown) == (11, 5, 4, 6, 6)


def test_the_time_left_is_that_of_the_last_minute_and_unknown_while_nothing_goes() -> None:
    walk = walked(100, [Walk(RunState.RUNNING, 40, 0)], CampaignState.ACTIVE)
    busy = replace(NO_CALLS, per_minute=20)
    assert figures(walk, {"accepted": 40}, {}, calls=busy, replies=0, optouts=0).time_left == timedelta(minutes=3)
    assert figures(walk, {"accepted": 40}, {}, calls=NO_CALLS, replies=0, optouts=0).time_left is None
    walk = walked(40, [Walk(RunState.DONE, 40, 0)], CampaignState.DONE)
    assert figures(walk, {"accepted": 40}, {}, calls=busy, replies=0, optouts=0).time_left is None
