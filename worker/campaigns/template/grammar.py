"""What a template may be made of: its tree is checked, and made into one that can be filled by places."""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from inspect import signature
from math import isfinite
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from worker.campaigns.template.filters import FILLED, FILTERS, NUMBERS

MAX_LISTED = 10
"""Columns that a fault lists where a template names one that is not there."""

_LISTED = ", ".join(f"|{name}" for name in FILTERS)
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


class Translation(NodeTransformer):
    """Puts a column's place for its name, makes each {{ }} refuse what is empty, and collects the faults.

    Jinja makes Python variables of names, and Python takes some different names (A and Ａ) for the same. Places always
    differ.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self._header = header
        self.places: dict[str, int] = {}
        self.faults: list[tuple[int, str]] = []

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, _ALLOWED):
            return super().generic_visit(node, *args, **kwargs)
        allowed = "there are columns, words in quotes, comparisons, {% if %}, ~ to join, and the filters"
        return self._fault(node, f"{_as_written(node)} is nothing that a text may have; {allowed} {_LISTED}")

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - Jinja's name, as are the next
        node.nodes = [part if isinstance(part, nodes.TemplateData) else self._filled(part) for part in node.nodes]
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
        # Jinja would write inf into its Python, where no variable has that name.
        if isinstance(node.value, float) and not isfinite(node.value):
            return self._fault(node, "there is a number greater than all numbers")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        sides = (node.expr, *(operand.expr for operand in node.ops))
        if len({_is_number(part) for side in sides for part in _parts(side)}) > 1:
            return self._fault(node, "a word is compared with a number; make one of it: column|int, column|float")
        return super().generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        if node.name not in FILTERS:
            suggestion = _suggestion(node.name, FILTERS, "|{}")
            return self._fault(node, f"there is no |{node.name}{suggestion}; there are {_LISTED}")
        arguments: list[nodes.Expr] = list(node.args)
        if node.name in NUMBERS:
            arguments.insert(0, nodes.Const(f"{self._columns(node)} holds no {NUMBERS[node.name]}"))
        try:
            if node.dyn_args or node.dyn_kwargs:
                raise TypeError("* is not for texts")
            named = {str(argument.key): argument for argument in node.kwargs}
            signature(FILTERS[node.name]).bind(node.node, *arguments, **named)
        except TypeError as error:
            return self._fault(node, f"|{node.name} is not used so: {error}")
        super().generic_visit(node)
        node.args = [*arguments[: len(arguments) - len(node.args)], *node.args]
        return node

    def _filled(self, node: nodes.Expr) -> nodes.Filter:
        """What is in a {{ }}, refused where it is empty."""
        reason = f"{self._columns(node)} is empty"
        return nodes.Filter(self.visit(node), FILLED, [nodes.Const(reason)], [], None, None, lineno=node.lineno)

    def _columns(self, node: nodes.Expr) -> str:
        """The columns that a node is made of, for people. The node must not be visited yet."""
        names = dict.fromkeys(map(_column_name, [node, *node.find_all((nodes.Name, nodes.Getitem))]))
        quoted = [f'"{name}"' for name in names if name in self._header]
        if not quoted:
            return f"what {{{{ }}}} in line {node.lineno} has"
        return f"column {quoted[0]}" if len(quoted) == 1 else f"what line {node.lineno} makes of {' and '.join(quoted)}"

    def _column(self, node: nodes.Expr, name: str) -> nodes.Node:
        if name not in self._header:
            listed = ", ".join(map(_in_template, self._header[:MAX_LISTED]))
            more = f" and {len(self._header) - MAX_LISTED} more" if len(self._header) > MAX_LISTED else ""
            suggestion = _suggestion(name, self._header, "{}")
            return self._fault(node, f'the audience has no column "{name}"{suggestion}; it has {listed}{more}')
        place = self._header.index(name)
        self.places[f"c{place}"] = place
        return nodes.Name(f"c{place}", "load", lineno=node.lineno)

    def _fault(self, node: nodes.Node, text: str) -> nodes.Node:
        self.faults.append((node.lineno, text))
        return node


def _column_name(node: nodes.Node) -> str | None:
    """The name of the column, where the node is one."""
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return node.name if isinstance(node, nodes.Name) else None


def _as_written(node: nodes.Node) -> str:
    """The node as the template's author knows it."""
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
    return isinstance(node, nodes.Neg) or (isinstance(node, nodes.Filter) and node.name in NUMBERS)


def _in_template(column: str) -> str:
    """The column as a template has it."""
    if column.isidentifier() and column not in _RESERVED:
        return f"{{{{ {column} }}}}"
    return f"{{{{ row[{json.dumps(column, ensure_ascii=False)}] }}}}"


def _suggestion(name: str, names: Iterable[str], form: str) -> str:
    # Two Chinese characters of which one is right are half alike.
    near = get_close_matches(name, names, 1, cutoff=0.5)
    return f", did you mean {form.format(near[0])}?" if near else ""
