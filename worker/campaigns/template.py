"""The text of a campaign: one for all as it stands, or a template that each row of the audience fills: {{ column }}.

What a template may say is a short list: columns, words, comparisons, {% if %} and a few filters. There is no loop, no assignment, no
arithmetic and no call in it. So it cannot run for long, make much or reach anything, whatever it says; Jinja's sandbox is a second wall.
What is empty refuses its row: a text with a hole is never sent.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from inspect import signature
from math import isfinite
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from worker.domain.text import MAX_UNITS, content_faults

MAX_TEMPLATE = 3000
"""Characters of a template: it may say a text in several ways, of which a row takes one. And no number in it has more than the
4,300 digits that Python reads and writes."""
MAX_DEPTH = 20
"""How deep one thing may be within another."""
MAX_REPLACED = 10 * MAX_UNITS
"""Characters that |replace may make: one after the other they could make any number."""
MAX_LISTED = 10
"""Columns that are told to who wrote one that is not there."""


class TemplateFault(ValueError):
    """The text cannot be that of a campaign. `faults` lists everything that is wrong with it, each with its line and the remedy."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class RowRefused(ValueError):
    """The row makes no text that can be sent; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a campaign, ready to be made for each row of its audience."""

    personal: bool
    """Whether it differs from row to row."""
    _make: Callable[[Sequence[str]], str]

    def render(self, fields: Sequence[str]) -> str:
        """The text for the row with these fields, in the order of the header. Raises RowRefused where they make none."""
        text = self._make(fields)
        # One for all was looked at when it was compiled.
        if self.personal and (faults := content_faults(text)):
            raise RowRefused(f"its text {'; '.join(faults)}")
        return text


def compile_text(content: str, header: Sequence[str]) -> Text:
    """The text that the content stands for, for rows with the columns of `header`; without {{ and {% it is taken as it is.

    Raises TemplateFault with everything that is wrong with it.
    """
    if "{{" not in content and "{%" not in content:
        return _for_all(content)
    tree = _parse(content)
    translation = _Translation(header)
    tree = translation.visit(tree)
    if translation.faults:
        raise TemplateFault([f"line {line}: {fault}" for line, fault in dict.fromkeys(translation.faults)])
    make = partial(_fill, _ENVIRONMENT.from_string(tree), tuple(translation.places.items()))
    if translation.places:
        return Text(True, make)
    try:
        return _for_all(make(()))
    except RowRefused as why:
        raise TemplateFault([f"in every row {why}"]) from why


def _for_all(content: str) -> Text:
    if faults := content_faults(content):
        raise TemplateFault([f"the text {fault}" for fault in faults])
    return Text(False, lambda _: content)


def _fill(template: Template, places: Iterable[tuple[str, int]], fields: Sequence[str]) -> str:
    # Blanks around what is in a cell mean nothing; and what has nothing else is empty.
    values = {name: fields[place].strip() for name, place in places}
    try:
        # Not Template.render: it writes a traceback anew for each row that is refused, which takes ten times as long as a text.
        return "".join(template.root_render_func(template.new_context(values, shared=True)))
    except UndefinedError as why:
        raise RowRefused(f"its text cannot be made: {why}") from why
    except TypeError as why:
        raise RowRefused(
            f"a word is used as a number; write {{{{ column|int }}}} or {{{{ column|float }}}} ({why})"
        ) from why


def _parse(content: str) -> nodes.Template:
    if len(content) > MAX_TEMPLATE:
        raise TemplateFault([f"the template has {len(content)} characters, more than {MAX_TEMPLATE}; shorten it"])
    try:
        tree = _ENVIRONMENT.parse(content)
    except TemplateSyntaxError as why:
        remedy = 'write {{ column }}, {{ column or "…" }} or {% if column %}…{% endif %}, with straight quotes'
        remedy += '; a column whose name is not a plain word is {{ row["…"] }}'
        raise TemplateFault([f"line {why.lineno}: {why.message}; {remedy}"]) from why
    except RecursionError as why:
        raise TemplateFault(["the template has too many brackets within each other; make it simpler"]) from why
    if _is_deeper(tree, MAX_DEPTH):
        raise TemplateFault([f"the template has more than {MAX_DEPTH} things within each other; make it simpler"])
    return tree


