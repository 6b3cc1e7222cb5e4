"""The Flask app: authenticate, keep, acknowledge. The gateway repeats a push until it reads SUCCESS (protocol, 推送接口)."""

import hmac
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, jsonify, request
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
"""What /may-push answers to a wrong token, and to a wrong address: nginx's auth_request takes any other for a fault."""


class _App(Flask):
    def log_exception(self, exc_info: Any) -> None:
        # Flask's own line has the path in it, and so the token.
        log.error("a request failed", exc_info=exc_info)


Networks = Sequence[IPv4Network | IPv6Network]


def create_app(
    inbox: Inbox,
    *,
    tokens: Sequence[str],
    allow: Networks,
    trusted_proxies: int = 0,
    proxy_networks: Networks = LOOPBACK,
) -> Flask:
    """The app. Any of `tokens` is the secret in the path, `allow` is who may push.

    `trusted_proxies` is how many stand before us, and `proxy_networks` from where the last of them connects.
    """
    app = _App("callback_app", static_folder=None)
    if trusted_proxies:
        app.wsgi_app = _behind(app.wsgi_app, trusted_proxies, proxy_networks)  # type: ignore[method-assign, assignment]
    probes = ThreadPoolExecutor(2, thread_name_prefix="readyz")

    def refused(given: str) -> int | None:
        """Why who asks may not push, as /may-push has it; None: he may."""
        if not _is_one_of(given, tokens):
            return UNKNOWN
        if not _allowed(request.remote_addr, allow):
            log.warning(
                "a push with the right token came from %s, which SMS_PUSH_ALLOW does not name%s",
                request.remote_addr,
                _why_not_forwarded(request.environ),
            )
            return FOREIGN
        return None

    @app.get("/may-push/<path:given>")
    def may_push(given: str) -> Response:
        """What nginx asks before it reads a body: 204 and whose push it is, or a status of those that it hands on."""
        refusal = refused(given)
        return Response(status=refusal or 204, headers={} if refusal else {"X-Sender": str(request.remote_addr)})

    @app.route("/push/<path:given>", methods=["GET", "POST"], provide_automatic_options=False)
    def push(given: str) -> Response:
        if refusal := refused(given):
            abort(404 if refusal == UNKNOWN else 403)
        try:
            keep(inbox, read_body(request.environ), str(request.remote_addr))
        except TooLarge:
            abort(413)
        except CutShort:
            abort(400)
        except BudgetSpent as why:
            log.warning("a push was refused with 503, and the gateway has to come again: %s", why)
            abort(503)
        except NotDurable:
            log.exception("neither the ledger nor Redis could keep a push, the gateway has to come again")
            abort(503)
        return Response("SUCCESS", mimetype="text/plain")

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok", mimetype="text/plain")

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        asked = {"ledger": probes.submit(_ask_ledger, inbox), "redis": probes.submit(_ask_redis, inbox)}
        answers = {name: _answer(future) for name, future in asked.items()}
        # One of the two is enough to keep a push; to be taken out of service for the other would turn pushes away.
        return jsonify(answers), 200 if "ok" in answers.values() else 503

    return app


_DISTRUSTED = "sms.distrusted_proxy"


def _behind(app: "WSGIApplication", proxies: int, networks: Networks) -> "WSGIApplication":
    """The app, that reads X-Forwarded-For only where one of our proxies connects: anybody else could write anything there."""
    forwarded = ProxyFix(app, x_for=proxies, x_proto=0)

    def behind(environ: dict[str, Any], start_response: Any) -> Any:
        peer = environ.get("REMOTE_ADDR")
        # A Unix socket has no address, and nobody beyond this machine.
        if not peer or _allowed(peer, networks):
            return forwarded(environ, start_response)
        environ[_DISTRUSTED] = peer
        return app(environ, start_response)

    return behind


def _why_not_forwarded(environ: dict[str, Any]) -> str:
    if _DISTRUSTED not in environ or "HTTP_X_FORWARDED_FOR" not in environ:
        return ""
    return "; its X-Forwarded-For does not count, for SMS_PUSH_PROXY_NETWORKS does not name it either"


def _is_one_of(given: str, tokens: Sequence[str]) -> bool:
    # A list: each is compared, so that the time tells nothing.
    return any([hmac.compare_digest(given.encode(), token.encode()) for token in tokens])  # noqa: C419


def _allowed(address: str | None, allow: Networks) -> bool:
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


def _answer(asked: Future[Any]) -> str:
    try:
        asked.result(READY_SECONDS)
    except LateError:
        return f"no answer within {READY_SECONDS} s"
    except (SQLAlchemyError, RedisError) as why:
        return f"away: {type(why).__name__}"
    return "ok"
