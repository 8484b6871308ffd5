"""The mutants of a module: small changes of its source, one at a time.

A mutant replaces one part of the source and leaves the rest as it is, including its layout. KINDS lists the kinds of
change. Annotations, docstrings and other strings, f-strings, imports for type checkers and the code below
``if __name__ == "__main__"`` are not changed: they have no effect at run time, or only on the wording of a message.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

KINDS = {
    "operator": "an arithmetic or logical operator is replaced by another, or a minus sign dropped",
    "comparison": "`<` becomes `<=`, `==` becomes `!=`, `in` becomes `not in`, ...",
    "condition": "a condition is negated",
    "constant": "a number is raised by 1, True becomes False, ...",
    "return": "a function returns None instead of its result",
    "deletion": "a call, an assignment to an attribute or an element, `raise`, `break`, ... is deleted",
}

_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
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
_NEGATIONS = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # to mutate one of these is to negate it


class Mutant(NamedTuple):
    """One change of a module."""

    module: str  # the path of the file in the package, without suffix: "data/batches"
    function: str  # the qualified name of the function or class around the change, or ""
    kind: str
    line: int
    code: str  # the first line of the statement or expression that is changed
    before: str
    after: str
    number: int  # counts equal changes of one function
    start: int  # the part of the source, in bytes, that is replaced
    end: int
    replacement: str
    lines: tuple[int, int] | None  # the lines that a test must run to notice; None if they run on import

    @property
    def identity(self) -> str:
        """What is changed into what and where, without line numbers, which other changes of the module move."""
        place = f"{self.module}:{self.function}" if self.function else self.module
        more = f" ({self.number + 1})" if self.number else ""
        return f"{place}: `{self.before}` to `{self.after}` in `{self.code}`{more}"

    def apply(self, source: str) -> str:
        """Return the source of the module with this change."""
        raw = source.encode()
        return (raw[: self.start] + self.replacement.encode() + raw[self.end :]).decode()


def list_mutants(module: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of its source."""
    visitor = _Visitor(module, source)
    visitor.visit(ast.parse(source))
    return sorted(visitor.found, key=lambda mutant: (mutant.start, mutant.end, mutant.replacement))


