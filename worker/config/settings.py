"""The settings as values: each field with its bounds and its default."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.config import values
from worker.config.values import LOOPBACK, Network
from worker.domain.caps import Cap
from worker.domain.hours import Hours
from worker.domain.key import KEY_DAYS
from worker.domain.lane import LANES, Lane
from worker.domain.optout import OPTOUT_WORDS
from worker.domain.outcome import NOT_TAKEN_STATUSES
from worker.domain.rate import Rate

PREFIX = "SMS_"
DEFAULT_GATEWAY = "http://client.sms10000.com/api/webservice"
"""The address in the vendor's document."""

_Signature = Annotated[str, Field(max_length=32), AfterValidator(values.check_signature)]


class Account(BaseModel):
    """An account at the gateway: eprId, userId and password of the vendor's document, and its limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    epr_id: int
    user_id: str
    password: SecretStr
    rate: float | None = Field(default=None, gt=0, le=100_000)
    mobile_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    signature: _Signature = ""
    time_zone: Annotated[ZoneInfo, BeforeValidator(values.read_zone)] = ZoneInfo("Asia/Shanghai")
    not_taken: Annotated[frozenset[int], BeforeValidator(values.read_statuses)] = NOT_TAKEN_STATUSES

    @property
    def limit(self) -> Rate:
        """How many calls and how many mobiles a second the gateway allows the account."""
        return Rate(self.rate, self.mobile_rate)

    @model_validator(mode="before")
    @classmethod
    def _with_password(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "password_file" not in options:
            return options
        others = {name: value for name, value in options.items() if name != "password_file"}
        return others | {"password": values.read_secret(options["password_file"])}


class LaneOptions(BaseModel):
    """What the operator sets for a lane.

    `apply_to` uses only the fields that are set. The real defaults are in `domain.lane.LANES`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    resend_unknown: Literal["never", "once", "probable"] = "never"
    validity: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=7))] | None = None
    floor: float = Field(default=0, ge=0, lt=1)
    hours: Annotated[Hours | None, BeforeValidator(values.read_lane_hours)] = None
    caps: Annotated[tuple[Cap, ...], BeforeValidator(values.read_caps)] = ()
    keep_text: bool = False

    def apply_to(self, lane: Lane) -> Lane:
        """The lane with the options that are given; its other values stay."""
        return replace(lane, **{name: getattr(self, name) for name in self.model_fields_set})


class Settings(BaseSettings):
    """Every setting, from the variable SMS_ and its name in capitals. docs/configuration.md says what each is for."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    redis_url: SecretStr | None = None
    ledger_url: SecretStr | None = None
    gateway_url: Annotated[str, AfterValidator(values.check_url)] = DEFAULT_GATEWAY
    gateway_ca: Path | None = None
    gateway_method: Literal["post", "get"] = "post"
    gateway_format: Literal["json", "xml"] = "json"
    epr_id: int | None = None
    user_id: str | None = None
    password: SecretStr | None = None
    push_token: Annotated[SecretStr, AfterValidator(values.check_tokens)] | None = None
    push_allow: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(values.read_networks)] = ()
    push_trusted_proxies: int = Field(default=0, ge=0, le=10)
    push_proxy_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(values.read_networks)] = LOOPBACK
    push_hourly_mib: int = Field(default=2048, ge=8, le=1_000_000)
    connect_timeout: float = Field(default=5, gt=0, le=60)
    read_timeout: float = Field(default=30, gt=0, le=300)
    rate: float | None = Field(default=None, gt=0, le=100_000)
    mobile_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    signature: _Signature = ""
    not_taken: Annotated[frozenset[int], NoDecode, BeforeValidator(values.read_statuses)] = NOT_TAKEN_STATUSES
    optout_words: Annotated[frozenset[str], NoDecode, BeforeValidator(values.read_words)] = OPTOUT_WORDS
    callers: Annotated[frozenset[str], NoDecode, BeforeValidator(values.read_callers)] = frozenset()
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
        """The lanes that send an unknown submission once more."""
        return frozenset(name for name, lane in self.lanes.items() if lane.resend_unknown == "once")

    @property
    def probable_lanes(self) -> frozenset[str]:
        """The lanes that send an unknown submission once more if the gateway probably did not take it."""
        return frozenset(name for name, lane in self.lanes.items() if lane.resend_unknown == "probable")

    @property
    def credentials(self) -> dict[str, tuple[int, str]]:
        """The eprId and the userId of each account: the gateway names accounts by them."""
        return {name: (account.epr_id, account.user_id) for name, account in self.accounts.items()}

    @property
    def report_wait(self) -> timedelta:
        """How long an accepted submission waits for its reports."""
        return timedelta(hours=self.report_hours)

    @property
    def keep_time(self) -> timedelta:
        """How long the bodies of pushes and refused messages are kept."""
        return timedelta(days=self.keep_days)

    @property
    def lease(self) -> timedelta:
        """How long a claimed submission may take: the call, its retries (a few seconds), and some time in reserve."""
        return timedelta(seconds=3 * self.connect_timeout + self.read_timeout + 15)

    @property
    def push_tokens(self) -> tuple[str, ...]:
        """The secrets that the path of a push may have: one, or the new one and the old one while it is changed."""
        return () if self.push_token is None else values.split_tokens(self.push_token)


ACCOUNT_OPTIONS = (*Account.model_fields, "password_file")
"""What the file of SMS_CONFIG may say of an account."""
CREDENTIALS = ("epr_id", "user_id", "password")
OPTIONS = ("rate", "mobile_rate", "signature", "not_taken")
"""The other options of the account of SMS_EPR_ID, each with a variable of its own."""
SECRETS = ("redis_url", "ledger_url", "password", "push_token")
"""Settings that may also be given as the path of a file, in SMS_…_FILE."""

VARIABLES = frozenset(
    {PREFIX + name.upper() for name in Settings.model_fields if name not in ("accounts", "lanes")}
    | {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
)
"""Every environment variable that means something here."""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()
