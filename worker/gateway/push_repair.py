"""Repairs the text of a push that is not XML, as far as gateways are known to write such text.

All of it is plain text work, in time linear to the text. The result is parsed as strictly as any push.
"""

import re
from collections.abc import Collection, Iterator

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""It stands for a character that cannot be read."""

_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,32})["']""")
_CODECS = {"gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "utf-16": "utf-16", "utf-8": "utf-8"}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_MISTAKES = 0.1
"""A text with a larger share of wrong characters, of those beyond ASCII, is not UTF-8 but in another encoding."""

# To the end of the section, or of the text where it has none.
_CDATA = r"<!\[CDATA\[[^\]]*(?:\](?!\]>)[^\]]*)*(?:\]\]>)?"
_COMMENT = r"<!--[^-]*(?:-(?!->)[^-]*)*(?:-->)?"
_REFERENCE = re.compile(rf"{_CDATA}|&(?:#(?:[xX]([0-9A-Fa-f]{{1,8}})|([0-9]{{1,9}}));|(?!(?:amp|lt|gt|quot|apos);))")
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FIRST_ELEMENT = re.compile(r"<([A-Za-z_][\w.:-]{0,63})")
_HEAD = re.compile(r"<(type|count)>([^<]{0,200})</\1>")


def decoded(body: bytes) -> str:
    """The text of a body, in its declared encoding, else in UTF-8, else in GBK. Wrong bytes become UNREADABLE."""
    mark = next((codec for mark, codec in _MARKS.items() if body.startswith(mark)), None)
    declared = _DECLARED.search(body[:300])
    name = mark or (_CODECS.get(declared[1].decode().lower()) if declared else None)
    if name:
        text = _decoded(body, name)
        if text is not None:
            return text
    text = body.decode("utf-8", "replace")
    if text.count(UNREADABLE) <= _MISTAKES * sum(map(_is_beyond_ascii, text)):
        return text
    return _decoded(body, "gb18030") or text


def _decoded(body: bytes, codec: str) -> str | None:
    try:
        return body.decode(codec)
    except UnicodeDecodeError:
        return None


def _is_beyond_ascii(character: str) -> bool:
    return character > "\x7f"


def repaired(text: str) -> str:
    """The text with valid references and characters. References in CDATA sections stay as they are.

    A pair of surrogate references becomes the one character that it stands for. A bare `&` becomes `&amp;`. A reference
    or character that XML does not allow becomes UNREADABLE.
    """
    text = _REFERENCE.sub(_reference, text)
    # A pair of surrogates becomes its character, and a surrogate without a partner UNREADABLE.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _NO_CHARACTER.sub(UNREADABLE, text)


def _reference(match: re.Match[str]) -> str:
    written = match[0]
    if written == "&":
        return "&amp;"
    if not written.startswith("&"):
        return written
    code = int(match[1], 16) if match[1] else int(match[2])
    if 0xD800 <= code <= 0xDFFF:
        return chr(code)
    if code > 0x10FFFF or _NO_CHARACTER.match(chr(code)):
        return UNREADABLE
    return f"&#{code};"


def first_element(text: str) -> str | None:
    """The name of the first element; None without one."""
    match = _FIRST_ELEMENT.search(text)
    return match and match[1]


def head_of(text: str) -> dict[str, str]:
    """The fields `type` and `count` before the list, as far as they are there."""
    return {match[1]: match[2] for match in _HEAD.finditer(text.partition("<list")[0])}


def item_texts(text: str, tags: Collection[str]) -> Iterator[str]:
    """The text of each element with one of these tags, up to its end tag, the next such element or the end.

    Tags within a CDATA section or a comment do not count: a person wrote them.
    """
    marks = re.compile(rf"{_CDATA}|{_COMMENT}|<(/?)(?:{'|'.join(tags)})\b[^<>]*>")
    start: int | None = None
    for mark in marks.finditer(text):
        if mark[1] is None:
            continue
        if mark[1] and start is not None:
            yield text[start : mark.end()]
            start = None
        elif not mark[1]:
            if start is not None:
                yield text[start : mark.start()]
            start = mark.start()
    if start is not None:
        yield text[start:]
