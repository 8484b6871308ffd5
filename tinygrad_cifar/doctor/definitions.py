"""The definitions of a student's file, and why others are missing.

Only definitions, imports and assignments at the top level of the file are executed, so that a file that also loads data
and trains can be diagnosed without them. One that fails is skipped; if a function then fails for a name that it would
have defined, its error is part of the message.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinygrad_cifar.doctor.calls import DiagnosisError, describe_exception, time_limit

_EXECUTED = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_ANY = "*"  # the names of ``from module import *``
_LOADING_SECONDS = 10.0


@dataclass(frozen=True)
class _Missing:
    """A line that has not defined its names; ``error`` is None if it has not been executed."""

    line: int
    error: BaseException | None


@dataclass(frozen=True)
class Definitions:
    """The names that a file defines.

    Attributes
    ----------
    file : str
        The name of the file, without its folder.
    names : dict
        The values by name.
    """

    file: str
    names: dict[str, Any]
    _missing: dict[str, _Missing] = field(default_factory=dict)

    def describe(self, error: DiagnosisError) -> str:
        """Return an error in words, with the reason why a name is not defined if that is the cause."""
        cause = error.__cause__
        if not isinstance(cause, NameError) or isinstance(cause, UnboundLocalError):
            return str(error)
        return f"{error}{self.why_missing(cause.name)}"

    def why_missing(self, name: str | None) -> str:
        """Return why a name is not defined, as a clause that begins with a semicolon; empty if that is not known."""
        missing, verb = self._missing.get(name or ""), "defines"
        if missing is None:
            missing, verb = self._missing.get(_ANY), "may define"
        if missing is None or not name:
            return ""
        text = f"; line {missing.line} of {self.file}, which {verb} {name}, "
        if missing.error is None:
            return text + "is not executed: only definitions, imports and assignments are"
        text += f"failed: {describe_exception(missing.error)}"
        earlier = missing.error.name if isinstance(missing.error, NameError) else None
        is_earlier = earlier in self._missing and self._missing[earlier].line < missing.line
        return text + (self.why_missing(earlier) if is_earlier else "")


def load_definitions(path: Path) -> Definitions:
    """Execute the definitions, imports and assignments of a file, and return its names.

    Raises
    ------
    DiagnosisError
        If the file cannot be read, or is not a Python program.
    """
    try:
        tree = ast.parse(path.read_bytes(), str(path))  # bytes, which may name their encoding
    except OSError as error:
        raise DiagnosisError(f"{path}: cannot be read ({error.strerror}); give the path of a Python file") from error
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise DiagnosisError(f"{path}{line}: is not a Python program ({reason}); correct it, then try again") from error
    namespace: dict[str, Any] = {"__name__": "student_file", "__file__": str(path)}
    missing: dict[str, _Missing] = {}
    silence = io.StringIO()
    with redirect_stdout(silence), redirect_stderr(silence):
        for statement in tree.body:
            is_executed = isinstance(statement, _EXECUTED)
            raised = _execute(statement, path, namespace) if is_executed else None
            if raised is not None or not is_executed:
                missing |= {name: _Missing(line, raised) for name, line in _names_of(statement)}
    return Definitions(path.name, namespace, missing)


def _execute(statement: ast.stmt, path: Path, namespace: dict[str, Any]) -> BaseException | None:
    """Execute a statement, and return the exception that it raises; None if it succeeds."""
    code = compile(ast.Module([statement], []), str(path), "exec")
    try:
        with time_limit(_LOADING_SECONDS):
            exec(code, namespace)  # noqa: S102 (the user has named the file to be run)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 (the file may raise anything)
        return error
    return None


def _names_of(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that a statement defines, with the line of each."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
            yield name, node.lineno
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name, node.lineno
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, node.lineno
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _names_of(child)
