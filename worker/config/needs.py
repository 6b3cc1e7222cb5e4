"""What each process needs of the settings, and what to do where it is missing."""

from collections.abc import Collection, Mapping
from typing import Literal

from worker.config.gaps import Gap
from worker.config.settings import CREDENTIALS, variable

Role = Literal["worker", "beat", "callback", "client", "ledger"]

NEEDS: dict[Role, tuple[str, ...]] = {
    "worker": ("redis_url", "ledger_url", "accounts"),
    "beat": ("redis_url",),
    "callback": ("redis_url", "ledger_url", "push_token", "push_allow"),
    "client": ("redis_url",),
    "ledger": ("ledger_url",),
}
"""The settings without which each role cannot run."""

REMEDIES = {
    "redis_url": "the address of Redis, such as redis://redis:6379/0",
    "ledger_url": "the address of the database, such as postgresql://sms:…@postgres/sms or sqlite:////var/lib/sms/ledger.db",
    "push_token": "the secret in the path of the callback URL, 16 characters or more; while you change it, both with a comma between them",
    "push_allow": "the networks that the gateway pushes from, as CIDRs with commas between them; 0.0.0.0/0,::/0 allows everybody",
}
"""What to give for each setting. NO_ACCOUNT says the same for an account."""

NO_ACCOUNT = Gap(
    "accounts",
    "the gateway account is missing: set SMS_EPR_ID, SMS_USER_ID and SMS_PASSWORD, or name accounts in the file of SMS_CONFIG",
)


def missing(environment: Mapping[str, str], needs: Collection[str]) -> list[Gap]:
    """Needed settings that the environment gives neither by value nor by file.

    Whether the file of SMS_CONFIG has an account is not looked at.
    """
    gaps = [
        Gap(variable(need), f"{variable(need)} is missing: {remedy}")
        for need, remedy in REMEDIES.items()
        if need in needs and not is_given(environment, need)
    ]
    return [*gaps, *_missing_account(environment)] if "accounts" in needs else gaps


def _missing_account(environment: Mapping[str, str]) -> list[Gap]:
    names = [variable(name) for name in CREDENTIALS if not is_given(environment, name)]
    if len(names) == len(CREDENTIALS):
        return [] if is_given(environment, "config") else [NO_ACCOUNT]
    if not names:
        return []
    are = "is" if len(names) == 1 else "are"
    return [Gap(names[0], f"{' and '.join(names)} {are} missing: an account needs eprId, userId and password together")]


def is_given(environment: Mapping[str, str], name: str) -> bool:
    """Whether the setting is there, as a value or as the path of a file."""
    return bool(environment.get(variable(name)) or environment.get(f"{variable(name)}_FILE"))
