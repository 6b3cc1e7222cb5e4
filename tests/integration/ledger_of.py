"""A ledger to test with: an account, messages of a few words, and what stands in it afterwards."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, select

from worker.accept import accept
from worker.domain.message import Message, read_message
from worker.ledger import accounts, pushes, submissions
from worker.ledger.accounts import MsgIds
from worker.ledger.submissions import Claimed, Recorded
from worker.ledger.tables import recipient_status
from worker.ledger.tables import submissions as submissions_table
from worker.process_push import process_push

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)
ACCOUNT_KEYS = ("1", "sword123")


def mobile(number: int) -> str:
    return f"138{number:08d}"


def message(message_id: str, *to: str, **fields: object) -> Message:
    return read_message(
        {"to": list(to) or mobile(0), "content": "您好", "id": message_id} | fields,
        now=NOW,
        default_id="unused",
        accounts=None,
    )


class Ledger:
    """The verbs on one ledger, at the time NOW unless told otherwise."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with engine.begin() as connection:
            self.account_ids = accounts.register(connection, ["default"], first_msg_id=100, now=NOW)
        self.msg_ids = MsgIds(engine)

    def accept(self, *messages: Message, max_mobiles: int = 50, now: datetime = NOW) -> dict[str, list[int]]:
        return accept(self.engine, self.msg_ids, self.account_ids, messages, max_mobiles=max_mobiles, now=now)

    def claim(self, nos: Sequence[int], now: datetime = NOW) -> list[Claimed]:
        with self.engine.begin() as connection:
            return submissions.claim(connection, nos, now=now, lease=LEASE)

    def record(self, *outcomes: Recorded, now: datetime = NOW) -> int:
        with self.engine.begin() as connection:
            return submissions.record(connection, outcomes, now=now)

    def release(self, now: datetime, lane: str = "notice", most: int = 1000) -> list[int]:
        with self.engine.begin() as connection:
            return submissions.release(connection, lane, now=now, most=most)

    def expire_leases(self, now: datetime, resend: Collection[str] = ()) -> list[int]:
        with self.engine.begin() as connection:
            return [no for no, _ in submissions.expire_leases(connection, now=now, resend=resend)]

    def unreport(self, before: datetime, most: int = 1000) -> int:
        with self.engine.begin() as connection:
            return submissions.unreport(connection, before=before, now=before + timedelta(hours=72), most=most)

    def push(self, body: str | bytes, received_at: datetime = NOW) -> int:
        """Keeps and processes a push."""
        raw = body.encode() if isinstance(body, str) else body
        with self.engine.begin() as connection:
            no = pushes.add(connection, raw, source="127.0.0.1", received_at=received_at)
        process_push(self.engine, no, {ACCOUNT_KEYS: self.account_ids["default"]})
        return no

    def rows(self, table: object) -> list[dict[str, object]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]  # type: ignore[call-overload]

    def states(self) -> Counter[str]:
        return Counter(str(row["state"]) for row in self.rows(submissions_table))

    def statuses(self) -> dict[str, str]:
        return {str(row["mobile"]): str(row["status"]) for row in self.rows(recipient_status)}


def status_push(*items: tuple[str, int, int], kind: int = 1) -> str:
    """A push of reports: (mobile, msgId, status) each, as in the vendor's document."""
    forms = "".join(
        f"<pushStatusForm><eprId>1</eprId><mobile>{to}</mobile><msgId>{msg_id}</msgId>"
        f"<status>{status}</status><userId>sword123</userId></pushStatusForm>"
        for to, msg_id, status in items
    )
    return f"<returnForm><type>{kind}</type><count>{len(items)}</count><list>{forms}</list></returnForm>"


def reply_push(*items: tuple[str, str, str]) -> str:
    """A push of replies: (mobile, msgId, content) each, as in the vendor's document."""
    forms = "".join(
        f"<pushSmsForm><eprId>1</eprId><mobile>{of}</mobile><msgId>{msg_id}</msgId>"
        f"<content>{content}</content><userId>sword123</userId></pushSmsForm>"
        for of, msg_id, content in items
    )
    return f"<returnForm><type>2</type><count>{len(items)}</count><list>{forms}</list></returnForm>"
