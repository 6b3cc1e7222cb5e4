"""The Celery app and its settings. Nothing connects at import, and the environment is not read before it is needed."""

import sys
from typing import Any, NoReturn

from celery import Celery
from celery.signals import beat_init, celeryd_init, worker_init, worker_process_init
from kombu.entity import Exchange, Queue
from sqlalchemy.exc import OperationalError

from worker.config import ConfigError, Settings, load_settings, revealed
from worker.domain.lane import QUEUES, UPKEEP_QUEUE
from worker.ledger.engine import open_engine
from worker.ledger.schema import WrongSchema, check
from worker.ledger.sending.accounts import RenamedAccount, refuse_renames
from worker.redis_store.celery_connection import AMQP, NAMESPACE, UNACKED_KEY
from worker.redis_store.connect import broker_tls
from worker.runtime import log_filter


def celery_settings() -> dict[str, Any]:
    """Returns Celery's settings. docs/architecture.md gives the reasons. Ends the process where ours are not valid."""
    try:
        settings = load_settings()
    except ConfigError as error:
        _stop(error)
    log_filter.install(settings)
    broker = settings.redis_url and settings.redis_url.get_secret_value()
    return {
        # Both are set, because they take precedence over CELERY_BROKER_URL, which may be set for an app beside this
        # one.
        "broker_read_url": broker,
        "broker_write_url": broker,
        "broker_use_ssl": broker and broker_tls(broker),
        "broker_connection_retry_on_startup": True,
        # Without an end: Celery's own limit of a hundred tries would be over in three minutes
        # (worker/redis_store/celery_connection.py).
        "broker_connection_max_retries": None,
        "broker_transport_options": _transport_options(settings),
        "control_exchange": NAMESPACE,
        "event_exchange": f"{NAMESPACE}.events",
        # Each queue has its own exchange, as `send_task(…, queue=NAME)` of an app without these settings makes them.
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": UPKEEP_QUEUE,
        "task_create_missing_queues": False,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        "worker_consumer": "worker.redis_store.foreign:Consumer",
        "worker_prefetch_multiplier": 1,
        "worker_disable_rate_limits": True,
        "timezone": "UTC",
        "beat_scheduler": "worker.beat:Ticker",
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    return {
        # A redelivered task finds that its rows have moved on. The tick finds the work of a task that is lost.
        "visibility_timeout": 2 * settings.lease.total_seconds(),
        "unacked_key": UNACKED_KEY,
        "unacked_index_key": f"{UNACKED_KEY}_index",
        "unacked_mutex_key": f"{UNACKED_KEY}_mutex",
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # The queues take turns, so a backlog in a lane keeps no push and no tick waiting.
        "queue_order_strategy": "round_robin",
        "socket_connect_timeout": 5,
        "socket_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }


app = Celery("worker", amqp=AMQP, include=["worker.tasks"], set_as_current=False)
app.add_defaults(celery_settings)


@celeryd_init.connect
def _check_worker(**_: Any) -> None:
    try:
        settings = load_settings("worker")
        log_filter.install(settings)
        engine = open_engine(revealed(settings.ledger_url))
        check(engine)
        with engine.begin() as connection:
            refuse_renames(connection, settings.credentials)
        engine.dispose()
    except (ConfigError, WrongSchema, RenamedAccount) as error:
        _stop(error)
    except OperationalError as error:
        # A supervisor starts it again. That is better than to take tasks that cannot be kept.
        _stop(f"the ledger cannot be reached: {error.orig}")


@worker_init.connect
def _note_concurrency(sender: Any, **_: Any) -> None:
    # Only Celery's worker knows the value of `-c`. The gateway session is sized to it.
    app.conf.worker_concurrency = sender.concurrency


@worker_process_init.connect
def _note_child(**_: Any) -> None:
    # A child of a prefork worker handles one task at a time. The children together are as many as `-c` says.
    app.conf.worker_concurrency = 1


@beat_init.connect
def _check_beat(**_: Any) -> None:
    try:
        load_settings("beat")
    except ConfigError as error:
        _stop(error)


def _stop(error: object) -> NoReturn:
    # Whoever started this process reads it. Celery's beat makes a line of its log of what goes to sys.stderr.
    print(error, file=sys.__stderr__)
    raise SystemExit(1)
