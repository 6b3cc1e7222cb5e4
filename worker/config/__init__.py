"""The settings: from the environment and, for further accounts and for lanes, from the TOML file of SMS_CONFIG.

Each process asks for what its role needs, so that each can be given no more than that: the callback app has no gateway
password.
"""

from worker.config.gaps import ConfigError, Gap
from worker.config.load import load_settings, revealed
from worker.config.needs import Role
from worker.config.settings import DEFAULT_GATEWAY, SECRETS, VARIABLES, Account, LaneOptions, Settings
from worker.config.values import LOOPBACK

__all__ = [
    "DEFAULT_GATEWAY",
    "LOOPBACK",
    "SECRETS",
    "VARIABLES",
    "Account",
    "ConfigError",
    "Gap",
    "LaneOptions",
    "Role",
    "Settings",
    "load_settings",
    "revealed",
]
