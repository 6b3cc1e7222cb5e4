"""Another Celery on the same Redis database: a backend's own tasks and workers are none of our business, nor ours of theirs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from worker.devstack.stack import Stack
from worker.domain.lane import UPKEEP_QUEUE
from worker.maintenance.strange_queues import strange_queues
from worker.redis_store import bells
from worker.redis_store.celery_connection import UNACKED_KEY

BACKEND = """
import os
from celery import Celery
from redis import Redis

app = Celery("backend", broker=os.environ["REDIS_URL"])
redis = Redis.from_url(os.environ["REDIS_URL"])


@app.task(name="long", acks_late=True)
def long():
    redis.incr("backend:long")
    redis.blpop("backend:go", timeout=60)


@app.task(name="later")
def later():
    redis.incr("backend:later")
"""
AGE_SECONDS = 1000
"""The age of a lost task: longer than our visibility timeout, and shorter than Celery's own, an hour."""
COUNTDOWN_SECONDS = 12
"""The countdown is longer than the 5 s after which our workers look for lost tasks."""


@contextmanager
def backend_worker(stack: Stack, directory: Path) -> Iterator[Celery]:
    """A backend's Celery app, with Celery's own settings, and a worker of it."""
    (directory / "backend.py").write_text(BACKEND)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "backend",
        "worker",
        "--concurrency",
        "4",
        "--pool",
        "threads",
        "-l",
        "INFO",
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(directory), "REDIS_URL": stack.redis_url}
    with (directory / "backend.log").open("wb") as log:
        worker = subprocess.Popen(
            [*command, "--hostname", "backend@%h"], cwd=directory, env=environment, stdout=log, stderr=log
        )
    app = Celery("backend", broker=stack.redis_url, set_as_current=False)
    try:
        stack.wait_for("the backend's worker", lambda: "ready." in (directory / "backend.log").read_text())
        yield app
    finally:
        worker.kill()
        worker.wait()
        app.close()


@pytest.fixture
def redis(stack: Stack) -> Iterator[Redis]:
    with Redis.from_url(stack.redis_url) as client:
        yield client


def a_task_of_ours_that_was_lost(stack: Stack, redis: Redis) -> None:
    """Puts into our unacknowledged tasks one that a killed worker left there long ago."""
    task = json.loads(bells.envelope("sms.settle", (), UPKEEP_QUEUE))
    redis.hset(UNACKED_KEY, "lost", json.dumps([task, UPKEEP_QUEUE, UPKEEP_QUEUE]))
    redis.zadd(f"{UNACKED_KEY}_index", {"lost": 1})


def test_a_backends_tasks_on_our_redis_run_as_often_with_our_workers_as_without(
    stack: Stack, redis: Redis, tmp_path: Path
) -> None:
    with backend_worker(stack, tmp_path) as backend:
        backend.send_task("long")
        backend.send_task("later", countdown=COUNTDOWN_SECONDS)
        stack.wait_for("both in its hands", lambda: redis.hlen("unacked") == 2 and redis.get("backend:long"))
        for tag, score in redis.zrange("unacked_index", 0, -1, withscores=True):
            redis.zadd("unacked_index", {tag: score - AGE_SECONDS})
        a_task_of_ours_that_was_lost(stack, redis)
        stack.wait_for("our own restored", lambda: not redis.hexists(UNACKED_KEY, "lost"), seconds=20)
        stack.wait_for("the other one", lambda: redis.get("backend:later"), seconds=30)
        redis.rpush("backend:go", "1")
        stack.wait_for("both acknowledged", lambda: not redis.hlen("unacked"), seconds=20)
        assert [redis.get(f"backend:{name}") for name in ("long", "later")] == [b"1", b"1"]


def test_what_a_backend_broadcasts_to_its_workers_does_not_reach_ours(stack: Stack, tmp_path: Path) -> None:
    with backend_worker(stack, tmp_path) as backend:
        answered = [name for reply in backend.control.ping(timeout=3) for name in reply]
        assert [name.partition("@")[0] for name in answered] == ["backend"]


def test_the_worker_looks_for_strange_queues_at_no_list_of_a_backend(stack: Stack, redis: Redis) -> None:
    redis.rpush("backend:list", "x")
    redis.rpush("sms.opt", "x")
    with Redis.from_url(stack.redis_url_of("worker")) as worker:
        assert [queue.name for queue in strange_queues(worker)] == ["sms.opt"]
    redis.delete("backend:list", "sms.opt")
