"""Call: sends a claimed submission to the gateway, unless too little of its lease is left."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from worker.config import Settings
from worker.domain.outcome import Outcome, Verdict
from worker.domain.submission import Claimed
from worker.gateway.client import Call, Credentials, Line, Session, endpoint, send


def open_gateway(
    settings: Settings, account_ids: Mapping[str, int], session: Session, clock: Callable[[], datetime]
) -> Callable[[Claimed], Outcome]:
    """Returns the function that makes the call of a claimed submission. It remembers how far the gateway's clock is
    off.
    """
    lines = _lines(settings, account_ids, session)
    longest = endpoint(settings).longest
    # How far the gateway's clock is ahead of ours, as last seen when it found our timestamp out of date.
    skews: dict[int, timedelta] = {}

    def call(claimed: Claimed) -> Outcome:
        if claimed.account_id not in lines:
            # The gate stays open: other workers may have the account.
            return Outcome(Verdict.BUSY, tips="this worker does not have the account", retry_after=timedelta(0))
        if clock() > claimed.until - longest:
            # The ledger or this process stood still. A call now could outlast its lease, and be taken for lost
            # meanwhile.
            return Outcome(Verdict.BUSY, tips="too little of its lease was left for a call", retry_after=timedelta(0))
        outcome = send(
            lines[claimed.account_id],
            Call(claimed.msg_id, claimed.mobiles, claimed.content),
            clock=clock,
            skew=skews.get(claimed.account_id, timedelta(0)),
        )
        if outcome.verdict is Verdict.CLOCK and outcome.skew is not None:
            skews[claimed.account_id] = outcome.skew
        return outcome

    return call


def _lines(settings: Settings, account_ids: Mapping[str, int], session: Session) -> dict[int, Line]:
    """Returns the way to the gateway of each account, by account id."""
    return {
        account_ids[name]: Line(
            session,
            replace(endpoint(settings), not_taken=account.not_taken),
            Credentials(account.epr_id, account.user_id, account.password),
        )
        for name, account in settings.accounts.items()
    }
