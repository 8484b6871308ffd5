"""A student's file: its definitions, and the diagnosis of its gradient function in a process of its own.

Only definitions, imports and assignments at the top level of the file are executed, so that a file that also loads data
and trains can be diagnosed without them. An import or an assignment that fails is skipped; what depends on it reports
that.

The module runs as a program: ``python -m tinygrad_cifar.doctor.student_file FILE OUTPUT FUNCTION``.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_cifar.doctor.calls import DiagnosisError, time_limit

_DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
_LOADING_SECONDS = 10.0


@dataclass(frozen=True)
class FileDiagnosis:
    """The diagnosis of a file.

    Attributes
    ----------
    status : str
        As for a :class:`~tinygrad_cifar.doctor.Report`.
    taken : str
        Which function, network and layout were diagnosed.
    text : str
        The report.
    """

    status: str
    taken: str
    text: str


def load_definitions(path: Path) -> dict[str, Any]:
    """Execute the definitions, imports and assignments of a file, and return its names.

    Raises
    ------
    DiagnosisError
        If the file cannot be read, or is not a Python program.
    """
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, str(path))
    except OSError as error:
        raise DiagnosisError(f"{path}: cannot be read ({error.strerror}); give the path of a Python file") from error
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise DiagnosisError(f"{path}{line}: is not a Python program ({reason}); correct it, then try again") from error
    namespace: dict[str, Any] = {"__name__": "student_file", "__file__": str(path)}
    silence = io.StringIO()
    with redirect_stdout(silence), redirect_stderr(silence):
        for statement in tree.body:
            if isinstance(statement, _DEFINITIONS):
                _execute(statement, path, namespace)
    return namespace


def _execute(statement: ast.stmt, path: Path, namespace: dict[str, Any]) -> None:
    code = compile(ast.Module([statement], []), str(path), "exec")
    try:
        with time_limit(_LOADING_SECONDS):
            exec(code, namespace)  # noqa: S102 (the user has named the file to be run)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise


def diagnose_student_file(path: Path, function: str = "", *, seconds: float = 60.0) -> FileDiagnosis:
    """Diagnose the gradient function of a file, in a new process.

    Parameters
    ----------
    path : Path
        The file.
    function : str
        Name of the function. Default: one of the names of the course.
    seconds : float
        Time limit. Default: 60.

    Raises
    ------
    DiagnosisError
        If the file cannot be diagnosed; the message says why in one sentence.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        arguments = [sys.executable, "-m", __name__, str(path), str(out), function]
        try:
            done = subprocess.run(  # noqa: S603 (this interpreter and this module)
                arguments, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise DiagnosisError(
                f"{path}: was stopped after {seconds:g} s; check its loops, or pass a longer --time-limit"
            ) from None
        if not out.exists():
            raise DiagnosisError(f"{path}: ended the process that ran it (exit status {done.returncode})")
        result = json.loads(out.read_text(encoding="utf-8"))
    if "error" in result:
        raise DiagnosisError(result["error"])
    return FileDiagnosis(**result)


def _run(path: str, out: str, function: str) -> None:
    from tinygrad_cifar.doctor.hand_ins import diagnose_file  # noqa: PLC0415 (imports the rest of the doctor)

    sys.path.insert(0, str(Path(path).resolve().parent))  # the file may import its neighbours
    try:
        report, taken = diagnose_file(load_definitions(Path(path)), function)
        result = {"status": report.status, "taken": taken, "text": str(report)}
    except DiagnosisError as error:
        result = {"error": str(error)}
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    _run(*sys.argv[1:4])
