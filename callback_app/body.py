"""Reads the raw body of a push, whole or not at all.

It takes any Content-Type, chunked or not, by POST or as the query of a GET.
"""

from typing import Any
from urllib.parse import unquote_plus, unquote_to_bytes

from gunicorn.http.errors import ParseException

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Some 20,000 reports. deploy/nginx.conf has the same limit."""


class TooLarge(ValueError):
    """The body has more than MAX_BODY_BYTES."""


class CutShort(ValueError):
    """The sender stopped before the end of the body, or sent no body."""


def read_body(environ: dict[str, Any]) -> bytes:
    """The push in a WSGI request. Raises TooLarge or CutShort.

    Werkzeug's own limit is not used: it silently cuts a chunked body at the limit, and half a push would be
    acknowledged.
    """
    body = _read_query(environ.get("QUERY_STRING", "")) if environ["REQUEST_METHOD"] == "GET" else _read_stream(environ)
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge
    if not body.strip():
        raise CutShort
    return body


def _read_query(query: str) -> bytes:
    """The vendor's receiver takes a push whose whole query string is the XML, written raw or form-encoded."""
    if "<" in query:
        return unquote_to_bytes(query)
    return unquote_plus(query, encoding="latin-1").encode("latin-1")


def _read_stream(environ: dict[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    wanted = int(length) if length else None
    if wanted is None and not environ.get("wsgi.input_terminated"):
        raise CutShort
    if wanted is not None and wanted > MAX_BODY_BYTES:
        raise TooLarge
    parts: list[bytes] = []
    left = MAX_BODY_BYTES + 1 if wanted is None else wanted
    try:
        while left and (part := environ["wsgi.input"].read(min(left, 65536))):
            parts.append(part)
            left -= len(part)
    except (OSError, ParseException) as error:  # the connection or a chunk broke off
        raise CutShort from error
    if wanted is not None and left:
        raise CutShort
    return b"".join(parts)
