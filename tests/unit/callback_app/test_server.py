"""What callback_app/server.py relies on in gunicorn, which has no public hook for the arrival of a request.

If one of these fails after an upgrade of gunicorn, read `gunicorn/workers/gthread.py`: when is a connection queued, handled and
finished, and what does the main loop call at least once a second? Then change `Worker` in callback_app/server.py, and run
tests/system/test_callback_hostile.py, which stalls real requests.
"""

import inspect

import pytest
from gunicorn.workers.gthread import ThreadWorker

from callback_app.server import Worker

OVERRIDDEN = ("init_process", "enqueue_req", "handle", "finish_request", "murder_pending")


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_gunicorn_has_the_method_that_we_override_with_the_same_parameters(name: str) -> None:
    ours, theirs = inspect.signature(getattr(Worker, name)), inspect.signature(getattr(ThreadWorker, name))
    assert list(ours.parameters) == list(theirs.parameters)


@pytest.mark.parametrize(
    ("caller", "called"),
    [
        ("run", "murder_pending"),
        ("accept", "enqueue_req"),
        ("on_client_socket_readable", "enqueue_req"),
        ("on_pending_socket_readable", "enqueue_req"),
        ("enqueue_req", "handle"),
    ],
)
def test_gunicorn_calls_the_method_where_we_count_on_it(caller: str, called: str) -> None:
    assert called in getattr(ThreadWorker, caller).__code__.co_names


def test_a_request_is_finished_once_its_thread_is_done() -> None:
    callback, *_ = [code for code in ThreadWorker.enqueue_req.__code__.co_consts if inspect.iscode(code)]
    assert "finish_request" in callback.co_names


def test_we_override_no_other_method() -> None:
    ours = {name for name, value in vars(Worker).items() if inspect.isfunction(value)}
    assert ours == set(OVERRIDDEN)
