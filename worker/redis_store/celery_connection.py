"""Celery's connection to Redis. A worker survives its loss and soon has it again.

Celery makes all its connections by `AMQP.Connection`, in workers and in beat. The app names its AMQP class
(`Celery(amqp=…)`).
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
"""The seconds between two tries to connect. Celery has no setting for them; kombu's own are 2, 4, 6 … 30 s."""


UNACKED_KEY = "sms:unacked"
"""The tasks that our workers have in hand. With a suffix it names their order, and its lock.

kombu's own names are the same for every Celery on that Redis: each restores the others' tasks after its own visibility
timeout.
"""

# A full Redis runs this too (allow-oom): it has room for a task that was just taken out of it.
_GIVE_BACK = """#!lua flags=allow-oom
redis.call(ARGV[1], KEYS[1], ARGV[2])
"""

NAMESPACE = "sms"
"""The namespace of our events and broadcasts, for the same reason: another app's `control.shutdown()` is not for us."""


def _is_wrong_type(why: ResponseError) -> bool:
    # An error of a pipeline has its command before these words.
    return "WRONGTYPE" in str(why)


class QoS(kombu.transport.redis.QoS):
    """kombu's QoS, which also works with a Redis that refuses writes."""

    _is_noted = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unnoted: dict[Any, Any] = {}
        super().__init__(*args, **kwargs)

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Notes a popped task as unacknowledged. Where Redis cannot note it, this worker runs the task all the same.

        A killed worker loses such a task, as one that dies between the pop and the note does anyway.
        """

        def keep() -> None:
            self._unnoted[delivery_tag] = message
            kombu.transport.virtual.QoS.append(self, message, delivery_tag)

        with self._noted(keep):
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: Any) -> None:
        """Removes the note. Where Redis cannot, the task comes again, but this worker takes others meanwhile."""
        self._unnoted.pop(delivery_tag, None)
        with self._noted(lambda: kombu.transport.virtual.QoS.ack(self, delivery_tag)):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Gives the task back or drops it. Where Redis cannot, the task comes again."""
        if not requeue:
            self._unnoted.pop(delivery_tag, None)
        elif delivery_tag in self._unnoted:
            # Where Redis cannot take it back either, it stays in hand, and goes back when the connection ends.
            self.restore_by_tag(delivery_tag, leftmost=True)
        with self._noted(lambda: kombu.transport.virtual.QoS.ack(self, delivery_tag)):
            super().reject(delivery_tag, requeue=requeue)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Gives the task back, from its note, or from this process's memory where there is no note."""
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
        except ResponseError as error:
            if self._is_noted:
                log.warning(
                    "Redis does not note which tasks are in hand; this worker runs them all the same: %s", error
                )
            self._is_noted = False
            otherwise()


class Channel(foreign.Channel):
    """kombu's channel, which also takes malformed frames and works with a Redis that refuses writes."""

    QoS = QoS

    def _answer(self, read: Callable[..., Any], connection: Any, command: str, **options: Any) -> Any:
        try:
            return super()._answer(read, connection, command, **options)
        except ResponseError as error:
            if command != "BRPOP" or not _is_wrong_type(error):
                raise
            self._make_way(self.active_queues)
            # As if nothing had come in time.
            return None

    def _size(self, queue: str) -> Any:
        try:
            return super()._size(queue)
        except ResponseError as error:
            if not _is_wrong_type(error):
                raise
            self._make_way([queue])
            return super()._size(queue)

    def _make_way(self, queues: Iterable[str]) -> None:
        """Moves aside values at the keys of these queues that are not lists. Because of one, kombu reads no queue."""
        keys = [self._q_for_pri(queue, priority) for queue in queues for priority in self.priority_steps]
        with self.conn_or_acquire() as client:
            for key in keys:
                if aside := bells.move_aside(client, key, now=datetime.now(UTC)):
                    log.error(
                        "somebody wrote a value that is not a list to the key %r, which is a queue. Its name is %r now:"
                        " find out what it is and who wrote it, then delete it",
                        key, aside,
                    )  # fmt: skip

    def _queue_bind(self, *args: Any) -> None:
        try:
            super()._queue_bind(*args)
        except OutOfMemoryError as error:
            # A consumer does not need the binding, and tasks reach a queue by its name without one.
            log.warning("Redis does not note the binding of queue %s: %s", args[-1], error)


class Transport(kombu.transport.redis.Transport):
    """kombu's transport, which treats a Redis that refuses a command like one that cannot be reached.

    Redis may be full (OOM), unable to write to its disk (MISCONF), or a replica (READONLY). kombu's own transport tells
    Celery to recover only from lost connections; a worker ends at once on any other error.
    """

    Channel = Channel
    connection_errors = (*kombu.transport.redis.Transport.connection_errors, ResponseError)

    def _deliver(self, message: Any, queue: str) -> None:
        """Delivers a frame as one of the queue that it was taken from.

        The frame may have been moved there from another queue, and a frame that is given back goes to the queue that it
        names.
        """
        if queue in QUEUES:
            message["properties"]["delivery_info"] |= {"exchange": "", "routing_key": queue}
        super()._deliver(message, queue)


class Connection(kombu.connection.Connection):
    """kombu's connection, with a shorter wait between tries. It also closes its channels when Redis is away."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Tries to connect until it succeeds, or as often as its arguments say."""
        return super().ensure_connection(*args, **SECONDS_APART | kwargs)

    def get_transport_cls(self) -> Any:
        """The class of the transport: ours for Redis."""
        transport = super().get_transport_cls()
        return Transport if transport is kombu.transport.redis.Transport else transport

    def maybe_close_channel(self, channel: Any) -> None:
        """Closes the channel, also where the connection is broken.

        While a BRPOP is under way, kombu's Redis channel first reads its answer (celery/kombu#1733). On a broken
        connection that fails, and the channel stays open, only without a BRPOP. Celery closes it later, after it has
        dropped the data that a channel needs to give its tasks back. That raises an AttributeError, which ends the
        worker. So this method closes the channel a second time at once.
        """
        super().maybe_close_channel(channel)
        if not channel.closed:
            super().maybe_close_channel(channel)


class AMQP(celery.app.amqp.AMQP):  # type: ignore[misc]  # it has no type hints
    """Celery's AMQP, which connects by our connection."""

    Connection = Connection
