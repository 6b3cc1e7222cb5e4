"""Compiles the text of a campaign, and renders it for a row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from jinja2 import Template, TemplateSyntaxError, UndefinedError, nodes

from worker.campaigns.template.faults import RowRefused, TemplateFault
from worker.campaigns.template.filters import ENVIRONMENT
from worker.campaigns.template.grammar import Translation
from worker.domain.text import content_faults

MAX_TEMPLATE = 3000
"""Characters of a template: it may say a text in several ways, of which a row takes one.

It also keeps every number in it below the 4,300 digits that Python reads and writes.
"""
MAX_DEPTH = 20
"""How deep one thing may be within another."""


@dataclass(frozen=True, slots=True)
class CompiledText:
    """The text of a campaign, ready to be rendered for each row of its audience."""

    personal: bool
    """Whether it differs from row to row."""
    _make: Callable[[Sequence[str]], str]

    def render(self, fields: Sequence[str]) -> str:
        """Returns the text for the row with these fields, in the order of the header.

        Raises RowRefused where they make none.
        """
        text = self._make(fields)
        # One text for all was checked when it was compiled.
        if self.personal and (faults := content_faults(text)):
            raise RowRefused(f"its text {'; '.join(faults)}")
        return text


def compile_text(content: str, header: Sequence[str]) -> CompiledText:
    """Returns the text that the content stands for, for rows with the columns of `header`.

    Content without {{ and {% is taken as it is. Raises TemplateFault with everything that is wrong with it.
    """
    if "{{" not in content and "{%" not in content:
        return _for_all(content)
    tree = _parse(content)
    translation = Translation(header)
    tree = translation.visit(tree)
    if translation.faults:
        raise TemplateFault([f"line {line}: {fault}" for line, fault in dict.fromkeys(translation.faults)])
    make = partial(_fill, ENVIRONMENT.from_string(tree), tuple(translation.places.items()))
    if translation.places:
        return CompiledText(True, make)
    try:
        return _for_all(make(()))
    except RowRefused as error:
        raise TemplateFault([f"in every row {error}"]) from error


def _for_all(content: str) -> CompiledText:
    if faults := content_faults(content):
        raise TemplateFault([f"the text {fault}" for fault in faults])
    return CompiledText(False, lambda _: content)


def _fill(template: Template, places: Iterable[tuple[str, int]], fields: Sequence[str]) -> str:
    # Blanks around the value of a cell mean nothing. A value of blanks alone is empty.
    values = {name: fields[place].strip() for name, place in places}
    try:
        # Not Template.render: it writes a traceback anew for each row that is refused, which takes ten times as long as
        # a text.
        return "".join(template.root_render_func(template.new_context(values, shared=True)))
    except UndefinedError as error:
        raise RowRefused(f"its text cannot be made: {error}") from error
    except TypeError as error:
        raise RowRefused(
            f"a word is used as a number; write {{{{ column|int }}}} or {{{{ column|float }}}} ({error})"
        ) from error


def _parse(content: str) -> nodes.Template:
    if len(content) > MAX_TEMPLATE:
        raise TemplateFault([f"the template has {len(content)} characters, more than {MAX_TEMPLATE}; shorten it"])
    try:
        tree = ENVIRONMENT.parse(content)
    except TemplateSyntaxError as error:
        remedy = 'write {{ column }}, {{ column or "…" }} or {% if column %}…{% endif %}, with straight quotes'
        remedy += '; a column whose name is not a plain word is {{ row["…"] }}'
        raise TemplateFault([f"line {error.lineno}: {error.message}; {remedy}"]) from error
    except RecursionError as error:
        raise TemplateFault(["the template has too many brackets within each other; make it simpler"]) from error
    if _is_deeper(tree, MAX_DEPTH):
        raise TemplateFault([f"the template has more than {MAX_DEPTH} things within each other; make it simpler"])
    return tree


def _is_deeper(node: nodes.Node, most: int) -> bool:
    return most < 0 or any(_is_deeper(child, most - 1) for child in node.iter_child_nodes())
