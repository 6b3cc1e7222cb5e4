"""Fills a ledger on PostgreSQL with the rows of a month of sending, faster than by sending."""

from collections.abc import Callable

from sqlalchemy import Engine, text

from worker.ledger.engine import reading

PERIOD_MESSAGES, PERIOD_RECIPIENTS = 54, 250
"""One recipient in five has a message of its own.

The others share one with 49 more: 50 messages of the one kind, then 4 of the other.
"""
CHUNK_MESSAGES = 1000 * PERIOD_MESSAGES

# Message, submission and msgId have the same number, and twenty of them share a push. A mobile follows from the number
# of its message and its place in it: the mobiles of a message all differ, and come in no order.
_STEPS = (
    """
    INSERT INTO messages (id, public_id, account_id, lane, content, created_at, accepted_at)
    SELECT id, md5(id::text), :account, 'notice', '您的订单' || id || '已发货，预计明天送达，请注意查收。', at, at
    FROM (
        SELECT id, now() - interval '30 days' * (1 - id / CAST(:messages AS float8)) AS at
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS id
    ) AS numbers
    """,
    """
    INSERT INTO submissions
        (id, account_id, lane, msg_id, state, caller, mobiles, expires_at, attempt, resent, result, updated_at)
    SELECT
        id, account_id, lane, id,
        CASE
            WHEN id % 100 = 0 THEN 'rejected'
            WHEN created_at > now() - interval '71 hours' THEN 'accepted'
            ELSE 'unreported'
        END,
        'app-' || id % 4, CASE WHEN id % 54 < 50 THEN 1 ELSE 50 END,
        created_at + interval '1 day', 1, false, CASE WHEN id % 100 = 0 THEN '-1' ELSE '1' END, created_at
    FROM messages WHERE id BETWEEN :first AND :last
    ORDER BY id
    """,
    """
    INSERT INTO recipients (message_id, mobile, submission_id)
    SELECT id, '13' || lpad(((id * 50 + place) * 7919 % 1000000000)::text, 9, '0'), id
    FROM submissions CROSS JOIN LATERAL generate_series(1, mobiles) AS place
    WHERE id BETWEEN :first AND :last
    """,
    """
    INSERT INTO pushes (id, received_at, source, body, state, items)
    SELECT 1 + id / 20, max(updated_at), '127.0.0.1', '<returnForm/>', 'processed', sum(mobiles)
    FROM submissions WHERE id BETWEEN :first AND :last
    GROUP BY 1 ORDER BY 1
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO reports (account_id, msg_id, mobile, status, push_id, received_at)
    SELECT
        account_id, msg_id, mobile,
        CASE WHEN mobile::bigint % 20 = 0 THEN 'undelivered' ELSE 'delivered' END,
        1 + id / 20, updated_at + interval '5 seconds'
    FROM submissions JOIN recipients ON submission_id = submissions.id
    WHERE id BETWEEN :first AND :last AND state <> 'rejected'
    ORDER BY msg_id, mobile
    """,
)


def fill(ledger: Engine, recipients: int, watch: Callable[[int], object]) -> int:
    """Adds about that many recipients to a ledger that has only its account. Returns how many there are.

    One message in a hundred was refused and has no report. `watch` is called with the number of recipients so far.
    """
    messages = max(1, round(recipients / PERIOD_RECIPIENTS)) * PERIOD_MESSAGES
    for first in range(1, messages + 1, CHUNK_MESSAGES):
        last = min(first + CHUNK_MESSAGES - 1, messages)
        with ledger.begin() as connection:
            # The rows are made with valid references, and a crash only costs making them again.
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            account = connection.scalar(text("SELECT min(id) FROM accounts"))
            for step in _STEPS:
                connection.execute(text(step), {"account": account, "messages": messages, "first": first, "last": last})
        watch(last * PERIOD_RECIPIENTS // PERIOD_MESSAGES)
    with ledger.begin() as connection:
        for table in ("messages", "submissions", "pushes"):
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"))
        connection.execute(text("UPDATE accounts SET next_msg_id = :next"), {"next": messages + 1})
    with reading(ledger) as connection:
        # Otherwise PostgreSQL would do this in the background of the measurement.
        connection.execute(text("VACUUM (ANALYZE)"))
        connection.execute(text("CHECKPOINT"))
        return connection.scalar(text("SELECT count(*) FROM recipients")) or 0
