"""Callers: the names that backend apps give themselves, by which what waits has equal shares."""

from collections.abc import Collection
from dataclasses import replace
from unicodedata import normalize

from worker.domain.campaigns.campaign import CALLER
from worker.domain.message import Message

MAX_CALLER = 64
RESERVED = (CALLER, "campaign:")
"""What only a campaign's name as a caller begins with."""


def caller_fault(caller: object) -> str | None:
    """What is wrong with the name of a caller, with the remedy; None where it will do."""
    if not isinstance(caller, str) or not caller.isprintable() or not 0 < len(caller) <= MAX_CALLER:
        return f"is a name of 1 to {MAX_CALLER} printable characters"
    if _is_reserved(caller):
        return f"that begins with {' or '.join(RESERVED)} is a campaign; give another name"
    return None


def _is_reserved(caller: str) -> bool:
    # Also one that only looks so, in capitals or full width.
    return normalize("NFKC", caller).casefold().startswith(RESERVED)


OTHERS = "(others)"
"""The caller that those are together whom the settings do not name."""


def with_known_caller(message: Message, callers: Collection[str]) -> Message:
    """The message; a caller that is none of these becomes OTHERS, so that invented names share one share. Without names all are known."""
    return message if not callers or message.caller in callers else replace(message, caller=OTHERS)


def as_caller(machine: str) -> str:
    """A machine's name as the name of a caller: whatever it holds, it is one."""
    name = "".join(one if one.isprintable() else "?" for one in machine[:MAX_CALLER])
    return f"?{name}"[:MAX_CALLER] if _is_reserved(name) else name
