"""Start of the command line: the folders searched for modules, threads, closed streams and signals.

These tests run the installed command in processes of its own. ``CONSOLE`` does what the script of ``pip`` does.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinygrad_cifar_start
from tinygrad_cifar.system import blas

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONSOLE = "import sys\nfrom tinygrad_cifar_start import start\nif __name__ == '__main__':\n    sys.exit(start())\n"
RUN = ["softmax", "--train-batches", "1", "--train-size", "200", "--validation-batch", "2", "--epochs", "1"]
RUN += ["--no-figures"]

posix = pytest.mark.skipif(os.name != "posix", reason="the process restarts itself on POSIX systems")


@pytest.fixture
def console(tmp_path: Path) -> list[str]:
    """Return the command of a console script in a folder of its own."""
    script = tmp_path / "bin" / "tinygrad-cifar"
    script.parent.mkdir()
    script.write_text(CONSOLE)
    return [sys.executable, str(script)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working folder with a file for each module of the standard library that Python has not loaded yet.

    When a file is imported, it adds its name to ``imported`` and ends the process.
    """
    folder = tmp_path / "work"
    folder.mkdir()
    built_in = {"sys", "builtins", *sys.builtin_module_names}
    for name in sorted(sys.stdlib_module_names - built_in):
        text = f"open({str(tmp_path / 'imported')!r}, 'a').write({name + ' '!r})\nraise SystemExit('hijacked')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def environment(**changed: str) -> dict[str, str]:
    """Return the environment without variables of BLAS libraries, in which the package can be imported."""
    kept = {name: value for name, value in os.environ.items() if name not in (*blas.THREAD_VARIABLES, blas._MARK)}
    del_coretype = {name: value for name, value in kept.items() if name != "OPENBLAS_CORETYPE"}
    return del_coretype | {"PYTHONPATH": str(ROOT)} | changed


def run(command: list[str], cwd: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=environment(**changed), capture_output=True, text=True, check=False, timeout=120
    )


# -- modules of the working folder -------------------------------------------------------------------------------------


def restarting(command: list[str]) -> list[str]:
    """Return a command whose process has imported NumPy before it starts, so that it must start itself again."""
    script = Path(command[1])
    script.write_text("import numpy\n" + script.read_text())
    return command


