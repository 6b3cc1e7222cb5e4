"""The settings, from the environment and for further accounts from a TOML file; checked whole, with every gap in one error.

Each process asks for what its role needs, so that each can be given no more than that: the callback app has no gateway password.
"""

import difflib
import os
import re
import ssl
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis import Redis

from worker.domain.address import NO_REDIS, is_redis_address
from worker.domain.caller import caller_fault
from worker.domain.caps import Cap, read_cap
from worker.domain.hours import Hours, read_hours
from worker.domain.key import KEY_DAYS
from worker.domain.lane import LANES, Lane
from worker.domain.message import MAX_ACCOUNT
from worker.domain.optout import OPTOUT_WORDS, folded
from worker.domain.outcome import NOT_TAKEN
from worker.domain.rate import Rate

PREFIX = "SMS_"
DEFAULT_GATEWAY = "http://client.sms10000.com/api/webservice"
"""The address in the vendor's document."""

SIGNATURE = r"^(【[^【】]+】)?$"

Role = Literal["worker", "beat", "callback", "client", "ledger"]

NEEDS: dict[Role, tuple[str, ...]] = {
    "worker": ("redis_url", "ledger_url", "accounts"),
    "beat": ("redis_url",),
    "callback": ("redis_url", "ledger_url", "push_token", "push_allow"),
    "client": ("redis_url",),
    "ledger": ("ledger_url",),
}
"""What each role cannot do without."""

REMEDIES = {
    "redis_url": "the broker and the intake, such as redis://redis:6379/0",
    "ledger_url": "the database, such as postgresql://sms:…@postgres/sms or sqlite:////var/lib/sms/ledger.db",
    "accounts": "the gateway account: set SMS_EPR_ID, SMS_USER_ID and SMS_PASSWORD, or name accounts in the file of SMS_CONFIG",
    "push_token": "the secret in the path of the callback URL, 16 characters or more; two with a comma between while you change it",
    "push_allow": "the addresses that the gateway pushes from, as CIDRs with commas between; 0.0.0.0/0,::/0 is everybody",
}


class ConfigError(ValueError):
    """Something is missing from the settings or wrong with them; the text lists all of it, with what to do."""


Network = IPv4Network | IPv6Network


def _networks(value: Any) -> Any:
    return tuple(ip_network(part.strip()) for part in value.split(",")) if isinstance(value, str) else value


LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))


def _one_or_two_tokens(value: SecretStr) -> SecretStr:
    given = _split(value)
    if len(given) > 2 or min(map(len, given)) < 16:
        raise ValueError("one token of 16 characters or more, or two with a comma between")
    return value


def _split(tokens: SecretStr) -> tuple[str, ...]:
    return tuple(part.strip() for part in tokens.get_secret_value().split(","))


def _words(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    words = frozenset(map(folded, re.split("[,，]", written))) - {""}
    if not words:
        raise ValueError("give at least one word, with commas between; without any nobody could opt out")
    return words


def _callers(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    names = frozenset(name.strip() for name in written.split(",")) - {""}
    faults = [f"{name!r} {fault}" for name in sorted(names) if (fault := caller_fault(name))]
    if faults:
        raise ValueError("; ".join(faults))
    return names


def _hours(written: Any) -> Hours | None:
    return None if written == "always" else read_hours(str(written))


def _caps(written: Any) -> Any:
    if not isinstance(written, list):
        raise ValueError('write a list of them, like ["1/minute", "5/hour"]')  # noqa: TRY004 - pydantic tells ValueErrors
    return tuple(dict.fromkeys(read_cap(str(one)) for one in written))  # one that is there twice would count twice


def _statuses(written: Any) -> Any:
    """HTTP statuses that say that a call was not taken: a list of them, or a text with commas between."""
    given = written.split(",") if isinstance(written, str) else written
    try:
        statuses = frozenset(int(one) for one in given)
    except (TypeError, ValueError):
        statuses = frozenset({0})
    if not all(400 <= status <= 599 for status in statuses):
        raise ValueError("name HTTP statuses from 400 to 599, like 429,503; any other may mean that the call was taken")
    return statuses


def _zone(name: Any) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError) as why:
        raise ValueError(f"{name!r} is no time zone; write one like Asia/Shanghai") from why


class Account(BaseModel):
    """Credentials of the gateway: eprId, userId and password of the vendor's document."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    epr_id: int
    user_id: str
    password: SecretStr
    rate: float | None = Field(default=None, gt=0, le=100_000)
    mobile_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    signature: str = Field(default="", max_length=32, pattern=SIGNATURE)
    time_zone: Annotated[ZoneInfo, BeforeValidator(_zone)] = ZoneInfo("Asia/Shanghai")
    not_taken: Annotated[frozenset[int], BeforeValidator(_statuses)] = NOT_TAKEN

    @property
    def limit(self) -> Rate:
        """The calls and the mobiles a second that the gateway allows the account."""
        return Rate(self.rate, self.mobile_rate)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "password_file" in values:
            values = dict(values)
            values["password"] = _read_secret(values.pop("password_file"))
        return values


class LaneOptions(BaseModel):
    """What the operator decides about a lane."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    resend_unknown: Literal["never", "once", "probable"] = "never"
    validity: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=7))] | None = None
    floor: float = Field(default=0, ge=0, lt=1)
    hours: Annotated[Hours | None, BeforeValidator(_hours)] = None
    caps: Annotated[tuple[Cap, ...], BeforeValidator(_caps)] = ()
    keep_text: bool = False

    def of(self, lane: Lane) -> Lane:
        """The lane with these options, and the others as they are."""
        return replace(lane, **{name: getattr(self, name) for name in self.model_fields_set})


