"""The settings: for which processes they are enough."""

from typing import get_args

from worker.config import ConfigError, Gap, Role, load_settings
from worker.maintenance.checks.check import LOOK, OK, WRONG, Check


def check_settings() -> Check:
    """For which roles these settings are enough.

    Each process has its own settings, but commands need those of client and ledger.
    """
    enough: list[str] = []
    gaps: dict[Gap, list[str]] = {}
    for role in get_args(Role):
        try:
            load_settings(role)
            enough.append(role)
        except ConfigError as error:
            for gap in error.gaps:
                gaps.setdefault(gap, []).append(role)
    remedy = "\n".join(f"for {', '.join(roles)}: {gap.text}" for gap, roles in gaps.items())
    state = OK if not gaps else LOOK if {"client", "ledger"} <= set(enough) else WRONG
    return Check("settings", state, f"enough for {', '.join(enough) or 'nothing'}", remedy or None)
