"""Makes text from outside safe to show: writes out characters that command a terminal, break a line or hide."""

import re

_BESIDE_JOINER = "\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
HIDDEN = re.compile(
    # Controls, also tab and line break; format characters (Cf), which reverse the order or have no width.
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e007f"
    # Fillers, which Unicode counts as letters, marks or symbols, and which are invisible.
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    # Noncharacters, and halves of surrogate pairs.
    "\ufffe\uffff\ud800-\udfff]"
    # A joiner stays between the parts of an emoji.
    f"|(?<![{_BESIDE_JOINER}])\u200d|\u200d(?![{_BESIDE_JOINER}])"
)
"""A character that commands a terminal, breaks a line, or hides."""
UNSEEN = re.compile(f"{HIDDEN.pattern}|[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""HIDDEN, and the variation selectors, which only say how the character before them looks."""


def escaped(text: object, *, keep: str = "") -> str:
    r"""The text on one line, with hidden characters as \xNN or \uNNNN, except those in `keep`. UTF-8 can encode it."""
    return HIDDEN.sub(lambda match: match[0] if match[0] in keep else _visible(match[0]), str(text))


def escaped_json(text: str) -> str:
    r"""JSON of the same value, with hidden characters as \uNNNN. Line breaks between the values stay."""
    return HIDDEN.sub(lambda match: match[0] if match[0] == "\n" else _in_json(match[0]), text)


def _visible(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
