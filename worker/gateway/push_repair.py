"""Putting right the text of a push that is not XML: what gateways are known to write, and what of it can be understood.

All of it is plain text work, in time linear to the text. What comes of it is parsed as strictly as any push.
"""

import re
from collections.abc import Collection, Iterator

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""It stands where a character cannot be read."""

_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,32})["']""")
_CODECS = {"gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "utf-16": "utf-16", "utf-8": "utf-8"}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_MISTAKES = 0.1
"""A text in another encoding has more characters than this share that are no UTF-8."""

# To the end of the section, or of the text where it has none.
_CDATA = r"<!\[CDATA\[[^\]]*(?:\](?!\]>)[^\]]*)*(?:\]\]>)?"
_COMMENT = r"<!--[^-]*(?:-(?!->)[^-]*)*(?:-->)?"
_REFERENCE = re.compile(rf"{_CDATA}|&(?:#(?:[xX]([0-9A-Fa-f]{{1,8}})|([0-9]{{1,9}}));|(?!(?:amp|lt|gt|quot|apos);))")
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FIRST_ELEMENT = re.compile(r"<([A-Za-z_][\w.:-]{0,63})")
_HEAD = re.compile(r"<(type|count)>([^<]{0,200})</\1>")


def decoded(body: bytes) -> str:
    """The text of a body, in the encoding that it declares, in UTF-8, or in GBK; UNREADABLE where bytes are none of it."""
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
    """The text with its references and characters put right; CDATA sections keep theirs.

    A pair of surrogate references is the one character that it stands for. A bare `&` is itself. What stands for no character
    of XML is UNREADABLE.
    """
    text = _REFERENCE.sub(_reference, text)
    # Pairs of surrogates become what they stand for, and those without a partner UNREADABLE.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _NO_CHARACTER.sub(UNREADABLE, text)


def _reference(found: re.Match[str]) -> str:
    written = found[0]
    if written == "&":
        return "&amp;"
    if not written.startswith("&"):
        return written
    code = int(found[1], 16) if found[1] else int(found[2])
    if 0xD800 <= code <= 0xDFFF:
        return chr(code)
    if code > 0x10FFFF or _NO_CHARACTER.match(chr(code)):
        return UNREADABLE
    return f"&#{code};"


def first_element(text: str) -> str | None:
    """The name of the first element."""
    found = _FIRST_ELEMENT.search(text)
    return found and found[1]


def head_of(text: str) -> dict[str, str]:
    """What stands before the list: the type and the count."""
    return {found[1]: found[2] for found in _HEAD.finditer(text.partition("<list")[0])}


def pieces(text: str, tags: Collection[str]) -> Iterator[str]:
    """Each element of these names as it stands in the text, up to its end, to the next of them or to the end of the text.

    Nothing within a CDATA section or a comment is taken for one: what a person wrote there is no item.
    """
    marks = re.compile(rf"{_CDATA}|{_COMMENT}|<(/?)(?:{'|'.join(tags)})\b[^<>]*>")
    start: int | None = None
    for found in marks.finditer(text):
        if found[1] is None:
            continue
        if found[1] and start is not None:
            yield text[start : found.end()]
            start = None
        elif not found[1]:
            if start is not None:
                yield text[start : found.start()]
            start = found.start()
    if start is not None:
        yield text[start:]
