"""The two links to Redis of whoever puts something in: a client for the intake, and a publisher of tasks by their names.

Both fail within seconds where Redis is away or silent, and try nothing again: their caller knows better what to do then.
"""

from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HEALTH_CHECK_SECONDS = 10


def open_redis(url: str, *, patience_seconds: float) -> Redis:
    """A client that waits so long to connect, and so long for each answer. It connects when it is first used."""
    return Redis.from_url(
        url,
        socket_connect_timeout=patience_seconds,
        socket_timeout=patience_seconds,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def open_publisher(url: str, *, patience_seconds: float) -> Celery:
    """A Celery app that only publishes: `send_task(name, args, queue=…, retry=False)`. It raises kombu's OperationalError."""
    publisher = Celery("sms-publisher", broker=url, set_as_current=False)
    publisher.conf.update(
        # Unlike `broker` it goes before CELERY_BROKER_URL, which a backend app may have set for tasks of its own.
        broker_write_url=url,
        task_serializer="json",
        task_ignore_result=True,
        broker_transport_options={
            "socket_connect_timeout": patience_seconds,
            "socket_timeout": patience_seconds,
            "health_check_interval": HEALTH_CHECK_SECONDS,
            # `retry=False` is for the publishing alone: without this, kombu tries for 6 seconds to connect.
            "max_retries": 0,
        },
    )
    return publisher
