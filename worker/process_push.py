"""Process a push: read what the callback app kept, and let it take effect. Doing it again changes nothing."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from redis import Redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker import intake
from worker.domain.mobile import is_mobile
from worker.domain.optout import is_optout
from worker.domain.push import Push, Reply, StatusReport
from worker.gateway.push import Unreadable, parse_push
from worker.ledger import accounts, optouts, pushes
from worker.ledger.engine import reading
from worker.ledger.patience import is_locked

log = logging.getLogger(__name__)

FAULTS_TOLD = 20
"""Of a push with more faults the ledger and the log tell so many, and how many more there are."""


def keep_pushes(engine: Engine, redis: Redis, *, now: datetime) -> list[int]:
    """Moves the pushes that wait in the intake to the ledger; their numbers there."""
    found = intake.take_pushes(redis, now=now)
    if not found:
        return []
    with engine.begin() as connection:
        nos = [
            pushes.add(connection, push.body, source=push.source, received_at=push.received_at)
            for push in found.values()
        ]
    intake.remove(redis, intake.PUSHES, found.keys())
    return nos


def process_push(
    engine: Engine, no: int, account_ids: Mapping[tuple[str, str], int], *, optout_words: Collection[str]
) -> None:
    """Applies the reports and replies of a push. `account_ids` are ours, by (eprId, userId) as the gateway writes them.

    Who replies one of the `optout_words` (folded) opts out.

    Where somebody holds a lock on the tables for too long (`engine.with_lock_wait`), the push is left as it is, for the tick to give it out again.

    What cannot be used is quarantined with its reason: the whole push, or those of its items.
    """
    with reading(engine) as connection:
        raw = pushes.read(connection, no)
    if raw is None:
        log.warning("push %d is not in the ledger", no)
        return
    try:
        push = parse_push(raw.body)
    except Unreadable as why:
        push = Push(items=(), faults=(str(why),))
    if any((item.epr_id, item.user_id) not in account_ids for item in push.items):
        # One that other workers know, or that is in the settings no more: what it sent is in the ledger.
        with reading(engine) as connection:
            account_ids = {**accounts.by_credentials(connection), **account_ids}
    reports: defaultdict[int, list[StatusReport]] = defaultdict(list)
    replies: defaultdict[int, list[Reply]] = defaultdict(list)
    foreign: set[str] = set()
    for item in push.items:
        account_id = account_ids.get((item.epr_id, item.user_id))
        if account_id is None:
            foreign.add(f"eprId {item.epr_id}, userId {item.user_id} is no account of ours")
        elif isinstance(item.body, StatusReport):
            reports[account_id].append(item.body)
        else:
            replies[account_id].append(item.body)
    faults = _told([*push.faults, *sorted(foreign)])
    try:
        with engine.begin() as connection:
            for account_id, some in sorted(reports.items()):
                pushes.add_reports(connection, account_id, some, push_no=no, received_at=raw.received_at)
            for account_id, some_replies in sorted(replies.items()):
                new = pushes.add_replies(connection, account_id, some_replies, push_no=no, received_at=raw.received_at)
                _opt_out(connection, account_id, new, optout_words, since=raw.received_at)
            pushes.finish(
                connection,
                no,
                items=len(push.items),
                reason="; ".join([*faults, *([push.note] if push.note else [])]) or None,
                quarantined=bool(faults),
            )
    except OperationalError as why:
        if not is_locked(why):
            raise
        log.warning(
            "push %d is put back and read again within %d s, for somebody holds a lock on what it adds to: see pg_locks and"
            " pg_stat_activity for who does",
            no, pushes.STRAY_AFTER.total_seconds(),
        )  # fmt: skip
        return
    if faults:
        log.warning("push %d is quarantined: %s", no, "; ".join(faults)[:500])


def _opt_out(
    connection: Connection, account_id: int, new: Mapping[int, Reply], words: Collection[str], *, since: datetime
) -> None:
    """Takes off marketing who asks for it in one of these replies, which were not there before, under their numbers.

    Not for one that repeats an earlier one: a person may have put its mobile back on meanwhile. Not for a number that is no mobile:
    nothing can be sent to it.
    """
    said = {no: reply for no, reply in new.items() if is_mobile(reply.mobile) and is_optout(reply.content, words)}
    if said:
        first = (said[no] for no in pushes.which_repeat_none(connection, said))
        rows = ((reply.mobile, reply.content, reply.msg_id) for reply in first)
        optouts.add(connection, account_id, rows, since=since, said_by=optouts.REPLY)


def _told(faults: Sequence[str]) -> list[str]:
    more = len(faults) - FAULTS_TOLD
    return [*faults[:FAULTS_TOLD], *([f"and {more:,} more"] if more > 0 else [])]
