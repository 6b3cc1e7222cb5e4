"""The text of a message: its length for the carrier, its faults, and warnings about what may keep it from arriving."""

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
"""The UTF-16 units of one text, with its signature. The vendor's document names no limit. Mainland gateways commonly
carry 1,000 (15 segments) as one long message (长短信)."""

_NAMED, _SHOWN = 3, 40
"""The most pieces of text that a warning names, and the most characters that it shows of each."""

_BREAKS = "\t\n\r"
"""The hidden characters that a text may have."""
_OPENED = re.compile(r"(?:[^\w【]|_)*【")


def units(text: str) -> int:
    """The length in UTF-16 units, as a carrier counts it: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def check_of(content: str) -> int:
    """A check number of a text, from 0 to 255. It stays when the text is wiped.

    It differs for most other texts, and reveals next to nothing of a code.
    """
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0]


def segments(content: str, signature: str = "") -> int:
    """How many parts are billed: one for up to 70 units, else one for each 67. The gateway's signature counts too."""
    length = units(content) + units(signature)
    return 1 if length <= SINGLE_UNITS else -(-length // PART_UNITS)


def content_faults(content: str) -> list[str]:
    """Every fault of a text, each with its remedy; empty if the text can be sent."""
    faults = []
    if not content.strip():
        faults.append("is empty; write the text to send")
    if (length := units(content)) > MAX_UNITS:
        faults.append(f"has {length} characters, more than the {MAX_UNITS} of one message; shorten or split it")
    if _is_signed(content):
        faults.append(
            "carries a signature 【…】 at its start or end; leave it out, the gateway adds it (else result -8 签名不对)"
        )
    if fault := _hidden_fault(content):
        faults.append(fault)
    return faults


def _hidden_fault(content: str) -> str | None:
    positions: dict[str, int] = {}
    for match in HIDDEN.finditer(content):
        if match[0] not in _BREAKS:
            positions.setdefault(match[0], match.start())
    if not positions:
        return None
    named = [f"{_name_of(char)} at position {position}" for char, position in islice(positions.items(), _NAMED)]
    more = f" and {len(positions) - _NAMED} more" if len(positions) > _NAMED else ""
    return f"has the character {', '.join(named)}{more}, which nobody sees; remove it"


def _is_signed(content: str) -> bool:
    """Whether people see a 【…】 before the first word or at the end, also in wide forms or behind hidden characters."""
    visible = UNSEEN.sub("", unicodedata.normalize("NFKC", content)).rstrip()
    opened = _OPENED.match(visible)
    if opened and "】" in visible[opened.end() :]:
        return True
    return visible.endswith("】") and "【" in visible[visible.rfind("】", 0, -1) + 1 :]


def _name_of(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X} ({name})" if name else f"U+{ord(char):04X}"


class Risk(StrEnum):
    """The kinds of things that often keep a text from arriving, or from being understood."""

    LINK = "link"
    PHONE = "phone number"
    BRACKETS = "brackets"
    NO_HINT = "no opt-out hint"
    WIDE = "emoji"
    PLACEHOLDER = "leftover"


class TextWarning(NamedTuple):
    """One thing in a text to check before it is sent: its kind, and a sentence that names it and says what to do."""

    risk: Risk
    text: str


# Neither the vendor's document nor a law has these rules: mainland platforms tell them to their own customers.
# - Links may only be of a site with an ICP filing, as a fixed part of the text. Short links are seldom allowed (Tencent
#   Cloud 382/40659).
# - Ways to reach a person are reviewed and often refused (Huawei Cloud, 模板审核驳回原因).
# - 【】 is the mark of a signature (Tencent Cloud 382/42834).
# - Marketing ends with how to opt out: TD, T or N (Alibaba Cloud 463290, Tencent Cloud), R (Huawei Cloud).
# Each carrier and province filters by rules of its own, which nobody publishes. A text with a warning may well arrive,
# and one without a warning may not. So these are warnings and not faults.
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
    # A shorter number may be anything, unless a word before it says so: 95588, 12345, a landline without its area.
    r"|(?:电话|致电|拨打?|热线|客服|咨询|详询|联系|来电|\btel|\bcall)[^0-9,;。]{0,6}"
    r"((?:1[0-9]{4}|9[56][0-9]{3,6}|[2-9][0-9]{6,7})(?![0-9]))",
    re.IGNORECASE,
)
_BRACKETS = re.compile("[【】]")
_HINT = re.compile(rf"退订|拒收|回复?\W{{0,2}}(?:{'|'.join(sorted(OPTOUT_WORDS))})(?![a-z0-9])", re.IGNORECASE)
_WIDE = re.compile("[\U00010000-\U0010ffff]")
_PLACEHOLDER = re.compile(
    r"[$#%]?\{[^{}]{0,30}\}{0,2}|\}|｛[^｛｝]{0,30}｝?|｝"
    r"|#(?:N/A|REF!|VALUE!|DIV/0!|NAME\?|NUM!|NULL!)|(?<![A-Za-z])(?:null|NULL|NaN|None|undefined)(?![A-Za-z])"
)
_RULES = (
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
        Risk.PLACEHOLDER,
        _PLACEHOLDER,
        "looks like an unfilled placeholder or a broken cell; check its template or its row",
    ),
)
_NO_HINT = TextWarning(
    Risk.NO_HINT,
    "there is no hint how to opt out, which carriers demand of marketing; end it with 拒收请回复R or 回T退订",
)


def warnings(content: str, *, marketing: bool) -> list[TextWarning]:
    """The warnings about a text without faults, at most one of each kind. A `marketing` text needs an opt-out hint."""
    # Carriers read full-width letters and digits like the others, as people do.
    text = unicodedata.normalize("NFKC", content)
    warned = []
    for risk, pattern, remedy in _RULES:
        pieces = dict.fromkeys(match[match.lastindex or 0][:_SHOWN] for match in pattern.finditer(text))
        if pieces:
            named = ", ".join(list(pieces)[:_NAMED]) + (" …" if len(pieces) > _NAMED else "")
            warned.append(TextWarning(risk, f"{named} {remedy}"))
    if marketing and not _HINT.search(text):
        warned.append(_NO_HINT)
    return warned
