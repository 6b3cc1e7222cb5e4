"""The environment variables that begin with SMS_: which of them mean nothing, and the secrets that are in files."""

import difflib
import re
from collections.abc import Collection, Mapping

from worker.config.gaps import Gap
from worker.config.settings import PREFIX, SECRETS, VARIABLES, variable
from worker.config.values import read_secret

_OF_A_SERVICE = re.compile(
    r"SMS_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_ADDRESS_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def unknown_variables(environment: Mapping[str, str]) -> list[Gap]:
    """Variables that begin with SMS_ and are not settings: a misspelt setting would silently keep its default."""
    unknown = {name for name in environment if name.startswith(PREFIX)} - VARIABLES
    return [
        Gap(name, f"{name} is not a setting; {_meant(name)}")
        for name in sorted(unknown)
        if not _is_of_a_service(name, environment[name])
    ]


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, VARIABLES, 1)
    return f"did you mean {close[0]}?" if close else "docs/configuration.md lists the settings"


def _is_of_a_service(name: str, value: str) -> bool:
    """Whether Kubernetes sets this variable, for a Service of the namespace that is named sms, sms-redis or the like.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    if _OF_A_SERVICE.fullmatch(name):
        return True
    return name.endswith("_PORT") and _ADDRESS_OF_A_SERVICE.fullmatch(value) is not None


def read_secret_files(environment: Mapping[str, str], needs: Collection[str]) -> tuple[dict[str, str], list[Gap]]:
    """The secrets given as SMS_…_FILE, by the name of the setting, and what is wrong with them."""
    secrets: dict[str, str] = {}
    gaps: list[Gap] = []
    for name in SECRETS:
        path = environment.get(f"{variable(name)}_FILE")
        if not path:
            continue
        if environment.get(variable(name)):
            gaps.append(
                Gap(variable(name), f"{variable(name)} and {variable(name)}_FILE are both given; give one of them")
            )
        try:
            secrets[name] = read_secret(path)
        except ValueError as error:
            # Processes that share a host may be given files that they cannot and need not read.
            if name in needs or (name == "password" and "accounts" in needs):
                gaps.append(Gap(variable(name), f"{variable(name)}_FILE: {error}"))
    return secrets, gaps
