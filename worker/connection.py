"""Celery's connection to Redis: one whose loss a worker outlives, and that is soon there again.

Celery makes all its connections by `AMQP.Connection`, in workers and in beat, and the app names its AMQP (`Celery(amqp=…)`).
"""

from typing import Any

import celery.app.amqp
import kombu.connection
import kombu.transport.redis

from worker.foreign import Transport

SECONDS_APART = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 2.0}
"""Between two tries to connect. Celery leaves them to kombu, which waits 2, 4, 6 … 30 s, and has no setting for them."""


UNACKED_KEY = "sms:unacked"
"""Where the tasks lie that a worker of ours has in hand, and with a suffix their order and its lock.

kombu's own names are those of every Celery on that Redis: each restores the others' tasks after its own visibility timeout.
"""

NAMESPACE = "sms"
"""Of our events and of what is broadcast to workers, for the same reason: another app's `control.shutdown()` is not for us."""


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
