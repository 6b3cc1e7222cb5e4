"""Process a push: read what the callback app kept, and let it take effect. Doing it again changes nothing."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from redis import Redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker.domain.mobile import is_mobile
from worker.domain.optout import USUAL_OPTOUTS, is_optout
from worker.domain.push import Push, Reply, StatusReport
from worker.gateway.push import Unreadable, parse_push
from worker.ledger.engine import reading
from worker.ledger.errors import is_locked
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts, optouts
from worker.redis_store import intake

log = logging.getLogger(__name__)

FAULTS_TOLD = 20
"""Of a push with more faults the ledger and the log tell so many, and how many more there are."""


def keep_pushes(engine: Engine, redis: Redis, *, now: datetime) -> list[int]:
    """Moves the pushes that wait in the intake to the ledger; their numbers there."""
    found = intake.take_pushes(redis, now=now)
    if not found:
        return []
    with engine.begin() as connection:
        push_ids = [
            pushes.add(connection, push.body, source=push.source, received_at=push.received_at)
            for push in found.values()
        ]
    intake.remove_pushes(redis, found.keys())
    return push_ids


def process_push(
    engine: Engine, push_id: int, account_ids: Mapping[tuple[str, str], int], *, optout_words: Collection[str]
) -> None:
    """Applies the reports and replies of a push. `account_ids` are ours, by (eprId, userId) as the gateway writes them.

    Who replies one of the `optout_words` (folded) opts out.

    Where somebody holds a lock on the tables for too long (`engine.with_lock_wait`), the push is left as it is, for the tick to give it out again.

    What cannot be used is quarantined with its reason: the whole push, or those of its items.
    """
    with reading(engine) as connection:
        raw = pushes.read(connection, push_id)
    if raw is None:
        log.warning("push %d is not in the ledger", push_id)
        return
    push, said = _read(engine, raw.body, account_ids)
    opted_out = 0
    try:
        with engine.begin() as connection:
            # First: whoever revokes it meanwhile waits, and takes back all of this; or it is revoked, and there is nothing to do.
            if not pushes.finish(
                connection,
                push_id,
                items=len(push.items),
                reason="; ".join([*push.faults, *([push.note] if push.note else [])]) or None,
                quarantined=bool(push.faults),
            ):
                return
            for account_id, (reports, _) in said:
                pushes.add_reports(connection, account_id, reports, push_id=push_id, received_at=raw.received_at)
            for account_id, (_, replies) in said:
                new = pushes.add_replies(connection, account_id, replies, push_id=push_id, received_at=raw.received_at)
                opted_out += _opt_out(connection, account_id, new, optout_words, since=raw.received_at, push_id=push_id)
    except OperationalError as why:
        if not is_locked(why):
            raise
        log.warning(
            "push %d is put back and read again within %d s, for somebody holds a lock on what it adds to: see pg_locks and"
            " pg_stat_activity for who does",
            push_id, pushes.STRAY_AFTER.total_seconds(),
        )  # fmt: skip
        return
    if opted_out > USUAL_OPTOUTS:
        log.warning(
            "push %d, from %s, opted %d mobiles out; if nobody asked for that, `sms optout undo --push %d` puts them back",
            push_id, raw.source, opted_out, push_id,
        )  # fmt: skip
    if push.faults:
        log.warning("push %d is quarantined: %s", push_id, "; ".join(push.faults)[:500])


Said = Sequence[tuple[int, tuple[list[StatusReport], list[Reply]]]]
"""The reports and the replies of each account, by its number."""


def _read(engine: Engine, body: bytes, account_ids: Mapping[tuple[str, str], int]) -> tuple[Push, Said]:
    """The push, with all its faults, and what of it is for accounts of ours."""
    try:
        push = parse_push(body)
    except Unreadable as why:
        push = Push(items=(), faults=(str(why),))
    if any((item.epr_id, item.user_id) not in account_ids for item in push.items):
        # One that other workers know, or that is in the settings no more: what it sent is in the ledger.
        with reading(engine) as connection:
            account_ids = {**accounts.by_credentials(connection), **account_ids}
    said: defaultdict[int, tuple[list[StatusReport], list[Reply]]] = defaultdict(lambda: ([], []))
    foreign: set[str] = set()
    for item in push.items:
        account_id = account_ids.get((item.epr_id, item.user_id))
        if account_id is None:
            foreign.add(f"eprId {item.epr_id}, userId {item.user_id} is not an account of ours")
        elif isinstance(item.body, StatusReport):
            said[account_id][0].append(item.body)
        else:
            said[account_id][1].append(item.body)
    return replace(push, faults=_told([*push.faults, *sorted(foreign)])), sorted(said.items())


def _opt_out(
    connection: Connection,
    account_id: int,
    new: Mapping[int, Reply],
    words: Collection[str],
    *,
    since: datetime,
    push_id: int,
) -> int:
    """Takes off marketing who asks for it in one of these replies, which were not there before, under their numbers; how many.

    Not for one that repeats an earlier one: a person may have put its mobile back on meanwhile. Not for a mobile that the account never sent
    to: whoever forges a push could name any.
    """
    said = {
        push_id: reply for push_id, reply in new.items() if is_mobile(reply.mobile) and is_optout(reply.content, words)
    }
    if not said:
        return 0
    ours = optouts.sent_to(connection, account_id, {reply.mobile for reply in said.values()})
    counts = optouts.new_replies(connection, said, received_at=since)
    first = [said[push_id] for push_id in counts if said[push_id].mobile in ours]
    if strange := {reply.mobile for reply in said.values()} - ours:
        log.info(
            "push %d: %d mobiles that were never sent to do not opt out by it; `sms replies` has them, `sms optout add` takes them off",
            push_id, len(strange),
        )  # fmt: skip
    rows = ((reply.mobile, reply.content, reply.msg_id) for reply in first)
    optouts.add(connection, account_id, rows, since=since, said_by=optouts.REPLY, push_id=push_id)
    return len(first)


def _told(faults: Sequence[str]) -> tuple[str, ...]:
    more = len(faults) - FAULTS_TOLD
    return (*faults[:FAULTS_TOLD], *([f"and {more:,} more"] if more > 0 else []))
