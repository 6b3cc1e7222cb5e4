"""Reads the raw body of a push, whole or not at all.

It takes any Content-Type, chunked or not, by POST or as the query of a GET.
"""

from typing import Any
from urllib.parse import unquote_plus, unquote_to_bytes

from gunicorn.http.errors import ParseException

MAX_BODY_BYTES = 4 * 1024 * 1024
"""The size of some 20,000 reports. deploy/nginx.conf has the same limit."""


class TooLarge(ValueError):
    """The body has more than MAX_BODY_BYTES."""


class CutShort(ValueError):
    """The sender stopped before the end of the body, or sent no body."""


def read_body(environ: dict[str, Any]) -> bytes:
    """Returns the raw push in a WSGI request. Raises TooLarge or CutShort.

    It does not use Werkzeug's own limit. That silently cuts a chunked body, and the app would acknowledge half a push.
    """
    body = _read_query(environ.get("QUERY_STRING", "")) if environ["REQUEST_METHOD"] == "GET" else _read_stream(environ)
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge
    if not body.strip():
        raise CutShort
    return body


def _read_query(query: str) -> bytes:
    """Like the vendor's receiver, it takes a push whose whole query string is the XML, raw or form-encoded."""
    if "<" in query:
        return unquote_to_bytes(query)
    return unquote_plus(query, encoding="latin-1").encode("latin-1")


def _read_stream(environ: dict[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    declared = int(length) if length else None
    if declared is None and not environ.get("wsgi.input_terminated"):
        raise CutShort
    if declared is not None and declared > MAX_BODY_BYTES:
        raise TooLarge
    parts: list[bytes] = []
    missing = MAX_BODY_BYTES + 1 if declared is None else declared
    try:
        while missing and (part := environ["wsgi.input"].read(min(missing, 65536))):
            parts.append(part)
            missing -= len(part)
    except (OSError, ParseException) as error:  # the connection or a chunk broke off
        raise CutShort from error
    if declared is not None and missing:
        raise CutShort
    return b"".join(parts)
