"""Patterns of Python's syntax trees, and their replacement.

A pattern is Python in which a single capital letter stands for any expression or identifier, the same one wherever it
occurs, and ``...`` for any statements: ``A + B`` matches every sum, ``A.B = None`` every assignment of None to an
attribute. A pattern does not depend on the names and the layout of the source.
"""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

CONTEXT = re.compile(r", ctx=(Load|Store|Del)\(\)")  # whether a name is read or written to
Bound = dict[str, Any]  # what each capital letter stands for: a node, or an identifier


def parse_pattern(text: str) -> ast.AST:
    """Return the pattern of a statement, or of an expression if the text is one (and does not end with a newline)."""
    (statement,) = ast.parse(text).body
    return statement.value if isinstance(statement, ast.Expr) and not text.endswith("\n") else statement


def is_variable(name: Any) -> bool:
    return isinstance(name, str) and len(name) == 1 and name.isupper()


def match(pattern: Any, found: Any, bound: Bound) -> bool:
    """Match a part of a syntax tree, and bind the variables of the pattern."""
    if isinstance(pattern, ast.Name) and is_variable(pattern.id):
        return isinstance(found, ast.expr) and bind(pattern.id, CONTEXT.sub("", ast.dump(found)), found, bound)
    if isinstance(pattern, list):
        if pattern and ast.dump(pattern[-1]) == "Expr(value=Constant(value=Ellipsis))":
            return isinstance(found, list)
        return len(pattern) == len(found) and all(match(*pair, bound) for pair in zip(pattern, found, strict=True))
    if isinstance(pattern, ast.AST):
        names = [name for name in pattern._fields if name not in ("ctx", "type_comment", "kind")]
        return type(pattern) is type(found) and all(
            match(getattr(pattern, name), getattr(found, name), bound) for name in names
        )
    if is_variable(pattern):
        return isinstance(found, str) and bind(pattern, found, found, bound)
    return type(pattern) is type(found) and pattern == found


def bind(name: str, key: str, found: Any, bound: Bound) -> bool:
    return bound.setdefault(name, (key, found))[0] == key


class Substitute(ast.NodeTransformer):
    """Puts what the variables stand for into a replacement."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field, value in ast.iter_fields(node):
            if is_variable(value) and value in self.bound:
                setattr(node, field, self.bound[value][1])
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in self.bound:
            return node
        found = copy.deepcopy(self.bound[node.id][1])
        if hasattr(found, "ctx"):
            found.ctx = node.ctx
        return found


def functions_named(tree: ast.Module, name: str) -> list[ast.AST]:
    """Return the functions of a module with a qualified name (a property has several)."""
    parts: list[ast.AST] = [tree]
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        parts = [n for parent in parts for n in parent.body if isinstance(n, kinds) and n.name == part]
    return parts


def replace_pattern(tree: ast.Module, function: str, right: str, wrong: str) -> ast.Module:
    """Return the tree of a module with one replacement; raise LookupError unless the pattern matches exactly once.

    Parameters
    ----------
    tree : ast.Module
        The module; it is not changed.
    function : str
        The qualified name of the function in which the pattern is replaced.
    right, wrong : str
        The pattern and its replacement.
    """
    tree = copy.deepcopy(tree)
    pattern = parse_pattern(right)
    found = []
    for part in functions_named(tree, function):
        for parent in ast.walk(part):
            for field, value in ast.iter_fields(parent):
                for place, node in enumerate(value if isinstance(value, list) else [value]):
                    bound: Bound = {}
                    if isinstance(node, ast.AST) and match(pattern, node, bound):
                        found.append((parent, field, place, node, bound))
    if len(found) != 1:
        raise LookupError(f"{function} must contain this pattern exactly once, not {len(found)} times:\n{right}")
    ((parent, field, place, node, bound),) = found
    replacement = Substitute(bound).visit(parse_pattern(wrong))
    if isinstance(node, ast.stmt) and isinstance(replacement, ast.expr):
        replacement = ast.Expr(replacement)
    ast.copy_location(replacement, node)
    value = getattr(parent, field)
    if isinstance(value, list):
        value[place] = replacement
    else:
        setattr(parent, field, replacement)
    return ast.fix_missing_locations(tree)
