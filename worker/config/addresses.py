"""Addresses that nothing could ever connect to. They are refused at the start: a process would try them for ever.

An address may have a password in it, so no sentence quotes one.
"""

import re
import ssl
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from redis import Redis

from worker.config.gaps import Gap
from worker.config.settings import Settings
from worker.domain.address import NO_REDIS, is_redis_address

_LEDGER = re.compile(
    r"sqlite://.*|postgresql(\+psycopg)?://([^:/]*(:[^@]*)?@)?(\[[^/?]+\]|[^/:?@]*)(:\d*)?(/[^?]*)?(\?.*)?", re.DOTALL
)
"""The databases that `ledger.engine` opens, written as SQLAlchemy reads them."""


def is_ledger_address(url: str) -> bool:
    """Whether `ledger.engine` can open a database at an address like this."""
    return _LEDGER.fullmatch(url) is not None


def wrong_addresses(settings: Settings, needs: Collection[str]) -> Iterator[Gap]:
    """What is wrong with the addresses of the ledger, the gateway and Redis, and with the gateway's authorities."""
    ledger = settings.ledger_url and settings.ledger_url.get_secret_value()
    if ledger and ledger.startswith("postgres://"):
        yield Gap(
            "SMS_LEDGER_URL", "SMS_LEDGER_URL is not the address of a database; write postgresql:// for postgres://"
        )
    elif ledger and not is_ledger_address(ledger):
        yield Gap(
            "SMS_LEDGER_URL",
            "SMS_LEDGER_URL is not the address of a database; write it like postgresql://sms:…@postgres/sms"
            " or sqlite:////var/lib/sms/ledger.db, with %40 for an @ in its password",
        )
    try:
        _ = urlsplit(settings.gateway_url).port
    except ValueError:
        yield Gap("SMS_GATEWAY_URL", "SMS_GATEWAY_URL has a port that does not exist; write one from 1 to 65535")
    redis = settings.redis_url and settings.redis_url.get_secret_value()
    if redis and not _is_redis(redis):
        yield Gap("SMS_REDIS_URL", f"SMS_REDIS_URL {NO_REDIS}")
    # A process that never calls the gateway may be given a file that it cannot read.
    if settings.gateway_ca and "accounts" in needs:
        yield from _wrong_authorities(settings)


def _wrong_authorities(settings: Settings) -> Iterator[Gap]:
    if not settings.gateway_url.startswith("https:"):
        yield Gap(
            "SMS_GATEWAY_CA",
            "SMS_GATEWAY_CA has no effect while SMS_GATEWAY_URL is http://; write https://, or leave it out",
        )
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=settings.gateway_ca)
    except OSError as error:  # an SSLError is one
        yield Gap(
            "SMS_GATEWAY_CA",
            f"SMS_GATEWAY_CA: {settings.gateway_ca} cannot be read as a PEM file of certificates: {error}",
        )


def _is_redis(url: str) -> bool:
    """Whether redis-py and Celery both connect to it.

    They write a Unix socket differently, so no URL of one is allowed.
    """
    try:
        Redis.from_url(url).close()
    except ValueError:
        return False
    return is_redis_address(url)
