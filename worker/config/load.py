"""Loads the settings and checks them as a whole: every gap is in one error."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError

from worker.config.addresses import wrong_addresses
from worker.config.environment import read_secret_files, unknown_variables
from worker.config.file import ConfigFile
from worker.config.gaps import ConfigError, Gap, details, sentence
from worker.config.needs import NEEDS, NO_ACCOUNT, Role, is_given, missing
from worker.config.settings import CREDENTIALS, OPTIONS, Account, Settings, variable
from worker.domain.message import MAX_ACCOUNT


def load_settings(*roles: Role) -> Settings:
    """The settings, with all that the roles need. Raises ConfigError, which lists every gap and its remedy."""
    needs = {need for role in roles for need in NEEDS[role]}
    secrets, unreadable = read_secret_files(os.environ, needs)
    gaps = unknown_variables(os.environ) + missing(os.environ, needs) + unreadable
    try:
        settings = _with_file(Settings(**secrets), gaps)  # type: ignore[arg-type]  # pydantic makes them SecretStr
    except ValidationError as error:
        names = [(variable(str(fault["loc"][0])), sentence(fault)) for fault in details(error)]
        raise ConfigError([*gaps, *(Gap(name, f"{name}: {fault}") for name, fault in names)]) from None
    gaps += [*_wrong_accounts(settings), *wrong_addresses(settings, needs)]
    if "accounts" in needs and _lacks_account(settings, os.environ, gaps):
        gaps.append(NO_ACCOUNT)
    if gaps:
        raise ConfigError(gaps)
    return settings


def revealed(secret: SecretStr | None) -> str:
    """The secret in the clear, for the code that uses it. Only settings that the role needs are sure to be there."""
    if secret is None:
        raise ConfigError(
            [Gap("", "a secret was used that this process did not ask for; this is a fault of the program; report it")]
        )
    return secret.get_secret_value()


def _with_file(settings: Settings, gaps: list[Gap]) -> Settings:
    """The settings with all accounts and lanes. Adds what is wrong with the file of SMS_CONFIG to `gaps`."""
    file = ConfigFile(settings.config)
    gaps += file.gaps
    own = _own_account(settings)
    if own and "default" in file.accounts:
        text = "[accounts.default] is the account of SMS_EPR_ID already; give one of them"
        gaps.append(Gap("SMS_CONFIG", f"SMS_CONFIG: {settings.config}: {text}"))
    accounts = {"default": own} if own else {}
    return settings.model_copy(update={"accounts": accounts | file.accounts, "lanes": file.lanes})


def _own_account(settings: Settings) -> Account | None:
    """The account of SMS_EPR_ID, where all of its credentials are given."""
    credentials = {name: getattr(settings, name) for name in CREDENTIALS}
    if None in credentials.values():
        return None
    return Account.model_validate(credentials | {name: getattr(settings, name) for name in OPTIONS})


def _lacks_account(settings: Settings, environment: Mapping[str, str], gaps: Collection[Gap]) -> bool:
    """Whether the file of SMS_CONFIG has no account, and no gap says why yet."""
    if settings.config is None or settings.accounts or any(is_given(environment, name) for name in CREDENTIALS):
        return False
    return all(gap.name != "SMS_CONFIG" for gap in gaps)


def _wrong_accounts(settings: Settings) -> list[Gap]:
    """Names that no message can have, and credentials that two accounts have: a push would belong to either."""
    gaps = [
        _in_file(
            settings.config,
            f"[accounts.{name[:70]}]: the name of an account has 1 to {MAX_ACCOUNT} printable characters",
        )
        for name in settings.accounts
        if not 0 < len(name) <= MAX_ACCOUNT or not name.isprintable()
    ]
    first: dict[tuple[int, str], str] = {}
    for name, credentials in settings.credentials.items():
        other = first.setdefault(credentials, name)
        if other != name:
            text = f"the accounts {other} and {name} have the same eprId and userId; give one of them"
            gaps.append(Gap("SMS_CONFIG", text))
    return gaps


def _in_file(path: Path | None, text: str) -> Gap:
    return Gap("SMS_CONFIG", f"SMS_CONFIG: {path}: {text}")