def _is_deeper(node: nodes.Node, most: int) -> bool:
    return most < 0 or any(_is_deeper(child, most - 1) for child in node.iter_child_nodes())


def _filled(value: object, reason: str) -> str:
    """The value as a part of a text; nothing, or what is no word and no number, refuses the row."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not text.strip():
        raise RowRefused(reason)
    return text


def _default(value: object, other: object) -> object:
    return value or other


def _replace(value: object, old: object, new: object) -> str:
    text, old, new = str(value), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MAX_REPLACED:
        raise RowRefused("|replace would make its text far too long")
    return text.replace(old, new)


def _number(kind: type[int] | type[float], value: Any, reason: str) -> int | float:
    try:
        number = kind(value)
        if isfinite(number):
            return number
    except (ValueError, OverflowError) as why:
        raise RowRefused(reason) from why
    raise RowRefused(reason)


_FILLED = "filled"
_FILTERS: dict[str, Callable[..., object]] = {
    "default": _default,
    "float": partial(_number, float),
    "int": partial(_number, int),
    "lower": lambda value: str(value).lower(),
    "replace": _replace,
    "trim": lambda value: str(value).strip(),
    "upper": lambda value: str(value).upper(),
}
_NUMBERS = {"float": "number", "int": "whole number"}
"""The filters that a value may not fit, and what it should be."""
_LISTED = ", ".join(f"|{name}" for name in _FILTERS)

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.CondExpr,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Slice,
    nodes.Neg,
    nodes.Not,
    nodes.And,
    nodes.Or,
    nodes.Compare,
    nodes.Operand,
    nodes.Concat,
    nodes.Keyword,
)
"""What a template may be made of, beside columns and filters."""
_RESERVED = frozenset(
    {"and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "row", "true", "True"}
)


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    made.globals.clear()
    made.tests.clear()
    made.filters = {**_FILTERS, _FILLED: _filled}
    return made


_ENVIRONMENT = _environment()


class _Translation(NodeTransformer):
    """Puts a column's place for its name, has each {{ }} refuse what is empty, and collects the faults.

    Jinja makes Python variables of names, and Python takes some different ones (A and Ａ) for the same: places are always told apart.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self._header = header
        self.places: dict[str, int] = {}
        self.faults: list[tuple[int, str]] = []

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, _ALLOWED):
            return super().generic_visit(node, *args, **kwargs)
        have = "there are columns, words in quotes, comparisons, {% if %}, ~ to join, and the filters"
        return self._fault(node, f"{_said(node)} is nothing that a text may have; {have} {_LISTED}")

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - Jinja's name, as are the next
        node.nodes = [one if isinstance(one, nodes.TemplateData) else self._put(one) for one in node.nodes]
        return node

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        return self._column(node, node.name)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        of_row = isinstance(node.node, nodes.Name) and node.node.name == "row"
        if of_row and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return self._column(node, node.arg.value)
        is_place = _is_number(node.arg) or (isinstance(node.arg, nodes.Slice) and node.arg.step is None)
        if is_place and isinstance(node.node, nodes.Name | nodes.Getitem):
            return super().generic_visit(node)
        return self._fault(
            node, '[ ] names a column, as in row["…"], or a place in what a column has, as in column[-4:]'
        )

    def visit_Const(self, node: nodes.Const) -> nodes.Node:  # noqa: N802
        # Jinja would write inf into its Python, where it is a name that nothing has.
        if isinstance(node.value, float) and not isfinite(node.value):
            return self._fault(node, "there is a number greater than all numbers")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        compared = [part for one in (node.expr, *(operand.expr for operand in node.ops)) for part in _parts(one)]
        if len({_is_number(part) for part in compared}) > 1:
            return self._fault(node, "a word is compared with a number; make one of it: column|int, column|float")
        return super().generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        if node.name not in _FILTERS:
            return self._fault(
                node, f"there is no |{node.name}{_meant(node.name, _FILTERS, '|{}')}; there are {_LISTED}"
            )
        given: list[nodes.Expr] = list(node.args)
        if node.name in _NUMBERS:
            given.insert(0, nodes.Const(f"{self._columns(node)} holds no {_NUMBERS[node.name]}"))
        try:
            if node.dyn_args or node.dyn_kwargs:
                raise TypeError("* is not for texts")
            signature(_FILTERS[node.name]).bind(node.node, *given, **{str(one.key): one for one in node.kwargs})
        except TypeError as why:
            return self._fault(node, f"|{node.name} is not used so: {why}")
        super().generic_visit(node)
        node.args = [*given[: len(given) - len(node.args)], *node.args]
        return node

    def _put(self, node: nodes.Expr) -> nodes.Filter:
        """What is in a {{ }}, refused where it is empty."""
        reason = f"{self._columns(node)} is empty"
        return nodes.Filter(self.visit(node), _FILLED, [nodes.Const(reason)], [], None, None, lineno=node.lineno)

    def _columns(self, node: nodes.Expr) -> str:
        """The columns that it is made of, for people. Of nodes that are not visited yet."""
        names = dict.fromkeys(map(_name, [node, *node.find_all((nodes.Name, nodes.Getitem))]))
        named = [f'"{name}"' for name in names if name in self._header]
        if not named:
            return f"what {{{{ }}}} in line {node.lineno} has"
        return f"column {named[0]}" if len(named) == 1 else f"what line {node.lineno} makes of {' and '.join(named)}"

    def _column(self, node: nodes.Expr, name: str) -> nodes.Node:
        if name not in self._header:
            listed = ", ".join(map(_written, self._header[:MAX_LISTED]))
            more = f" and {len(self._header) - MAX_LISTED} more" if len(self._header) > MAX_LISTED else ""
            meant = _meant(name, self._header, "{}")
            return self._fault(node, f'the audience has no column "{name}"{meant}; it has {listed}{more}')
        place = self._header.index(name)
        self.places[f"c{place}"] = place
        return nodes.Name(f"c{place}", "load", lineno=node.lineno)

    def _fault(self, node: nodes.Node, text: str) -> nodes.Node:
        self.faults.append((node.lineno, text))
        return node


