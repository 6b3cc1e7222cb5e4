"""The client that a backend app imports to send messages. It needs only redis and the domain.

from worker.client import SmsClient

sms = SmsClient("redis://localhost:6379/0")
sms.send("13800138000", "您的验证码是 123456", lane="otp", key="login-42")
"""

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from socket import gethostname
from time import monotonic
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from worker.domain.caller import as_caller, caller_fault
from worker.domain.key import KeyUsed, day_of, enqueued_in_words, reused_key_faults, with_key_id
from worker.domain.lane import LANES
from worker.domain.message import Fault, Message, Refused, new_id
from worker.domain.read_message import read_message
from worker.domain.unavailable import Full, NotPermitted, Unavailable
from worker.redis_store import accounts as announced
from worker.redis_store import bells, intake
from worker.redis_store.clock import RedisClock
from worker.redis_store.connect import open_redis
from worker.redis_store.headroom import FULL_SHARE, Headroom
from worker.redis_store.unavailable import unavailable

__all__ = ["Fault", "Full", "KeyUsed", "NotPermitted", "Refused", "SmsClient", "Unavailable"]

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2
"""How long Redis may take to connect, and to answer each command."""
PUT_AT_ONCE = 500
"""Messages that one command puts into the intake, all or none."""
LOOK_SECONDS = 60.0
"""How long the client trusts its list of accounts. After this time it refuses an account that was removed."""


