"""The address of a Redis. It holds a password, so an error about it shows this text, and no part of the address."""

import re
from urllib.parse import urlsplit

NO_REDIS = (
    "is not an address of a Redis; write it like redis://redis:6379/0, or rediss:// for TLS,"
    " and in its password %2F for /, %23 for #, %3F for ? and %40 for @"
)


def is_redis_address(url: str) -> bool:
    """Whether `url` is a valid address. A bare / or # in a password would turn a part of it into host or database."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in ("redis", "rediss") or "#" in url or "@" in parts.query:
        return False
    return "@" not in parts.netloc.rpartition("@")[0] and re.fullmatch(r"/?|/\d+", parts.path) is not None