def draw_sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return up to ``count`` mutants, in the order of the source.

    Each mutant has a rank of its own, computed from the seed and its identity. A change of the module elsewhere
    therefore leaves the sample as it is, except for what it adds and removes.
    """
    ranked = sorted(mutants, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.identity}".encode()).digest())
    chosen = {mutant.identity for mutant in ranked[:count]}
    return [mutant for mutant in mutants if mutant.identity in chosen]


class _Visitor(ast.NodeVisitor):
    """Collects the mutants of a syntax tree."""

    def __init__(self, module: str, source: str) -> None:
        self.module = module
        self.raw = source.encode().splitlines(keepends=True)
        self.offsets = [0]
        for line in self.raw:
            self.offsets.append(self.offsets[-1] + len(line))
        self.names: list[str] = []
        self.lines: tuple[int, int] | None = None  # of the statement that is visited
        self.in_function = False
        self.found: list[Mutant] = []
        self.counts: Counter[tuple[str, ...]] = Counter()

    # -- the places ------------------------------------------------------------------------------------------------

    def add(self, kind: str, node: ast.expr | ast.stmt, before: str, after: str, replacement: str) -> None:
        code = self.raw[node.lineno - 1].decode().strip()
        function = ".".join(self.names)
        key = (function, code, before, after)
        start = self.offsets[node.lineno - 1] + node.col_offset
        end = self.offsets[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        number, self.counts[key] = self.counts[key], self.counts[key] + 1
        self.found.append(
            Mutant(
                self.module,
                function,
                kind,
                node.lineno,
                code,
                before,
                after,
                number,
                start,
                end,
                replacement,
                self.lines,
            )
        )

    def replace(self, kind: str, node: ast.expr, changed: ast.expr, before: str = "", after: str = "") -> None:
        text = ast.unparse(changed)
        self.add(kind, node, before or ast.unparse(node), after or text, f"({text})")

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            before = self.lines
            if self.in_function:
                self.lines = (node.lineno, node.end_lineno or node.lineno)
                if body := getattr(node, "body", None):  # the head of a compound statement
                    self.lines = (node.lineno, max(node.lineno, body[0].lineno - 1))
            super().visit(node)
            self.lines = before
        else:
            super().visit(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        body = (node.body[0].lineno, node.end_lineno or node.lineno)
        self.names.append(node.name)
        before, self.lines = (self.in_function, self.lines), body
        for default in (*node.args.defaults, *node.args.kw_defaults):  # they show where the function runs
            if default is not None:
                self.visit(default)
        self.in_function = True
        for statement in node.body:
            self.visit(statement)
        self.in_function, self.lines = before
        self.names.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function  # noqa: N815 (named by ast)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names.append(node.name)
        for part in (*node.decorator_list, *node.body):
            self.visit(part)
        self.names.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._visit_assignment(node, node.target)
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    # -- statements ------------------------------------------------------------------------------------------------

    def delete(self, node: ast.stmt) -> None:
        self.add("deletion", node, ast.unparse(node), "pass", "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.delete(node)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.delete(node)
        self.generic_visit(node)

    def _visit_simple(self, node: ast.stmt) -> None:
        self.delete(node)
        self.generic_visit(node)

    visit_Break = visit_Continue = visit_Delete = _visit_simple  # noqa: N815

    def _visit_assignment(self, node: ast.stmt, *targets: ast.expr) -> None:
        # Without its assignment, a name is missing, which every test that runs the line notices.
        if all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets):
            self.delete(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_assignment(node, *node.targets)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.delete(node)
        if type(node.op) in _OPERATORS and not _has_text(node.value):
            changed = ast.AugAssign(node.target, _OPERATORS[type(node.op)](), node.value)
            self.add("operator", node, ast.unparse(node), ast.unparse(changed), ast.unparse(changed))
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not _is_none(node.value):
            self.add("return", node, ast.unparse(node), "return None", "return None")
        self.generic_visit(node)

    # -- conditions ------------------------------------------------------------------------------------------------

    def negate(self, test: ast.expr) -> None:
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], _NEGATIONS):
            return
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self.replace("condition", test, test.operand)
        else:
            self.replace("condition", test, ast.UnaryOp(ast.Not(), test))

    def visit_If(self, node: ast.If) -> None:
        condition = ast.unparse(node.test)
        if condition.endswith("TYPE_CHECKING") or condition.startswith("__name__"):
            return
        self._visit_test(node)

    def _visit_test(self, node: ast.If | ast.While | ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    visit_While = visit_IfExp = _visit_test  # noqa: N815

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    # -- expressions -----------------------------------------------------------------------------------------------

    def visit_BinOp(self, node: ast.BinOp) -> None:
        of_types = isinstance(node.op, ast.BitOr) and (_is_none(node.right) or _is_none(node.left))
        joined = isinstance(node.op, (ast.Add, ast.Mod)) and (_has_text(node.left) or _has_text(node.right))
        if not of_types and not joined and type(node.op) in _OPERATORS:
            self.replace("operator", node, ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.replace("operator", node, ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub):
            self.replace("operator", node, node.operand)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for i, op in enumerate(node.ops):
            changed = [*node.ops[:i], _COMPARISONS[type(op)](), *node.ops[i + 1 :]]
            self.replace("comparison", node, ast.Compare(node.left, changed, node.comparators))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace("constant", node, ast.Constant(not value))
        elif isinstance(value, (int, float)):
            self.replace("constant", node, ast.Constant(value + 1))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _has_text(node: ast.expr) -> bool:
    """Return whether an operand is visibly a string or a list, for which other operators raise TypeError."""
    return any(
        isinstance(part, (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple))
        or (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)))
        for part in _operands(node)
    )


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp):
        yield from _operands(node.left)
        yield from _operands(node.right)
    else:
        yield node