class Settings(BaseSettings):
    """Every setting, each from the variable SMS_ and its name in capitals; the table in docs/configuration.md says what it is for."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    redis_url: SecretStr | None = None
    ledger_url: SecretStr | None = None
    gateway_url: str = Field(default=DEFAULT_GATEWAY, pattern=r"^https?://\S+$")
    gateway_ca: Path | None = None
    gateway_method: Literal["post", "get"] = "post"
    gateway_format: Literal["json", "xml"] = "json"
    epr_id: int | None = None
    user_id: str | None = None
    password: SecretStr | None = None
    push_token: Annotated[SecretStr, AfterValidator(_one_or_two_tokens)] | None = None
    push_allow: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    push_trusted_proxies: int = Field(default=0, ge=0, le=10)
    push_proxy_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = LOOPBACK
    push_hourly_mib: int = Field(default=2048, ge=8, le=1_000_000)
    connect_timeout: float = Field(default=5, gt=0, le=60)
    read_timeout: float = Field(default=30, gt=0, le=300)
    rate: float | None = Field(default=None, gt=0, le=100_000)
    mobile_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    signature: str = Field(default="", max_length=32, pattern=SIGNATURE)
    not_taken: Annotated[frozenset[int], NoDecode, BeforeValidator(_statuses)] = NOT_TAKEN
    optout_words: Annotated[frozenset[str], NoDecode, BeforeValidator(_words)] = OPTOUT_WORDS
    callers: Annotated[frozenset[str], NoDecode, BeforeValidator(_callers)] = frozenset()
    max_mobiles: int = Field(default=50, ge=1, le=1000)
    unknown_in_a_row: int = Field(default=5, ge=1, le=1000)
    report_hours: float = Field(default=72, gt=0, le=8760)
    keep_days: float = Field(default=90, gt=0, le=36_500)
    key_days: int = Field(default=KEY_DAYS, ge=1, le=366)
    config: Path | None = None

    accounts: dict[str, Account] = Field(default_factory=dict, exclude=True)
    lanes: dict[str, Lane] = Field(default_factory=lambda: dict(LANES), exclude=True)

    @property
    def resend_lanes(self) -> frozenset[str]:
        """The lanes in which a submission that is unknown is sent once more."""
        return frozenset(name for name, lane in self.lanes.items() if lane.resend_unknown == "once")

    @property
    def probable_lanes(self) -> frozenset[str]:
        """The lanes in which a submission that is unknown is sent once more where it was probably not taken."""
        return frozenset(name for name, lane in self.lanes.items() if lane.resend_unknown == "probable")

    @property
    def credentials(self) -> dict[str, tuple[int, str]]:
        """The eprId and the userId of each account, by which the gateway names it."""
        return {name: (account.epr_id, account.user_id) for name, account in self.accounts.items()}

    @property
    def report_wait(self) -> timedelta:
        """How long a submission that was accepted waits for its reports."""
        return timedelta(hours=self.report_hours)

    @property
    def keep_time(self) -> timedelta:
        """How long the bodies of pushes, and refused messages, are kept."""
        return timedelta(days=self.keep_days)

    @property
    def lease(self) -> timedelta:
        """How long a claimed submission may take: a call with its retries (a few seconds), and then some."""
        return timedelta(seconds=3 * self.connect_timeout + self.read_timeout + 15)

    @property
    def push_tokens(self) -> tuple[str, ...]:
        """The secrets that the path of a push may have: one, or while it is changed the new one and the old one."""
        return () if self.push_token is None else _split(self.push_token)


ACCOUNT_NAMES = (*Account.model_fields, "password_file")
"""What the file may say of an account."""
CREDENTIALS = ("epr_id", "user_id", "password")
OPTIONS = ("rate", "mobile_rate", "signature", "not_taken")
"""What else of the account of SMS_EPR_ID has a variable."""
SECRETS = ("redis_url", "ledger_url", "password", "push_token")
"""What may also be given as the path of a file, in SMS_…_FILE."""


def _read_secret(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as why:
        raise ConfigError(f"the secret file {path} cannot be read: {why}") from why


VARIABLES = frozenset(
    {PREFIX + name.upper() for name in Settings.model_fields if name not in ("accounts", "lanes")}
    | {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
)
"""Every environment variable that means something here."""


_LEDGER = re.compile(
    r"sqlite://.*|postgresql(\+psycopg)?://([^:/]*(:[^@]*)?@)?(\[[^/?]+\]|[^/:?@]*)(:\d*)?(/[^?]*)?(\?.*)?", re.DOTALL
)
"""The databases that `ledger.engine` opens, written as SQLAlchemy reads them."""


def _wrong_addresses(settings: Settings) -> list[str]:
    """What could never be connected to: said now, for whoever connects would try it for ever. An address may have a password in it."""
    gaps = []
    ledger = settings.ledger_url and settings.ledger_url.get_secret_value()
    if ledger and ledger.startswith("postgres://"):
        gaps.append("SMS_LEDGER_URL is no address of a database as it stands; write postgresql:// for postgres://")
    elif ledger and not _LEDGER.fullmatch(ledger):
        gaps.append(
            "SMS_LEDGER_URL is no address of a database; write it like postgresql://sms:…@postgres/sms"
            " or sqlite:////var/lib/sms/ledger.db, with %40 for an @ in its password"
        )
    try:
        _ = urlsplit(settings.gateway_url).port
    except ValueError:
        gaps.append("SMS_GATEWAY_URL has a port that is none; write one from 1 to 65535")
    redis = settings.redis_url and settings.redis_url.get_secret_value()
    if redis and not _is_redis(redis):
        gaps.append(f"SMS_REDIS_URL {NO_REDIS}")
    return gaps


def _wrong_ca(settings: Settings, needs: Collection[str]) -> list[str]:
    # On a host that several processes share, one that calls no gateway may be told of a file that it cannot read.
    if settings.gateway_ca is None or "accounts" not in needs:
        return []
    if not settings.gateway_url.startswith("https:"):
        return ["SMS_GATEWAY_CA means nothing while SMS_GATEWAY_URL is http://; write https://, or leave it out"]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=settings.gateway_ca)
    except OSError as why:  # an SSLError is one
        return [f"SMS_GATEWAY_CA: {settings.gateway_ca} is no PEM file of certificates that can be read: {why}"]
    return []


def _is_redis(url: str) -> bool:
    """Whether redis-py and Celery both connect to it: a Unix socket they write differently, so there is no URL for one."""
    try:
        Redis.from_url(url).close()
    except ValueError:
        return False
    return is_redis_address(url)


def revealed(secret: SecretStr | None) -> str:
    """The secret in the clear, for the one who uses it. Only for settings that the role needs: those are there."""
    if secret is None:
        raise ConfigError("a setting was used that this process has not asked for")
    return secret.get_secret_value()


def load_settings(*roles: Role) -> Settings:
    """The settings, with all that the roles need. Raises ConfigError, which lists every gap and its remedy."""
    needs = {need for role in roles for need in NEEDS[role]}
    gaps = _unknown(os.environ) + _missing(os.environ, needs)
    try:
        settings = Settings(**_secrets_in_files(os.environ, needs, gaps))
        _read_file(settings, gaps)
        gaps += _wrong_accounts(settings) + _wrong_addresses(settings) + _wrong_ca(settings, needs)
        # Where the file is wrong, or is not given, that is told already.
        if "accounts" in needs and settings.config and not settings.accounts and not _has_part(os.environ):
            gaps += [] if any("SMS_CONFIG" in gap for gap in gaps) else [f"no account is there: {REMEDIES['accounts']}"]
    except ValidationError as error:
        gaps += [f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in _errors(error)]
    except ConfigError as error:
        gaps.append(str(error))
    if gaps:
        raise ConfigError("the settings are not complete:\n" + "\n".join(f"  - {gap}" for gap in gaps))
    return settings


_OF_A_SERVICE = re.compile(
    r"SMS_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_ADDRESS_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def _is_of_a_service(name: str, value: str) -> bool:
    """Whether Kubernetes sets this variable: it does for each Service of the namespace, and one may be named sms or sms-redis.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    if _OF_A_SERVICE.fullmatch(name):
        return True
    return name.endswith("_PORT") and _ADDRESS_OF_A_SERVICE.fullmatch(value) is not None


