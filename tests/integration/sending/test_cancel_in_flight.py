"""A campaign is cancelled while some of its calls are under way: whatever these come to, they are not made again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from campaign_driver import Campaigns
from ledger_driver import LEASE, NOW, Ledger
from sqlalchemy import Connection, Engine, text

from worker.domain.lane import LANES
from worker.domain.status import State
from worker.domain.submission import Claimed, Recorded
from worker.ledger import tables as t
from worker.ledger.campaigns import campaigns
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending import claims, submissions, unknown
from worker.ledger.sending.unknown import UnknownFilter

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def campaign(ledger: Ledger) -> Campaigns:
    return Campaigns(ledger)


@pytest.fixture
def call(campaign: Campaigns) -> Claimed:
    """The one call of a campaign, under way."""
    campaign.audience(1)
    campaign.start()
    campaign.tick()
    (claimed,) = campaign.ledger.pull(lane="marketing").claimed
    return claimed


def held(call: Claimed, *, resent: bool = False) -> Recorded:
    """The record of a call after 429, -3 or a failed connection. With `resent`, after no answer, in a lane that
    resends.
    """
    return Recorded(call.id, call.attempt, State.HELD, LATER, None, None, resent)


def test_a_call_that_was_not_taken_is_cancelled_if_its_campaign_was_meanwhile(
    campaign: Campaigns, call: Claimed
) -> None:
    campaign.cancel()
    campaign.ledger.record(held(call))
    assert campaign.ledger.states() == {"cancelled": 1}
    assert campaign.ledger.pull(LATER, lane="marketing").claimed == []


def test_a_call_that_may_have_been_taken_is_unknown_if_its_campaign_was_cancelled_meanwhile(
    campaign: Campaigns, call: Claimed
) -> None:
    campaign.cancel()
    campaign.ledger.record(held(call, resent=True))
    assert campaign.ledger.states() == {"unknown": 1}


@pytest.mark.parametrize("state", [State.ACCEPTED, State.REJECTED, State.UNKNOWN])
def test_what_a_call_comes_to_is_kept_though_its_campaign_was_cancelled(
    campaign: Campaigns, call: Claimed, state: State
) -> None:
    campaign.cancel()
    campaign.ledger.record(Recorded(call.id, call.attempt, state, None, None, None))
    assert campaign.ledger.states() == {str(state): 1}


def test_a_lost_call_of_a_cancelled_campaign_is_not_made_again_in_a_lane_that_resends(
    campaign: Campaigns, call: Claimed
) -> None:
    campaign.cancel()
    assert campaign.ledger.expire_leases(NOW + LEASE, resend=["marketing"]) == [call.id]
    assert campaign.ledger.states() == {"unknown": 1}


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_who_resends_what_is_unknown_leaves_out_what_was_cancelled(
    campaign: Campaigns, call: Claimed, cancelled_first: bool
) -> None:
    steps: list[Callable[[], object]] = [
        campaign.cancel,
        lambda: campaign.ledger.record(Recorded(call.id, call.attempt, State.UNKNOWN, None, None, None)),
    ]
    for step in steps if cancelled_first else reversed(steps):
        step()
    with campaign.engine.begin() as connection:
        assert unknown.resend(connection, UnknownFilter(), LANES, now=LATER) == 0
    assert campaign.ledger.states() == {"unknown": 1}


def test_another_campaign_goes_on(campaign: Campaigns, call: Claimed) -> None:
    campaign.ledger.record(held(call))
    assert campaign.ledger.states() == {"held": 1}


# What happens at the same time: the first of the two has done its work and has not committed when the second begins.
@pytest.mark.parametrize("cancelled_first", [True, False])
def test_a_call_that_ends_while_its_campaign_is_being_cancelled_is_cancelled(
    campaign: Campaigns, call: Claimed, cancelled_first: bool
) -> None:
    def cancel(connection: Connection) -> object:
        return campaigns.cancel(connection, campaign_id, reason="closed", by="alice", now=NOW)

    def record(connection: Connection) -> object:
        return submissions.record(connection, [held(call)], now=NOW)

    campaign_id = campaign.find().id
    at_once(campaign.engine, *((cancel, record) if cancelled_first else (record, cancel)))
    assert campaign.ledger.states() == {"cancelled": 1}


def test_what_is_claimed_while_its_campaign_is_being_cancelled_is_called_once_at_most(campaign: Campaigns) -> None:
    campaign.audience(1)
    campaign.start()
    campaign.tick()
    (submission_id,) = (row["id"] for row in campaign.ledger.rows(t.submissions))
    campaign_id = campaign.find().id
    claimed: list[Claimed] = []
    at_once(
        campaign.engine,
        lambda connection: claimed.extend(claims.claim(connection, [submission_id], now=NOW, lease=LEASE)),
        lambda connection: campaigns.cancel(connection, campaign_id, reason="closed", by="alice", now=NOW),
    )
    assert campaign.ledger.states() == {"submitting": 1}
    campaign.ledger.record(held(claimed[0]))
    assert campaign.ledger.states() == {"cancelled": 1}


def at_once(engine: Engine, first: Callable[[Connection], object], second: Callable[[Connection], object]) -> None:
    """Runs both. The second begins when the first has done its work; the first commits once the second waits for it."""
    other = open_engine(engine.url)

    def do_second() -> None:
        with other.begin() as connection:
            second(connection)

    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as connection:
            first(connection)
            done = threads.submit(do_second)
            if engine.dialect.name == "postgresql":
                with reading(engine) as looking:
                    while not looking.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted")).first():
                        assert not done.done(), "the second did not wait for the first"
        done.result()
    other.dispose()