@posix
def test_the_restart_imports_nothing_from_the_working_folder(console: list[str], folder: Path, tmp_path: Path) -> None:
    done = run([*restarting(console), "train", *RUN, "--out", str(tmp_path / "out")], folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 thread on" in done.stdout or "? threads" in done.stdout  # so it did start itself again
    assert not (tmp_path / "imported").exists()


def test_workers_import_nothing_from_the_working_folder(console: list[str], folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    options = ["--vary", "eta=grid:0.01,0.1", "--workers", "2", "--out", str(tmp_path / "out")]
    done = run([*console, "search", *RUN, *options], folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "imported").exists()


@posix
def test_the_restart_keeps_the_options_of_python(console: list[str], tmp_path: Path) -> None:
    Path(console[1]).write_text(
        "import numpy, sys\nfrom tinygrad_cifar_start import start\nprint(sys.flags.utf8_mode)\nsys.exit(start())\n"
    )
    command = [console[0], "-X", "utf8", console[1]]
    done = run([*command, "train", *RUN, "--out", str(tmp_path / "out")], tmp_path, PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.startswith("1\n1\n") or done.stdout.count("1\n") == 2


@posix
def test_a_zip_application_restarts(tmp_path: Path) -> None:
    import zipapp  # noqa: PLC0415 (for this test only)

    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text("import numpy\n" + CONSOLE)
    zipapp.create_archive(source, tmp_path / "application.pyz")
    command = [sys.executable, str(tmp_path / "application.pyz")]
    done = run([*command, "train", *RUN, "--out", str(tmp_path / "out")], tmp_path)
    assert done.returncode == 0, done.stderr
    assert " 1 thread on" in done.stdout or "? threads" in done.stdout


# -- threads -----------------------------------------------------------------------------------------------------------


def threads_of(command: list[str], folder: Path, *options: str, **changed: str) -> int | None:
    done = run([*command, "train", *RUN, *options, "--out", str(folder / "out"), "--overwrite"], folder, **changed)
    assert done.returncode == 0, done.stderr
    first = done.stdout.split(" on ")[0]
    if not first.startswith("OpenBLAS"):
        pytest.skip("the number of threads of this BLAS library cannot be read")
    return int(first.split()[-2])


@pytest.mark.parametrize("module", [False, pytest.param(True, marks=posix)])
def test_one_thread_is_the_default_and_more_are_an_option(module: bool, console: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinygrad_cifar"] if module else console
    assert threads_of(command, tmp_path) == 1
    assert threads_of(command, tmp_path, OPENBLAS_NUM_THREADS="2") == 2
    assert threads_of(command, tmp_path, "--threads", "2", OMP_NUM_THREADS="1") == 2
    assert threads_of(command, tmp_path, "--threads=2") == 2


def test_the_variables_are_those_of_the_package() -> None:
    assert tinygrad_cifar_start.THREAD_VARIABLES == blas.THREAD_VARIABLES


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "9999", ""])
def test_a_wrong_number_of_threads_is_refused(value: str, console: list[str], tmp_path: Path) -> None:
    done = run([*console, "train", *RUN, "--threads", value, "--out", "out"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("tinygrad-cifar: error: --threads ")


def test_the_start_imports_numpy_after_setting_the_threads() -> None:
    code = "import sys, tinygrad_cifar_start; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# -- closed streams ----------------------------------------------------------------------------------------------------

CLOSED = ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"]


@posix
@pytest.mark.parametrize(
    ("closed", "restarts"), [*((closed, False) for closed in CLOSED), ("2>&-", True), (">&- 2>&-", True)]
)
def test_train_completes_with_closed_streams(closed: str, restarts: bool, console: list[str], tmp_path: Path) -> None:
    words = [*(restarting(console) if restarts else console), "train", *RUN, "--out", "out"]
    done = run(["sh", "-c", f"{shlex.join(words)} {closed}"], tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "out" / "result.json").exists()


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_search_completes_with_closed_streams(closed: str, console: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words = [*console, "search", *RUN, "--vary", "eta=grid:0.01,0.1", "--workers", "1", "--out", "out"]
    done = run(["sh", "-c", f"{shlex.join(words)} {closed}"], tmp_path)
    assert done.returncode == 0
    assert len(json.loads((tmp_path / "out" / "trials.json").read_text())["trials"]) == 2


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words", [["check", "softmax", "--features", "3"], ["reproduce", "--list"], ["--version"]])
def test_short_commands_complete_with_closed_streams(
    closed: str, words: list[str], console: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert run(["sh", "-c", f"{shlex.join([*console, *words])} {closed}"], tmp_path).returncode == 0


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_errors_keep_their_status_with_closed_streams(closed: str, console: list[str], tmp_path: Path) -> None:
    assert run(["sh", "-c", f"{shlex.join([*console, 'train'])} {closed}"], tmp_path).returncode == 2


# -- signals -----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_signal_during_the_imports_is_reported_in_one_line(
    number: signal.Signals, status: int, restarts: bool, console: list[str], tmp_path: Path
) -> None:
    """The signals come at several times after the start, during the imports, the restart and the run."""
    before = "import numpy\n" if restarts else ""
    Path(console[1]).write_text(
        f"import sys, tinygrad_cifar_start as t\n{before}prepare = t._open_closed_streams\n"
        "def report():\n    prepare()\n    print('begun', flush=True)\n"
        "t._open_closed_streams = report\nsys.exit(t.start())\n"
    )
    for k in range(4):
        process = subprocess.Popen(
            [*console, "train", *RUN, "--epochs", "2000", "--out", "out", "--overwrite"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            time.sleep(0.1 * k)
            process.send_signal(number)
            process.stdout.read()
            lines = process.stderr.read().splitlines()
        assert process.returncode == status
        assert len(lines) == 1, lines
        assert lines[0].startswith("tinygrad-cifar: stopped"), lines


def test_the_command_without_arguments_prints_its_help(console: list[str], tmp_path: Path) -> None:
    done = run(console, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