def _name(node: nodes.Node) -> str | None:
    """The name of the column, where the node is one."""
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return node.name if isinstance(node, nodes.Name) else None


def _said(node: nodes.Node) -> str:
    """What it is, as the template has it."""
    if isinstance(node, nodes.BinExpr):
        return node.operator
    named = {nodes.Getattr: "a point", nodes.Call: "a call", nodes.Assign: "{% set %}"}
    name = type(node).__name__.lower()
    return named.get(type(node), f"{{% {name} %}}" if isinstance(node, nodes.Stmt) else f'"{name}"')


def _parts(node: nodes.Expr) -> Sequence[nodes.Expr]:
    return node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]


def _is_number(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Const):
        return isinstance(node.value, int | float)
    return isinstance(node, nodes.Neg) or (isinstance(node, nodes.Filter) and node.name in _NUMBERS)


def _written(column: str) -> str:
    """The column as a template has it."""
    if column.isidentifier() and column not in _RESERVED:
        return f"{{{{ {column} }}}}"
    return f"{{{{ row[{json.dumps(column, ensure_ascii=False)}] }}}}"


def _meant(name: str, names: Iterable[str], form: str) -> str:
    # Two Chinese characters of which one is right are half alike.
    near = get_close_matches(name, names, 1, cutoff=0.5)
    return f", did you mean {form.format(near[0])}?" if near else ""
