"""The changes: which expressions of a module are changed, and into what."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
}
UNWRAPPED = {"sorted", "unique", "distinct", "abs", "clip", "sort", "holm", "reversed"}
"""Calls that are also tried without their effect."""


@dataclass(frozen=True)
class Change:
    """One change of one module.

    number  its place among the changes of the module, in the order of the source
    line    of the source, from 1
    text    the line as it stands, without indentation
    what    `before -> after`, as source
    """

    path: str
    number: int
    line: int
    text: str
    what: str

    @property
    def key(self) -> str:
        """The same while the line and the changes of the line stay what they are."""
        return f"{self.path} | {self.text} | {self.what}"


def changes_of(path: str, source: str) -> list[Change]:
    """All changes of a module. Annotations, docstrings, texts and decorators are left as they
    are."""
    lines = source.splitlines()
    found = []
    for number, (old, new) in enumerate(_pairs(ast.parse(source))):
        what = f"{_short(old)} -> {_short(new)}"
        found.append(Change(path, number, old.lineno, lines[old.lineno - 1].strip(), what))
    return found


def changed(source: str, number: int) -> ast.Module:
    """The module with one change in it."""
    tree = ast.parse(source)
    old, new = list(_pairs(tree))[number]
    _Replace(old, new).visit(tree)
    return ast.fix_missing_locations(tree)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, ast.copy_location(new, old)

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else super().generic_visit(node)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."


Pair = tuple[ast.expr | ast.stmt, ast.expr | ast.stmt]


def _pairs(node: ast.AST) -> Iterator[Pair]:
    """(as it is, as changed) for every node below, in the order of the source."""
    if isinstance(node, ast.expr | ast.stmt):
        yield from ((node, new) for new in _alternatives(node))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or _is_left_alone(node, name):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _pairs(child)


def _is_left_alone(node: ast.AST, field: str) -> bool:
    """Texts of errors, names of types, what is only said, and two kinds of changes that cannot be
    noticed: how much is done at once (`..._AT_ONCE`) takes memory alone, and `zip(strict=True)`
    guards what is of equal length in a program that is right."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True
    if isinstance(node, ast.Assign) and _sets_a_portion(node):
        return True
    names = {"Literal", "NewType", "TypeVar", "NamedTuple", "cast"}
    if isinstance(node, ast.Subscript | ast.Call):
        head = node.value if isinstance(node, ast.Subscript) else node.func
        return (head.id if isinstance(head, ast.Name) else "") in names
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and field == "value"


def _sets_a_portion(node: ast.Assign) -> bool:
    named = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return any(name.endswith("_AT_ONCE") for name in named)


def _alternatives(node: ast.expr | ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in COMPARISONS:
        new.ops[0] = COMPARISONS[type(new.ops[0])]()
        yield new
    elif isinstance(new, ast.BinOp | ast.AugAssign):
        if type(new.op) in OPERATORS and not _joins_text(new):
            new.op = OPERATORS[type(new.op)]()
            yield new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield new
    elif isinstance(new, ast.UnaryOp):
        yield new.operand
    elif isinstance(new, ast.Constant):
        yield from _other_constants(new)
    elif isinstance(new, ast.If | ast.IfExp):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new
    elif isinstance(new, ast.Expr) and isinstance(new.value, ast.Call):
        yield ast.Pass()
    elif isinstance(new, ast.Call):
        yield from _other_calls(new)


def _joins_text(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether it is a union of types or joins texts."""
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and (isinstance(side.value, str) or side.value is None))
        for side in sides
    )


def _other_constants(node: ast.Constant) -> Iterator[ast.expr]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)


def _other_calls(node: ast.Call) -> Iterator[ast.expr]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    name = node.func.id if isinstance(node.func, ast.Name) else name
    if name in UNWRAPPED and node.args:
        yield node.args[0]
    if name in NAMES:
        other = copy.deepcopy(node)
        if isinstance(other.func, ast.Attribute):
            other.func.attr = NAMES[name]
        elif isinstance(other.func, ast.Name):
            other.func.id = NAMES[name]
        yield other