def _unknown(environment: Mapping[str, str]) -> list[str]:
    gaps = []
    unknown = {name for name in environment if name.startswith(PREFIX)} - VARIABLES
    for name in sorted(name for name in unknown if not _is_of_a_service(name, environment[name])):
        meant = difflib.get_close_matches(name, VARIABLES, 1)
        gaps.append(f"{name} is no setting" + (f"; did you mean {meant[0]}?" if meant else "; README.md lists them"))
    return gaps


def _secrets_in_files(environment: Mapping[str, str], needs: Collection[str], gaps: list[str]) -> dict[str, Any]:
    found = {}
    for name in SECRETS:
        variable = PREFIX + name.upper()
        path = environment.get(f"{variable}_FILE")
        if not path:
            continue
        if environment.get(variable):
            gaps.append(f"{variable} and {variable}_FILE are both given; give one of them")
        try:
            found[name] = _read_secret(path)
        except ConfigError as error:
            # On a host that several processes share, one may be given files that it cannot and need not read.
            if name in needs or (name == "password" and "accounts" in needs):
                gaps.append(f"{variable}_FILE: {error}")
    return found


def _missing(environment: Mapping[str, str], needs: Collection[str]) -> list[str]:
    def given(name: str) -> bool:
        variable = PREFIX + name.upper()
        return bool(environment.get(variable) or environment.get(f"{variable}_FILE"))

    gaps = [
        f"{PREFIX}{need.upper()} is missing: {REMEDIES[need]}"
        for need in REMEDIES
        if need in needs and need != "accounts" and not given(need)
    ]
    parts = [name for name in CREDENTIALS if not given(name)]
    if "accounts" not in needs:
        return gaps
    if len(parts) == len(CREDENTIALS):
        if not given("config"):
            gaps.append(f"no account is there: {REMEDIES['accounts']}")
    elif parts:
        names = " and ".join(PREFIX + name.upper() for name in parts)
        gaps.append(f"{names} missing: an account is eprId, userId and password together")
    return gaps


