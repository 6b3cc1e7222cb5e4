"""Callers are the names that backend apps give themselves. Each caller gets an equal share of a lane's calls."""

from collections.abc import Collection
from dataclasses import replace
from unicodedata import normalize

from worker.domain.campaigns.campaign import CALLER_PREFIX
from worker.domain.message import Message

MAX_CALLER = 64
RESERVED = (CALLER_PREFIX, "campaign:")
"""Only the caller of a campaign begins with one of these."""


def caller_fault(caller: object) -> str | None:
    """The fault of a caller's name, with the remedy; None where the name is valid."""
    if not isinstance(caller, str) or not caller.isprintable() or not 0 < len(caller) <= MAX_CALLER:
        return f"is a name of 1 to {MAX_CALLER} printable characters"
    if _is_reserved(caller):
        return f"that begins with {' or '.join(RESERVED)} is a campaign; give another name"
    return None


def _is_reserved(caller: str) -> bool:
    # A name that only looks reserved, in capitals or full width, is reserved too.
    return normalize("NFKC", caller).casefold().startswith(RESERVED)


OTHERS = "(others)"
"""The one caller that stands for all callers that the settings do not name."""


def with_known_caller(message: Message, callers: Collection[str]) -> Message:
    """The message, with OTHERS for a caller that is not one of `callers`: invented names get one share together.

    Without `callers` every caller is known.
    """
    return message if not callers or message.caller in callers else replace(message, caller=OTHERS)


def as_caller(machine: str) -> str:
    """A valid caller's name made from the name of a machine, whatever characters it has."""
    name = "".join(char if char.isprintable() else "?" for char in machine[:MAX_CALLER])
    return f"?{name}"[:MAX_CALLER] if _is_reserved(name) else name
