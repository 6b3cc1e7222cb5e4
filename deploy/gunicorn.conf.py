"""Gunicorn for the callback app, behind nginx.

A slow request holds a thread for a few seconds at most (callback_app/server.py). All the same, its client should be a
proxy that hands over whole requests, as deploy/nginx.conf does.
"""

from worker.runtime import log_filter

bind = "127.0.0.1:8000"  # for the proxy of this machine; docker-compose.yml has the container's own network
worker_class = "callback_app.server.Worker"
workers = 2
threads = 8
worker_tmp_dir = "/dev/shm"  # noqa: S108  # the heartbeat file: in memory, for a slow disk would look like a dead worker
control_socket_disable = True  # it would lie in a home folder, and there is none

timeout = 30
graceful_timeout = 20
keepalive = 2
max_requests = 20_000
max_requests_jitter = 2_000

limit_request_line = 8190  # the most it can be: a push by GET has its XML in the query
limit_request_fields = 32
limit_request_field_size = 4096

# No access log: the path holds the push token, the query may hold mobiles. nginx logs what can be told.
accesslog = None


def on_starting(_server) -> None:
    # The settings are read by its workers: the master masks mobiles and paths, and knows no secret.
    log_filter.install()
