"""Process a push: reads what the callback app kept, and lets it take effect. Doing it again changes nothing."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from worker.ledger.inbound.pushes import Raw
from worker.ledger.sending import accounts, optouts
from worker.redis_store import intake_pushes

log = logging.getLogger(__name__)

FAULTS_SHOWN = 20
"""The ledger and the log show this many faults of a push, and how many more there are."""

AccountIds = Mapping[tuple[str, str], int]
"""The ids of our accounts, by (eprId, userId) as the gateway writes them."""


@dataclass(slots=True)
class Items:
    """What a push has for one account."""

    reports: list[StatusReport] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)


ByAccount = Sequence[tuple[int, Items]]
"""The items of each account by its id, in the order of the ids."""


def keep_pushes(engine: Engine, redis: Redis, *, now: datetime) -> list[int]:
    """Moves the pushes that wait in the intake to the ledger. Returns their ids there."""
    taken = intake_pushes.take(redis, now=now)
    if not taken:
        return []
    with engine.begin() as connection:
        push_ids = [
            pushes.add(connection, push.body, source=push.source, received_at=push.received_at)
            for push in taken.values()
        ]
    intake_pushes.remove(redis, taken.keys())
    return push_ids


def process_push(engine: Engine, push_id: int, account_ids: AccountIds, *, optout_words: Collection[str]) -> None:
    """Applies the reports and replies of a push. Replying one of the `optout_words` (normalised) opts the sender out.

    What cannot be used is quarantined with its reason: the whole push, or some of its items. Where the tables are
    locked for too long (`engine.with_lock_wait`), the push is left as it is: the tick gives it out again.
    """
    with reading(engine) as connection:
        raw = pushes.read(connection, push_id)
    if raw is None:
        log.warning("push %d is not in the ledger", push_id)
        return
    push, by_account = _read(engine, raw.body, account_ids)
    try:
        with engine.begin() as connection:
            # First: a process that revokes the push meanwhile waits, and takes back all of this. If it is revoked
            # already, there is nothing to do.
            if not _finish(connection, push_id, push):
                return
            opted_out = _apply(connection, push_id, raw, by_account, optout_words)
    except OperationalError as error:
        if not is_locked(error):
            raise
        log.warning(
            "push %d is put back and read again within %d s, for somebody holds a lock on what it adds to: see pg_locks and"
            " pg_stat_activity for who does",
            push_id, pushes.STRAY_AFTER.total_seconds(),
        )  # fmt: skip
        return
    _warn(push_id, raw.source, push, opted_out)


def _read(engine: Engine, body: bytes, account_ids: AccountIds) -> tuple[Push, ByAccount]:
    """Returns the push with all its faults, and the items that are for accounts of ours."""
    try:
        push = parse_push(body)
    except Unreadable as error:
        push = Push(items=(), faults=(str(error),))
    if any((item.epr_id, item.user_id) not in account_ids for item in push.items):
        # Other workers may know it, or the settings no longer have it. What it sent is in the ledger.
        with reading(engine) as connection:
            account_ids = {**accounts.by_credentials(connection), **account_ids}
    by_account, foreign = _sorted(push, account_ids)
    return replace(push, faults=_shown([*push.faults, *foreign])), by_account


def _sorted(push: Push, account_ids: AccountIds) -> tuple[ByAccount, Sequence[str]]:
    """Returns the items by account, and a fault for each account that is not ours."""
    by_account: defaultdict[int, Items] = defaultdict(Items)
    foreign: set[str] = set()
    for item in push.items:
        account_id = account_ids.get((item.epr_id, item.user_id))
        if account_id is None:
            foreign.add(f"eprId {item.epr_id}, userId {item.user_id} is not an account of ours")
        elif isinstance(item.body, StatusReport):
            by_account[account_id].reports.append(item.body)
        else:
            by_account[account_id].replies.append(item.body)
    return sorted(by_account.items(), key=lambda of_account: of_account[0]), sorted(foreign)


def _finish(connection: Connection, push_id: int, push: Push) -> bool:
    """Notes that the push was read. Returns False where it was revoked."""
    notes = [*push.faults, *([push.note] if push.note else [])]
    return pushes.finish(
        connection,
        push_id,
        items=len(push.items),
        reason="; ".join(notes) or None,
        quarantined=bool(push.faults),
    )


def _apply(connection: Connection, push_id: int, raw: Raw, by_account: ByAccount, optout_words: Collection[str]) -> int:
    """Adds the reports and the replies. Returns how many mobiles were opted out."""
    for account_id, items in by_account:
        pushes.add_reports(connection, account_id, items.reports, push_id=push_id, received_at=raw.received_at)
    opted_out = 0
    for account_id, items in by_account:
        new = pushes.add_replies(connection, account_id, items.replies, push_id=push_id, received_at=raw.received_at)
        asking = _asking(new, optout_words)
        if asking:
            opted_out += _opt_out(connection, account_id, asking, since=raw.received_at, push_id=push_id)
    return opted_out


def _asking(replies: Mapping[int, Reply], words: Collection[str]) -> dict[int, Reply]:
    """The replies that ask to be opted out, by id."""
    return {
        reply_id: reply
        for reply_id, reply in replies.items()
        if is_mobile(reply.mobile) and is_optout(reply.content, words)
    }


def _opt_out(
    connection: Connection, account_id: int, asking: Mapping[int, Reply], *, since: datetime, push_id: int
) -> int:
    """Opts out the senders of these new replies, given by id. Returns how many.

    A reply that repeats an earlier one does not count: a person may have removed its mobile from the opt-out list
    meanwhile. Nor does a mobile that the account never sent to: a forged push could name any.
    """
    mobiles = {reply.mobile for reply in asking.values()}
    ours = optouts.sent_to(connection, account_id, mobiles)
    counts = optouts.find_new_replies(connection, asking, received_at=since)
    first = [asking[reply_id] for reply_id in counts if asking[reply_id].mobile in ours]
    if strange := mobiles - ours:
        log.info(
            "push %d: %d mobiles that were never sent to do not opt out by it;"
            " `sms replies` has them, `sms optout add` opts them out",
            push_id, len(strange),
        )  # fmt: skip
    rows = ((reply.mobile, reply.content, reply.msg_id) for reply in first)
    optouts.add(connection, account_id, rows, since=since, set_by=optouts.REPLY, push_id=push_id)
    return len(first)


def _warn(push_id: int, source: str, push: Push, opted_out: int) -> None:
    if opted_out > USUAL_OPTOUTS:
        log.warning(
            "push %d, from %s, opted %d mobiles out; if nobody asked for that,"
            " `sms optout undo --push %d` removes them from the opt-out list",
            push_id, source, opted_out, push_id,
        )  # fmt: skip
    if push.faults:
        log.warning("push %d is quarantined: %s", push_id, "; ".join(push.faults)[:500])


def _shown(faults: Sequence[str]) -> tuple[str, ...]:
    more = len(faults) - FAULTS_SHOWN
    return (*faults[:FAULTS_SHOWN], *([f"and {more:,} more"] if more > 0 else []))
