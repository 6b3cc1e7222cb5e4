"""The gateway: whether it can be reached, and whether others can read what is sent to it."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from worker.config import Settings
from worker.gateway.client import endpoint, open_session, why_unreachable
from worker.maintenance.checks.check import LOOK, WRONG, Check, judge


def check_gateway(settings: Settings) -> Check:
    """Whether something listens at the gateway's address, with a certificate that counts. No message is sent to it."""
    address = urlsplit(settings.gateway_url)
    host = address.hostname or ""
    place = f"{host}:{address.port or (443 if address.scheme == 'https' else 80)}"
    in_clear = "; in clear: anybody on the way can read texts, mobiles and the key, and forge answers"
    if address.scheme == "https" or _is_this_machine(host):
        in_clear = ""
    if why := _why_unreachable(settings):
        remedy = "correct SMS_GATEWAY_URL or SMS_GATEWAY_CA, or let this machine connect to it"
        return Check("gateway", WRONG, f"{place}: {why}{in_clear}", remedy)
    remedy = "use https:// if the gateway has it, else a tunnel: docs/security.md"
    return judge("gateway", not in_clear, f"{place} can be reached{in_clear}", remedy, LOOK)


def _why_unreachable(settings: Settings) -> str | None:
    try:
        with open_session(1, settings.gateway_ca) as session:
            return why_unreachable(session, endpoint(settings))
    except (OSError, ValueError) as error:  # the certificates of the environment, or the address
        return str(error)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
