"""Writes a large campaign into the ledger. Through the intake it would take as long as sending it."""

from collections.abc import Callable

from sqlalchemy import Engine, text

from worker.domain.lane import LANES
from worker.ledger.sending.accounts import BLOCK

CALLS_AT_A_TIME = 20_000

_RESERVE = text(
    "UPDATE accounts SET next_msg_id = next_msg_id + :count WHERE name = 'default' RETURNING id, next_msg_id"
)
# One message for each call. The sequences number both.
_FILL = text("""
WITH wanted AS (
    SELECT n FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
), message AS (
    INSERT INTO messages (public_id, account_id, lane, content, created_at, accepted_at)
    SELECT 'fill-' || n, :account, 'marketing', '会员日全场八折，编号' || n || '，回T退订', now(), now() FROM wanted
    RETURNING id, public_id
), submission AS (
    INSERT INTO submissions (account_id, lane, msg_id, state, caller, mobiles, due_at, expires_at, attempt, resent, updated_at)
    SELECT :account, 'marketing', :msg_id + n, 'queued', 'campaign', :mobiles, now(), now() + :validity, 0, false, now()
    FROM wanted
    RETURNING id, msg_id
)
INSERT INTO recipients (message_id, mobile, submission_id)
SELECT message.id, '13' || lpad((n::bigint * :mobiles + place)::text, 9, '0'), submission.id
FROM wanted
JOIN message ON message.public_id = 'fill-' || n
JOIN submission ON submission.msg_id = :msg_id + n
CROSS JOIN generate_series(0, :mobiles - 1) AS place
""")


def fill_in(engine: Engine, recipients: int, to_a_call: int, *, watch: Callable[[int], object]) -> None:
    """Adds marketing for that many recipients, due now, in one transaction.

    `watch` is called with the recipients so far.

    Then it updates the statistics of the planner, as autovacuum does while a campaign comes in through the intake.
    """
    count = -(-recipients // to_a_call)
    with engine.begin() as connection:
        # Whole blocks with a free last one, because later msgIds are given out in blocks.
        reserved = -(-(count + 1) // BLOCK) * BLOCK
        account, stop = connection.execute(_RESERVE, {"count": reserved}).one()
        for first in range(0, count, CALLS_AT_A_TIME):
            last = min(first + CALLS_AT_A_TIME, count) - 1
            numbers = {"first": first, "last": last, "msg_id": stop - reserved, "mobiles": to_a_call}
            connection.execute(_FILL, {**numbers, "account": account, "validity": LANES["marketing"].validity})
            watch((last + 1) * to_a_call)
        connection.execute(text("ANALYZE messages, submissions, recipients"))
