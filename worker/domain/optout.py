"""Opting out: the replies by which people refuse marketing."""

import unicodedata
from collections.abc import Collection

from worker.domain.escape import UNSEEN


def normalised(text: str) -> str:
    """The text for comparison: in half width and lower case, without blanks, invisible characters and final 。 . or !"""
    return "".join(UNSEEN.sub("", unicodedata.normalize("NFKC", text)).split()).rstrip("。.!").casefold()


OPTOUT_WORDS = frozenset(map(normalised, ("TD", "T", "N", "R", "退订", "退")))
"""The replies that texts ask for, and those that people send (回复TD退订, 拒收请回复R)."""


def is_optout(content: str, words: Collection[str] = OPTOUT_WORDS) -> bool:
    """Whether a reply is one of `words` (normalised) and nothing else: a T within a sentence is only a letter."""
    return normalised(content) in words


USUAL_OPTOUTS = 100
"""This many opt-outs by one push, or in an hour, are usual: gateways gather replies, and a campaign causes many."""


def is_unusual(last_hour: int, week_before: int) -> bool:
    """Whether this many opt-outs in an hour need a look: more than ten times the average of the week before."""
    return last_hour > max(USUAL_OPTOUTS, 10 * week_before / (7 * 24))
