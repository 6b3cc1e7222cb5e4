"""Keep the gate: what an outcome says of the account closes it, and a probe that goes through opens it again."""

import logging
from datetime import datetime

from sqlalchemy import Engine

from worker.domain.gate import closes
from worker.domain.outcome import Outcome, Verdict
from worker.ledger import gates
from worker.ledger.turns import Claimed

log = logging.getLogger(__name__)


def keep_gate(engine: Engine, claimed: Claimed, outcome: Outcome, *, not_sent_in_a_row: int, now: datetime) -> None:
    """Closes or opens the gate of the submission's account; most outcomes do neither, and cost nothing."""
    wait = closes(outcome, not_sent_in_a_row=not_sent_in_a_row, probe=claimed.probe)
    if wait is not None:
        reason = f"{outcome.verdict}: {outcome.result or ''} {outcome.tips or ''}".replace("  ", " ").strip()
        with engine.begin() as connection:
            gates.close(connection, claimed.account_id, reason, now=now, until=now + wait)
        log.error("the gate of account %d is closed, see `sms account list`: %s", claimed.account_id, reason)
    elif claimed.probe and outcome.verdict is not Verdict.BUSY:
        with engine.begin() as connection:
            gates.open_again(connection, claimed.account_id, now=now)
        log.warning("the gate of account %d is open again", claimed.account_id)
