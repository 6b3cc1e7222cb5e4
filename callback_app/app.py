"""The Flask app: authenticate, keep, acknowledge.

The gateway repeats a push until it reads SUCCESS (protocol, 推送接口).
"""

import hmac
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, abort, jsonify, request
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

from callback_app.body import CutShort, TooLarge, read_body
from callback_app.inbox import BudgetSpent, Inbox, NotDurable, keep
from worker.config import LOOPBACK
from worker.ledger.engine import reading

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)

READY_SECONDS = 3
"""How long /readyz waits for the ledger and for Redis."""

UNKNOWN, FOREIGN = 401, 403
"""The statuses of /may-push for a wrong token and for a wrong address. nginx takes any other status for a fault."""


class _App(Flask):
    def log_exception(self, exc_info: Any) -> None:
        # Flask's own record would show the path, and so the token.
        log.error("a request failed", exc_info=exc_info)


Networks = Sequence[IPv4Network | IPv6Network]


@dataclass(frozen=True)
class _Access:
    """The senders that may push: `tokens` are the valid secrets in the path, `allow` the networks of the gateway."""

    tokens: Sequence[str]
    allow: Networks

    def refusal(self, token: str) -> int | None:
        """The status with which /may-push refuses the current request; None where it is allowed."""
        if not _is_one_of(token, self.tokens):
            return UNKNOWN
        if not _is_allowed(request.remote_addr, self.allow):
            log.warning(
                "a push with the right token came from %s, which SMS_PUSH_ALLOW does not name%s",
                request.remote_addr,
                _why_not_forwarded(request.environ),
            )
            return FOREIGN
        return None


def create_app(
    inbox: Inbox,
    *,
    tokens: Sequence[str],
    allow: Networks,
    trusted_proxies: int = 0,
    proxy_networks: Networks = LOOPBACK,
) -> Flask:
    """Makes the app. `tokens` are the valid secrets in the path, and `allow` the networks that may push.

    `trusted_proxies` is the number of proxies in front of the app. The last of them connects from `proxy_networks`.
    """
    app = _App("callback_app", static_folder=None)
    if trusted_proxies:
        app.wsgi_app = _behind(app.wsgi_app, trusted_proxies, proxy_networks)  # type: ignore[method-assign, assignment]  # as Flask documents it
    app.register_blueprint(_pushes(inbox, _Access(tokens, allow)))
    app.register_blueprint(_probes(inbox))
    return app


def _pushes(inbox: Inbox, access: _Access) -> Blueprint:
    """The routes for the gateway, and for nginx, which asks before it reads a body."""
    routes = Blueprint("pushes", __name__)

    @routes.get("/may-push/<path:token>")
    def may_push(token: str) -> Response:
        """Answers 204 and the sender's address, or a status that nginx passes on."""
        refusal = access.refusal(token)
        return Response(status=refusal or 204, headers={} if refusal else {"X-Sender": str(request.remote_addr)})

    @routes.route("/push/<path:token>", methods=["GET", "POST"], provide_automatic_options=False)
    def push(token: str) -> Response:
        if refusal := access.refusal(token):
            abort(404 if refusal == UNKNOWN else 403)
        try:
            keep(inbox, read_body(request.environ), str(request.remote_addr))
        except TooLarge:
            abort(413)
        except CutShort:
            abort(400)
        except BudgetSpent as error:
            log.warning("a push was refused with 503, and the gateway must repeat it: %s", error)
            abort(503)
        except NotDurable:
            log.exception("neither the ledger nor Redis could keep a push, and the gateway must repeat it")
            abort(503)
        return Response("SUCCESS", mimetype="text/plain")

    return routes


def _probes(inbox: Inbox) -> Blueprint:
    """The routes that say whether the app is alive, and whether it can keep a push."""
    routes = Blueprint("probes", __name__)
    threads = ThreadPoolExecutor(2, thread_name_prefix="readyz")

    @routes.get("/healthz")
    def healthz() -> Response:
        return Response("ok", mimetype="text/plain")

    @routes.get("/readyz")
    def readyz() -> tuple[Response, int]:
        futures = {"ledger": threads.submit(_ask_ledger, inbox), "redis": threads.submit(_ask_redis, inbox)}
        answers = {name: _answer(future) for name, future in futures.items()}
        # One of the two is enough to keep a push. With a 503 here, a load balancer would keep pushes from the app.
        return jsonify(answers), 200 if "ok" in answers.values() else 503

    return routes


_DISTRUSTED = "sms.distrusted_proxy"


def _behind(app: "WSGIApplication", proxies: int, networks: Networks) -> "WSGIApplication":
    """Makes the app trust X-Forwarded-For only from our own proxies: any other sender could write anything there."""
    forwarded = ProxyFix(app, x_for=proxies, x_proto=0)

    def behind(environ: dict[str, Any], start_response: Any) -> Any:
        peer = environ.get("REMOTE_ADDR")
        # A Unix socket has no address, and only this machine can connect to it.
        if not peer or _is_allowed(peer, networks):
            return forwarded(environ, start_response)
        environ[_DISTRUSTED] = peer
        return app(environ, start_response)

    return behind


def _why_not_forwarded(environ: dict[str, Any]) -> str:
    if _DISTRUSTED not in environ or "HTTP_X_FORWARDED_FOR" not in environ:
        return ""
    return "; its X-Forwarded-For does not count, because SMS_PUSH_PROXY_NETWORKS does not name it either"


def _is_one_of(token: str, tokens: Sequence[str]) -> bool:
    # A list, not a generator: every token is compared, so that the time reveals nothing.
    return any([hmac.compare_digest(token.encode(), known.encode()) for known in tokens])  # noqa: C419


def _is_allowed(address: str | None, allow: Networks) -> bool:
    try:
        ip = ip_address(address or "")
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in allow)


def _ask_ledger(inbox: Inbox) -> None:
    with reading(inbox.engine) as connection:
        connection.execute(text("SELECT 1"))


def _ask_redis(inbox: Inbox) -> None:
    inbox.redis.ping()


def _answer(future: Future[Any]) -> str:
    try:
        future.result(READY_SECONDS)
    except LateError:
        return f"no answer within {READY_SECONDS} s"
    except (SQLAlchemyError, RedisError) as error:
        return f"away: {type(error).__name__}"
    return "ok"
