"""The text of a message: how long it is for the carrier, and what makes it unsendable."""

import re

SINGLE_UNITS = 70
PART_UNITS = 67
MAX_UNITS = 1000
"""UTF-16 units of one text, signature and all. The vendor's document names no limit; 1,000 (15 segments) is what mainland
gateways commonly carry as one long message (长短信)."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_SIGNED = re.compile(r"\s*【[^】]*】|.*【[^】]*】\s*$", re.DOTALL)


def units(text: str) -> int:
    """The length in UTF-16 units, as a carrier counts it: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


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
    if _SIGNED.match(content):
        faults.append(
            "carries a signature 【…】 at its start or end; leave it out, the gateway adds it (else result -8 签名不对)"
        )
    if found := _CONTROL.search(content):
        faults.append(
            f"has the character U+{ord(found[0]):04X} at position {found.start()}, which no text carries; remove it"
        )
    return faults
