"""The XML of a workbook from a stranger as a stream of elements and texts, without a tree: it takes the same memory whatever it has in it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.parsers import expat

from worker.campaigns.files.archive import BLOCK
from worker.domain.campaigns.audience import NoAudience

MAX_DEPTH = 100
"""Elements in each other; in a workbook there are about ten."""
MAX_NAMES = 10_000
MAX_NAMES_SIZE = 1 << 20
"""Different names of elements, attributes and namespaces, and their characters. The parser keeps each; a workbook has about a hundred."""
MAX_TAG = 1 << 20
"""Bytes of a tag or a comment, which the parser has in memory as a whole."""

NAMESPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
"""The namespaces of a workbook: as Excel saves it, and as it does where one asks for "Strict Open XML"."""

Begins = Mapping[str, Callable[[dict[str, str]], None]]
"""By the name of an element, what to do with its attributes where it begins."""
Ends = Mapping[str, Callable[[], None]]
"""By the name of an element, what to do where it ends."""


def parse(
    blocks: Iterable[bytes], begins: Begins, ends: Ends, text: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Calls what is named for each element, and `text` with each piece of text; comes back after each block.

    The names are those with their namespace: "namespace name". Raises ExpatError for what is no XML, and NoAudience for what
    no program writes: a DTD, in which entities are, or too many names, too much depth or length.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _refused(f"its elements are more than {MAX_DEPTH} deep")
        if found := begins.get(name):
            found(attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        if found := ends.get(name):
            found()

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    # Only so that those of namespaces, which the parser keeps too, are in `intern` as well.
    parser.StartNamespaceDeclHandler = lambda *_: None
    parser.buffer_text = True
    parser.buffer_size = BLOCK
    read = 0
    for block in blocks:
        parser.Parse(block)
        read += len(block)
        if read - parser.CurrentByteIndex > MAX_TAG:
            raise _refused(f"a tag has more than {MAX_TAG:,} bytes")
        names = parser.intern
        if len(names) > MAX_NAMES or sum(len(name or "") for name in names) > MAX_NAMES_SIZE:
            raise _refused("it has more names, or longer ones, than any workbook")
        yield
    parser.Parse(b"", True)
    yield


def named(handlers: dict[str, Any]) -> dict[str, Any]:
    """The handlers of elements, by their names in either namespace of a workbook."""
    return {f"{space} {name}": handle for space in NAMESPACES for name, handle in handlers.items()}


def _refuse_doctype(*_: object) -> None:
    raise _refused("it has a DTD")


def _refused(why: str) -> NoAudience:
    return NoAudience(f"is not an Excel workbook that can be read: {why}; save it anew as .xlsx, or as CSV")
