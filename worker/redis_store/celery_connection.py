"""Celery's connection to Redis: one whose loss a worker outlives, and that is soon there again.

Celery makes all its connections by `AMQP.Connection`, in workers and in beat, and the app names its AMQP (`Celery(amqp=…)`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import celery.app.amqp
import kombu.connection
import kombu.transport.redis
import kombu.transport.virtual
from kombu.utils.json import dumps
from redis.exceptions import OutOfMemoryError, ResponseError

from worker.domain.lane import QUEUES
from worker.redis_store import bells, foreign

log = logging.getLogger(__name__)

SECONDS_APART = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 2.0}
"""Between two tries to connect. Celery leaves them to kombu, which waits 2, 4, 6 … 30 s, and has no setting for them."""


UNACKED_KEY = "sms:unacked"
"""Where the tasks lie that a worker of ours has in hand, and with a suffix their order and its lock.

kombu's own names are those of every Celery on that Redis: each restores the others' tasks after its own visibility timeout.
"""

# Also in a full Redis (allow-oom): what was just taken out of it has room there.
_GIVE_BACK = """#!lua flags=allow-oom
redis.call(ARGV[1], KEYS[1], ARGV[2])
"""

NAMESPACE = "sms"
"""Of our events and of what is broadcast to workers, for the same reason: another app's `control.shutdown()` is not for us."""


def _is_wrong_type(why: ResponseError) -> bool:
    # That of a pipeline has its command before it.
    return "WRONGTYPE" in str(why)


class QoS(kombu.transport.redis.QoS):
    """kombu's, for a Redis that takes nothing more."""

    _is_noted = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unnoted: dict[Any, Any] = {}
        super().__init__(*args, **kwargs)

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Notes a task that was popped as unacknowledged; where Redis cannot, this worker works on it all the same.

        Such a task is lost with a worker that is killed, as one is that dies between the two steps anyway.
        """

        def keep() -> None:
            self._unnoted[delivery_tag] = message
            kombu.transport.virtual.QoS.append(self, message, delivery_tag)

        with self._noted(keep):
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: Any) -> None:
        """Takes the note away; where Redis cannot, the task comes again, but this worker takes others meanwhile."""
        self._unnoted.pop(delivery_tag, None)
        with self._noted(lambda: kombu.transport.virtual.QoS.ack(self, delivery_tag)):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Gives the task back or drops it; where Redis cannot, it comes again."""
        if not requeue:
            self._unnoted.pop(delivery_tag, None)
        elif delivery_tag in self._unnoted:
            # Where Redis cannot even that, it stays in hand, and goes back when the connection ends.
            self.restore_by_tag(delivery_tag, leftmost=True)
        with self._noted(lambda: kombu.transport.virtual.QoS.ack(self, delivery_tag)):
            super().reject(delivery_tag, requeue=requeue)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Gives the task back: by its note, or from here where there is none."""
        message = self._unnoted.get(tag)
        if message is None:
            super().restore_by_tag(tag, client, leftmost)
            return
        queue = self.channel._q_for_pri(
            message.delivery_info["routing_key"], self.channel._get_message_priority(message._raw, reverse=False)
        )
        with self.channel.conn_or_acquire(client) as connected:
            connected.eval(_GIVE_BACK, 1, queue, "LPUSH" if leftmost else "RPUSH", dumps(message._raw))
        self._unnoted.pop(tag, None)

    @contextmanager
    def _noted(self, otherwise: Callable[[], object]) -> Iterator[None]:
        try:
            yield
            self._is_noted = True
        except ResponseError as why:
            if self._is_noted:
                log.warning("Redis does not note which tasks are in hand, they are worked on all the same: %s", why)
            self._is_noted = False
            otherwise()


class Channel(foreign.Channel):
    """kombu's, for frames that are none and for a Redis that takes nothing more."""

    QoS = QoS

    def _answer(self, read: Callable[..., Any], connection: Any, command: str, **options: Any) -> Any:
        try:
            return super()._answer(read, connection, command, **options)
        except ResponseError as why:
            if command != "BRPOP" or not _is_wrong_type(why):
                raise
            self._make_way(self.active_queues)
            # As if nothing had come in time.
            return None

    def _size(self, queue: str) -> Any:
        try:
            return super()._size(queue)
        except ResponseError as why:
            if not _is_wrong_type(why):
                raise
            self._make_way([queue])
            return super()._size(queue)

    def _make_way(self, queues: Iterable[str]) -> None:
        """Moves aside what somebody wrote where these queues are: with one key that is no list, no queue is read."""
        keys = [self._q_for_pri(queue, priority) for queue in queues for priority in self.priority_steps]
        with self.conn_or_acquire() as client:
            for key in keys:
                if aside := bells.move_aside(client, key, now=datetime.now(UTC)):
                    log.error(
                        "somebody wrote the key %r, which is a queue, with what is no list: it is %r from now on;"
                        " look at what it is and who wrote it, then delete it",
                        key, aside,
                    )  # fmt: skip

    def _queue_bind(self, *args: Any) -> None:
        try:
            super()._queue_bind(*args)
        except OutOfMemoryError as why:
            # A consumer does not need it, and by its name a queue is found without.
            log.warning("the binding of queue %s is not noted: %s", args[-1], why)


class Transport(kombu.transport.redis.Transport):
    """kombu's, to which a Redis that refuses a command is away like one that cannot be reached.

    It may be full (OOM), unable to write to its disk (MISCONF), a replica (READONLY). kombu tells Celery that only lost
    connections can be recovered from, and a worker ends at once for anything else.
    """

    Channel = Channel
    connection_errors = (*kombu.transport.redis.Transport.connection_errors, ResponseError)

    def _deliver(self, message: Any, queue: str) -> None:
        """Delivers a frame as one of the queue that it was taken from, whichever it was once put into.

        A frame may have been moved, and where it is given back it returns to the queue that it names.
        """
        if queue in QUEUES:
            message["properties"]["delivery_info"] |= {"exchange": "", "routing_key": queue}
        super()._deliver(message, queue)


class Connection(kombu.connection.Connection):
    """kombu's, with a shorter wait between tries, and with channels that are closed also when Redis is gone."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Tries to connect until it succeeds, or as often as it is told."""
        return super().ensure_connection(*args, **SECONDS_APART | kwargs)

    def get_transport_cls(self) -> Any:
        """The class of the transport: ours for Redis."""
        found = super().get_transport_cls()
        return Transport if found is kombu.transport.redis.Transport else found

    def maybe_close_channel(self, channel: Any) -> None:
        """Closes the channel whatever becomes of Redis.

        While a BRPOP is under way, kombu's Redis channel first reads its answer (celery/kombu#1733). Where the connection
        is broken that fails, and the channel stays open, only without a BRPOP. Celery closes it again when it has thrown
        away what a channel needs to give its tasks back: an AttributeError that ends the worker. So again at once.
        """
        super().maybe_close_channel(channel)
        if not channel.closed:
            super().maybe_close_channel(channel)


class AMQP(celery.app.amqp.AMQP):  # type: ignore[misc]  # it has no type hints
    """Celery's, that connects by our connection."""

    Connection = Connection
