"""The text of a message: how long it is for the carrier, what makes it unsendable, and what may keep it from arriving."""

import re
import unicodedata
from enum import StrEnum
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from worker.domain.escape import HIDDEN, UNSEEN
from worker.domain.optout import OPTOUT_WORDS

SINGLE_UNITS = 70
PART_UNITS = 67
MAX_UNITS = 1000
"""UTF-16 units of one text, signature and all. The vendor's document names no limit; 1,000 (15 segments) is what mainland
gateways commonly carry as one long message (长短信)."""

_NAMED, _SHOWN = 3, 40
"""So many things of a kind are named, and so many characters of a piece of text."""

_BREAKS = "\t\n\r"
"""What of the hidden characters a text may have."""
_OPENED = re.compile(r"(?:[^\w【]|_)*【")


def units(text: str) -> int:
    """The length in UTF-16 units, as a carrier counts it: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def check_of(content: str) -> int:
    """A number from 0 to 255 that tells most other texts from this one, and of a code next to nothing: it stays when a text is wiped."""
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0]


def segments(content: str, signature: str = "") -> int:
    """How many parts are billed: 70 units fit alone, else 67 to a part, the signature that the gateway adds included."""
    length = units(content) + units(signature)
    return 1 if length <= SINGLE_UNITS else -(-length // PART_UNITS)


def content_faults(content: str) -> list[str]:
    """Everything that is wrong with a text, each with its remedy; empty if it can go out."""
    faults = []
    if not content.strip():
        faults.append("is empty; write the text to send")
    if (length := units(content)) > MAX_UNITS:
        faults.append(f"has {length} characters, more than the {MAX_UNITS} of one message; shorten or split it")
    if _is_signed(content):
        faults.append(
            "carries a signature 【…】 at its start or end; leave it out, the gateway adds it (else result -8 签名不对)"
        )
    hidden: dict[str, int] = {}
    for found in HIDDEN.finditer(content):
        if found[0] not in _BREAKS:
            hidden.setdefault(found[0], found.start())
    if hidden:
        named = [f"{_named(char)} at position {place}" for char, place in islice(hidden.items(), _NAMED)]
        more = f" and {len(hidden) - _NAMED} more" if len(hidden) > _NAMED else ""
        faults.append(f"has the character {', '.join(named)}{more}, which nobody sees; remove it")
    return faults


def _is_signed(content: str) -> bool:
    """Whether people see a 【…】 before the first word, or at the end: also behind what they do not see, or in other forms."""
    seen = UNSEEN.sub("", unicodedata.normalize("NFKC", content)).rstrip()
    opened = _OPENED.match(seen)
    if opened and "】" in seen[opened.end() :]:
        return True
    return seen.endswith("】") and "【" in seen[seen.rfind("】", 0, -1) + 1 :]


def _named(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X} ({name})" if name else f"U+{ord(char):04X}"


class Risk(StrEnum):
    """What often keeps a text from arriving, or from being read as it was meant."""

    LINK = "link"
    PHONE = "phone number"
    BRACKETS = "brackets"
    NO_HINT = "no opt-out hint"
    WIDE = "emoji"
    LEFTOVER = "leftover"


class Warned(NamedTuple):
    """One thing in a text to look at before it goes: what kind it is, and a sentence that names it and says what to do."""

    risk: Risk
    text: str


# Neither the vendor's document nor a law has these: they are what mainland platforms tell their own customers. Links: only of a
# site with an ICP filing, as a fixed part of the text, and short links seldom (Tencent Cloud 382/40659). Ways to reach a person: reviewed,
# often refused (Huawei Cloud, 模板审核驳回原因). 【】 is the mark of a signature (Tencent Cloud 382/42834). Marketing ends with how to opt out:
# TD, T or N (Alibaba Cloud 463290, Tencent Cloud), R (Huawei Cloud). Each carrier and province filters by rules of its own that nobody
# publishes: a text that is warned of may well go through, and one that is not may not. So these are warnings and no faults.
_ENDINGS = "com|cn|net|org|cc|top|vip|xyz|io|me|co|tv|im|info|biz|shop|club|site|store|online|link|ltd|app|pub|fun|ink|tech|wang|mobi"
_IN_LINK = r"[a-z0-9/?=&%#~:._+-]"
_LINK = re.compile(
    rf"https?://{_IN_LINK}*|(?<![a-z0-9@.-])(?:www\.{_IN_LINK}+|(?:[a-z0-9-]+\.)+"
    rf"(?:(?:{_ENDINGS})(?![a-z0-9-])(?:[/?:]{_IN_LINK}*)?|[a-z]{{2,}}/{_IN_LINK}+))",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![0-9])(?:(?:\+?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"  # a mobile
    r"|\(?0[1-9][0-9]{1,2}\)?[ -]?[2-9][0-9]{6,7}"  # a landline with its area
    r"|[48]00(?:[ -]?[0-9]){7})(?![0-9])"  # 400, 800
    # Shorter ones may be anything, but for what is said before them: 95588, 12345, a landline without its area.
    r"|(?:电话|致电|拨打?|热线|客服|咨询|详询|联系|来电|\btel|\bcall)[^0-9,;。]{0,6}"
    r"((?:1[0-9]{4}|9[56][0-9]{3,6}|[2-9][0-9]{6,7})(?![0-9]))",
    re.IGNORECASE,
)
_BRACKETS = re.compile("[【】]")
_HINT = re.compile(rf"退订|拒收|回复?\W{{0,2}}(?:{'|'.join(sorted(OPTOUT_WORDS))})(?![a-z0-9])", re.IGNORECASE)
_WIDE = re.compile("[\U00010000-\U0010ffff]")
_LEFTOVER = re.compile(
    r"[$#%]?\{[^{}]{0,30}\}{0,2}|\}|｛[^｛｝]{0,30}｝?|｝"
    r"|#(?:N/A|REF!|VALUE!|DIV/0!|NAME\?|NUM!|NULL!)|(?<![A-Za-z])(?:null|NULL|NaN|None|undefined)(?![A-Za-z])"
)
_FOUND = (
    (Risk.LINK, _LINK, "is a link, which many carriers block; leave it out, or ask the gateway to have it allowed"),
    (
        Risk.PHONE,
        _PHONE,
        "is a phone number, which many carriers block; leave it out, or ask the gateway to have it allowed",
    ),
    (
        Risk.BRACKETS,
        _BRACKETS,
        'is the mark of a signature, for which the gateway may refuse the text; write 「」 or ""',
    ),
    (Risk.WIDE, _WIDE, "counts as two characters, and not every gateway and phone shows it; leave it out"),
    (
        Risk.LEFTOVER,
        _LEFTOVER,
        "looks like a place that was not filled or a cell that was broken; see to its template or its row",
    ),
)
_NO_HINT = Warned(
    Risk.NO_HINT,
    "there is no hint how to opt out, which carriers demand of marketing; end it with 拒收请回复R or 回T退订",
)


def warnings(content: str, *, marketing: bool) -> list[Warned]:
    """What in a text that can be sent may keep it from arriving, each kind once; empty where nothing is known to."""
    # Full-width letters and digits are read like the others, by carriers as by people.
    text = unicodedata.normalize("NFKC", content)
    found = []
    for risk, pattern, remedy in _FOUND:
        pieces = dict.fromkeys(one[one.lastindex or 0][:_SHOWN] for one in pattern.finditer(text))
        if pieces:
            named = ", ".join(list(pieces)[:_NAMED]) + (" …" if len(pieces) > _NAMED else "")
            found.append(Warned(risk, f"{named} {remedy}"))
    if marketing and not _HINT.search(text):
        found.append(_NO_HINT)
    return found
