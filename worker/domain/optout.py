"""Opting out: which replies say that somebody wants no marketing any more."""

import unicodedata
from collections.abc import Collection

from worker.domain.escape import UNSEEN


def folded(text: str) -> str:
    """The text without what does not count: blanks, what nobody sees, full or half width, upper or lower case, and 。 . or ! at its end."""
    return "".join(UNSEEN.sub("", unicodedata.normalize("NFKC", text)).split()).rstrip("。.!").casefold()


OPTOUT_WORDS = frozenset(map(folded, ("TD", "T", "N", "R", "退订", "退")))
"""What people are told to reply, and what they do (回复TD退订, 拒收请回复R)."""


def is_optout(content: str, words: Collection[str] = OPTOUT_WORDS) -> bool:
    """Whether a reply is one of the words (folded) and nothing else: a T within a sentence is a letter."""
    return folded(content) in words


USUAL_OPTOUTS = 100
"""So many by one push, or in an hour, alarm nobody: gateways gather replies, and a campaign brings many."""


def is_unusual(last_hour: int, week_before: int) -> bool:
    """Whether so many opt-outs in an hour are to be looked at: ten times what the hours of the week before had on the average."""
    return last_hour > max(USUAL_OPTOUTS, 10 * week_before / (7 * 24))
