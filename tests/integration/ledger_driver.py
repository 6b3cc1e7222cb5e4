"""A ledger to test with: an account, short messages, and what the ledger has afterwards."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, FromClause, select

from worker.domain.lane import LANES, Lane
from worker.domain.message import Message
from worker.domain.optout import OPTOUT_WORDS
from worker.domain.policy import AccountPolicy, Policy
from worker.domain.rate import Rate
from worker.domain.read_message import read_message
from worker.domain.submission import Claimed, Recorded
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts, claims, submissions
from worker.ledger.sending.accounts import MsgIds
from worker.redis_store.rate import Grant
from worker.sending.accept import Count, Reception, Room, accept
from worker.sending.pull import NO_LOOK, Allow, Look, Pulled, Terms, pull

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)
ACCOUNT_KEYS = ("1", "sword123")


def mobile(number: int) -> str:
    return f"138{number:08d}"


def message(message_id: str, *to: str, caller: str = "", **fields: object) -> Message:
    return read_message(
        {"to": list(to) or mobile(0), "content": "您好", "id": message_id} | fields,
        now=NOW,
        default_id="unused",
        accounts=None,
        caller=caller,
    )


def policy(account_ids: Mapping[str, int], *, max_mobiles: int = 50, lanes: Mapping[str, Lane] = LANES) -> Policy:
    """Accounts in Shanghai, without a limit."""
    zone = ZoneInfo("Asia/Shanghai")
    return Policy(
        lanes, {name: AccountPolicy(account_id, zone, Rate()) for name, account_id in account_ids.items()}, max_mobiles
    )


def without_limit(_account: int, _lane: Lane, sizes: Sequence[int]) -> Grant:
    return Grant(len(sizes), 0)


class Ledger:
    """The verbs on one ledger, at the time NOW unless told otherwise."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with engine.begin() as connection:
            self.account_ids = accounts.register(connection, ["default"], first_msg_id=100, now=NOW)
        self.msg_ids = MsgIds(engine)

    def accept(
        self,
        *new: Message,
        max_mobiles: int = 50,
        now: datetime = NOW,
        lanes: Mapping[str, Lane] = LANES,
        room: Room = lambda wanted: dict.fromkeys(wanted, 1_000_000),
        count: Count = len,
    ) -> dict[str, list[int]]:
        """Accepts messages. Returns the ids of the new submissions, by the id of each message that was not there
        before.
        """
        before = {row["public_id"] for row in self.rows(t.messages)}
        rules = policy(self.account_ids, max_mobiles=max_mobiles, lanes=lanes)
        accept(Reception(self.engine, self.msg_ids, rules, room, count), new, now=now)
        submission_ids: dict[str, list[int]] = {}
        query = select(t.messages.c.public_id, t.recipients.c.submission_id).join(
            t.recipients, t.recipients.c.message_id == t.messages.c.id
        )
        with self.engine.connect() as connection:
            for message_id, submission_id in connection.execute(
                query.distinct().order_by(t.recipients.c.submission_id)
            ):
                if message_id not in before and submission_id is not None:
                    submission_ids.setdefault(message_id, []).append(submission_id)
        return submission_ids

    def sent_to(self, *mobiles: str) -> None:
        """Accepts a notice to each of the mobiles, so that the account has sent to them."""
        self.accept(message("sent", *mobiles))

    def claim(self, submission_ids: Sequence[int], now: datetime = NOW) -> list[Claimed]:
        with self.engine.begin() as connection:
            return claims.claim(connection, submission_ids, now=now, lease=LEASE)

    def pull(
        self,
        now: datetime = NOW,
        lane: str = "notice",
        most: int = 1000,
        allow: Allow = without_limit,
        last: Look = NO_LOOK,
        sends: bool = True,
    ) -> Pulled:
        return pull(
            self.engine,
            LANES[lane],
            most,
            Terms(policy(self.account_ids if sends else {}), allow, random.random, LEASE),
            now=now,
            last=last,
        )

    def lanes_open(self, now: datetime) -> list[str]:
        return policy(self.account_ids).lanes_open(self.account_ids["default"], now)

    def claim_probe(self, now: datetime) -> list[Claimed]:
        account_id = self.account_ids["default"]
        [msg_id] = self.msg_ids.take(account_id, 1)
        with self.engine.begin() as connection:
            return claims.claim_probe(connection, account_id, self.lanes_open(now), msg_id=msg_id, now=now, lease=LEASE)

    def record(self, *outcomes: Recorded, now: datetime = NOW) -> int:
        with self.engine.begin() as connection:
            return submissions.record(connection, outcomes, now=now)

    def expire(self, now: datetime) -> int:
        with self.engine.begin() as connection:
            return submissions.expire(connection, now=now)

    def expire_leases(self, now: datetime, resend: Collection[str] = ()) -> list[int]:
        with self.engine.begin() as connection:
            return [submission_id for submission_id, _ in submissions.expire_leases(connection, now=now, resend=resend)]

    def unreport(self, before: datetime, most: int = 1000) -> int:
        with self.engine.begin() as connection:
            return submissions.unreport(connection, before=before, now=before + timedelta(hours=72), most=most)

    def push(self, body: str | bytes, received_at: datetime = NOW) -> int:
        """Keeps and processes a push."""
        raw = body.encode() if isinstance(body, str) else body
        with self.engine.begin() as connection:
            push_id = pushes.add(connection, raw, source="127.0.0.1", received_at=received_at)
        process_push(self.engine, push_id, {ACCOUNT_KEYS: self.account_ids["default"]}, optout_words=OPTOUT_WORDS)
        return push_id

    def rows(self, table: FromClause) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def states(self) -> Counter[str]:
        return Counter(str(row["state"]) for row in self.rows(t.submissions))

    def statuses(self) -> dict[str, str]:
        return {str(row["mobile"]): str(row["status"]) for row in self.rows(t.recipient_status)}


def status_push(*items: tuple[str, int, int], kind: int = 1) -> str:
    """A push of reports, each (mobile, msgId, status), as in the vendor's document."""
    forms = "".join(
        f"<pushStatusForm><eprId>1</eprId><mobile>{to}</mobile><msgId>{msg_id}</msgId>"
        f"<status>{status}</status><userId>sword123</userId></pushStatusForm>"
        for to, msg_id, status in items
    )
    return f"<returnForm><type>{kind}</type><count>{len(items)}</count><list>{forms}</list></returnForm>"


def reply_push(*items: tuple[str, str, str]) -> str:
    """A push of replies, each (mobile, msgId, content), as in the vendor's document."""
    forms = "".join(
        f"<pushSmsForm><eprId>1</eprId><mobile>{to}</mobile><msgId>{msg_id}</msgId>"
        f"<content>{content}</content><userId>sword123</userId></pushSmsForm>"
        for to, msg_id, content in items
    )
    return f"<returnForm><type>2</type><count>{len(items)}</count><list>{forms}</list></returnForm>"