class SmsClient:
    """Enqueues messages. A process needs only one. Threads may share it; a forked process needs its own."""

    def __init__(self, redis_url: str, *, caller: str | None = None) -> None:
        """`redis_url` is SMS_REDIS_URL. The client connects at the first message.

        `caller` names the sender; the default is this machine. If there is more to send than the gateway takes, each
        caller of a lane gets an equal share, however many messages the others have. A caller also has its own keys.
        Clients without a `caller` share their keys, also across machines. Raises ValueError for a wrong name.
        """
        if caller is not None and (wrong := caller_fault(caller)):
            raise ValueError(f"caller {wrong}")
        self._redis = open_redis(redis_url, patience_seconds=PATIENCE_SECONDS)
        self._headroom = Headroom(self._redis, monotonic)
        self._clock = RedisClock(self._redis, lambda: datetime.now(UTC), monotonic)
        self._accounts = Accounts(self._redis, monotonic)
        self._has_warned = False
        self._caller, self._machine = caller, as_caller(gethostname())

    def send(  # noqa: PLR0913 - the fields of a message, and the public interface
        self,
        to: str | Iterable[str],
        content: str,
        *,
        lane: str = "notice",
        account: str = "default",
        key: str | None = None,
        at: datetime | str | None = None,
        valid_for: timedelta | float | None = None,
        notify: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Enqueues one message and returns its id. When this returns, the message is kept.

        `to` is one mobile or several, in any usual writing. The message is not sent before `at`, an aware time or ISO
        8601. It is worth sending for `valid_for` after that, in seconds or as a timedelta. `metadata` is JSON of up to
        4 KiB. `notify` is for a later version.

        The same `key` for the same account gives the same id and one message, as long as keys are kept (SMS_KEY_DAYS).

        Raises Refused with every fault of the message; then nothing is enqueued. Raises KeyUsed for the key of another
        message, and NotPermitted where Redis refuses the user or the password. Raises Unavailable within 5 seconds
        without Redis; it says whether the message may be enqueued.
        """
        fields = {
            "to": to,
            "content": content,
            "lane": lane,
            "account": account,
            "key": key,
            "at": at,
            "valid_for": valid_for,
            "notify": notify,
            "metadata": metadata,
        }
        now = self._now()
        return self._enqueue([self._read(fields, now)], now)[0]

    def send_many(self, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Enqueues many messages, each a mapping with the arguments of `send`. Returns their ids in the same order.

        Raises Refused with the faults of all messages, each under its position; then nothing is enqueued. Otherwise it
        raises the errors of `send`. KeyUsed and Unavailable say which of the messages are enqueued.
        """
        now = self._now()
        read: list[Message] = []
        faults: list[Fault] = []
        for position, fields in enumerate(messages):
            try:
                read.append(self._read(fields, now))
            except Refused as refused:
                faults += [Fault(f"[{position}].{fault.field}", fault.text) for fault in refused.faults]
        if faults:
            raise Refused(faults)
        try:
            return self._enqueue(read, now)
        except KeyUsed as error:
            faults_at = zip(error.positions, error.faults, strict=True)
            placed = {position: Fault(f"[{position}].{fault.field}", fault.text) for position, fault in faults_at}
            raise KeyUsed(placed, enqueued=error.enqueued) from None

    def _read(self, fields: Mapping[str, Any], now: datetime) -> Message:
        account = fields.get("account") or "default" if isinstance(fields, Mapping) else None
        try:
            accounts = self._accounts.names(account)
        except RedisError as error:
            raise unavailable(error) from error
        if accounts is None:
            self._warn_without_workers()
        if self._caller is not None and isinstance(fields, Mapping):
            fields = {"caller": self._caller, **fields}
        fresh_id = new_id(now, os.urandom(10))
        return read_message(fields, now=now, default_id=fresh_id, accounts=accounts, caller=self._machine)

    def _warn_without_workers(self) -> None:
        """Warns once if no worker has ever announced itself: workers do not read a wrong database of Redis."""
        if not self._has_warned:
            self._has_warned = True
            address = self._redis.connection_pool.connection_kwargs
            server = address.get("path") or f"{address.get('host')}:{address.get('port')}"
            log.warning(
                "no worker has ever been at work in database %s of the Redis at %s: messages wait there until one is;"
                " check that SMS_REDIS_URL is that of the workers",
                address.get("db", 0),
                server,
            )

    def _now(self) -> datetime:
        try:
            return self._clock.now()
        except RedisError as error:
            raise unavailable(error) from error

    def _enqueue(self, messages: Sequence[Message], now: datetime) -> list[str]:
        day = day_of(now)
        messages = [with_key_id(message, day) for message in messages]
        if len(messages) > 1:
            self._check_keys(messages, now)
        ids: list[str] = []
        for part in _parts(messages):
            ids += self._put(part, ids, now)
            self._ring(part)
        return ids

    def _put(self, part: Sequence[Message], enqueued: Sequence[str], now: datetime) -> list[str]:
        """Puts a part of the messages into the intake, and returns its ids. `enqueued` has the ids of earlier parts."""
        try:
            self._check_connection()
            self._refuse_if_full(len(part), enqueued)
        except RedisError as error:
            raise unavailable(error, enqueued=enqueued) from error
        try:
            return intake.put(self._redis, part, now=now)
        except KeyUsed as error:
            faults_at = zip(error.positions, error.faults, strict=True)
            placed = {len(enqueued) + position: fault for position, fault in faults_at}
            raise KeyUsed(placed, enqueued=enqueued) from None
        except RedisError as error:
            raise unavailable(error, enqueued=enqueued, asked=part) from error

    def _ring(self, part: Sequence[Message]) -> None:
        try:
            for lane in dict.fromkeys(message.lane for message in part):
                bells.ring_lane(self._redis, LANES[lane])
        except RedisError as error:
            # The messages are kept: the tick finds them in the intake.
            log.warning("%d messages are kept, but no bell told a worker of them: %s", len(part), error)

    def _check_keys(self, messages: Sequence[Message], now: datetime) -> None:
        """Checks that no key belongs to another message, before the first of several parts is enqueued."""
        faults = reused_key_faults(messages, day_of(now))
        keyed = [(position, message) for position, message in enumerate(messages) if message.key]
        for part in _parts(keyed) if len(messages) > PUT_AT_ONCE else ():
            try:
                intake.check_keys(self._redis, [message for _, message in part], now=now)
            except KeyUsed as error:
                faults |= {part[index][0]: fault for index, fault in zip(error.positions, error.faults, strict=True)}
            except RedisError as error:
                raise unavailable(error) from error
        if faults:
            raise KeyUsed(faults)

    def _refuse_if_full(self, messages: int, enqueued: Sequence[str]) -> None:
        if share := self._headroom.share_if_full(messages):
            raise Full(
                f"Redis uses {share:.0%} of its maxmemory, and takes no new messages from {FULL_SHARE:.0%} on, so"
                f" {enqueued_in_words(enqueued)}: workers are away or too few, see `sms doctor`; start them, or raise"
                " maxmemory",
                enqueued=enqueued,
            )

    def _check_connection(self) -> None:
        """Checks that Redis answers. After an error here nothing more is enqueued; after a later one it may be."""
        pool = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            connection.check_health()
        finally:
            pool.release(connection)


class Accounts:
    """The accounts that workers have announced. Threads may share it: at worst two of them look at once."""

    def __init__(self, redis: Redis, monotonic: Callable[[], float]) -> None:
        """`monotonic` counts seconds."""
        self._redis, self._monotonic = redis, monotonic
        self._looked_at = -math.inf
        self._names: frozenset[str] | None = None

    def names(self, wanted: object) -> frozenset[str] | None:
        """The names; None where no worker has announced any. `wanted` is the account of a message.

        It asks Redis once a minute, and for every unknown account. Raises RedisError.
        """
        is_new = self._names is None or (isinstance(wanted, str) and wanted not in self._names)
        if is_new or self._monotonic() - self._looked_at >= LOOK_SECONDS:
            self._names = announced.known(self._redis)
            self._looked_at = self._monotonic()
        return self._names


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + PUT_AT_ONCE] for start in range(0, len(items), PUT_AT_ONCE))
