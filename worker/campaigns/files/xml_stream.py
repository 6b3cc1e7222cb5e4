"""The XML of an untrusted workbook, as a stream of elements and texts.

No tree is built, so it takes the same memory whatever is in the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.parsers import expat

from worker.campaigns.files.archive import BLOCK
from worker.domain.campaigns.audience import AudienceError

MAX_DEPTH = 100
"""The most elements within one another. A workbook has about ten."""
MAX_NAMES = 10_000
MAX_NAMES_SIZE = 1 << 20
"""Different names of elements, attributes and namespaces, and their characters. The parser keeps each name.

A workbook has about a hundred.
"""
MAX_TAG = 1 << 20
"""Bytes of a tag or a comment, which the parser keeps in memory as a whole."""

NAMESPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
"""The namespaces of a workbook: as Excel saves it, and as it saves "Strict Open XML"."""

AtStart = Mapping[str, Callable[[dict[str, str]], None]]
"""By the name of an element, what to do with its attributes at its start tag."""
AtEnd = Mapping[str, Callable[[], None]]
"""By the name of an element, what to do at its end tag."""


def parse(
    blocks: Iterable[bytes], at_start: AtStart, at_end: AtEnd, text: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Calls the handler of each element, and `text` with each piece of text. Yields after each block.

    Elements are named with their namespace: "namespace name". Raises ExpatError where the blocks are not XML. Raises
    AudienceError for what no program writes: a DTD, in which entities are, or too many names, too much depth or length.
    """
    parser = _parser(at_start, at_end, text)
    read = 0
    for block in blocks:
        parser.Parse(block)
        read += len(block)
        _check_size(parser, read)
        yield
    parser.Parse(b"", True)
    yield


def _parser(at_start: AtStart, at_end: AtEnd, text: Callable[[str], None] | None) -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = _element_handlers(at_start, at_end)
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    # Only so that the names of namespaces, which the parser keeps too, are in `intern` as well.
    parser.StartNamespaceDeclHandler = lambda *_: None
    parser.buffer_text = True
    parser.buffer_size = BLOCK
    return parser


def _element_handlers(
    at_start: AtStart, at_end: AtEnd
) -> tuple[Callable[[str, dict[str, str]], None], Callable[[str], None]]:
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _refused(f"its elements are more than {MAX_DEPTH} deep")
        if handle := at_start.get(name):
            handle(attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        if handle := at_end.get(name):
            handle()

    return start, end


def _check_size(parser: expat.XMLParserType, read: int) -> None:
    if read - parser.CurrentByteIndex > MAX_TAG:
        raise _refused(f"a tag has more than {MAX_TAG:,} bytes")
    names = parser.intern
    if len(names) > MAX_NAMES or sum(len(name or "") for name in names) > MAX_NAMES_SIZE:
        raise _refused("it has more names, or longer ones, than any workbook")


def named(handlers: dict[str, Any]) -> dict[str, Any]:
    """Returns the handlers of elements by the names of these elements in either namespace of a workbook."""
    return {f"{space} {name}": handle for space in NAMESPACES for name, handle in handlers.items()}


def _refuse_doctype(*_: object) -> None:
    raise _refused("it has a DTD")


def _refused(why: str) -> AudienceError:
    return AudienceError(f"is not an Excel workbook that can be read: {why}; save it anew as .xlsx, or as CSV")