def _read_file(settings: Settings, gaps: list[str]) -> None:
    given = {name: getattr(settings, name) for name in CREDENTIALS}
    if None not in given.values():
        options = {name: getattr(settings, name) for name in OPTIONS}
        settings.accounts["default"] = Account.model_validate(given | options)
    if settings.config is None:
        return
    place = f"SMS_CONFIG: {settings.config}"
    try:
        content = tomllib.loads(settings.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as why:
        gaps.append(f"{place} cannot be read: {why}")
        return
    for section, tables in content.items():
        if section not in ("accounts", "lanes") or not isinstance(tables, dict):
            gaps.append(f"{place}: [{section}] means nothing here")
            continue
        for name, values in tables.items():
            where = f"{place}: [{section}.{name}]"
            try:
                if section == "accounts":
                    if name in settings.accounts:
                        gaps.append(f"{where} is the account of SMS_EPR_ID already; give one of them")
                    settings.accounts[name] = Account.model_validate(values)
                elif name not in LANES:
                    gaps.append(f"{where} means nothing here; the lanes are {', '.join(LANES)}")
                else:
                    said = LaneOptions.model_validate(values)
                    if name != "otp" and "keep_text" in said.model_fields_set:
                        gaps.append(f"{where} keep_text is an option of otp alone: other texts are kept; leave it out")
                    settings.lanes[name] = said.of(LANES[name])
            except ValidationError as error:
                names = ACCOUNT_NAMES if section == "accounts" else tuple(LaneOptions.model_fields)
                gaps += [f"{where} {'.'.join(map(str, one['loc']))}: {_fault(one, names)}" for one in _errors(error)]


def _fault(error: ErrorDetails, names: Collection[str]) -> str:
    if error["type"] != "extra_forbidden":
        return error["msg"]
    meant = difflib.get_close_matches(str(error["loc"][-1]), names, 1)
    return "is no setting" + (f"; did you mean {meant[0]}?" if meant else f"; the settings are: {', '.join(names)}")


def _has_part(environment: Mapping[str, str]) -> bool:
    """Whether a part of the account of SMS_EPR_ID is given: what is missing of it is told by itself."""
    variables = (PREFIX + name.upper() for name in CREDENTIALS)
    return any(environment.get(name) or environment.get(f"{name}_FILE") for name in variables)


def _wrong_accounts(settings: Settings) -> list[str]:
    """Names that no message can have, and credentials that are there twice: a push would belong to either."""
    gaps = [
        f"SMS_CONFIG: {settings.config}: [accounts.{name[:70]}]: the name of an account has 1 to {MAX_ACCOUNT} printable characters"
        for name in settings.accounts
        if not 0 < len(name) <= MAX_ACCOUNT or not name.isprintable()
    ]
    first: dict[tuple[int, str], str] = {}
    for name, keys in settings.credentials.items():
        other = first.setdefault(keys, name)
        if other != name:
            gaps.append(f"the accounts {other} and {name} have the same eprId and userId; give one of them")
    return gaps


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_input=False, include_url=False)
