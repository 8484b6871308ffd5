"""The diagnosis of the gradient function of a student's file, in a process of its own.

The module runs as a program: ``python -m tinygrad_cifar.doctor.student_file FILE OUTPUT FUNCTION``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.definitions import load_definitions


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
