"""The source distribution and the wheel: complete, well described, and usable without a checkout with NumPy only."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tinygrad_cifar import __version__

pytestmark = pytest.mark.slow

# A folder "build" of the checkout could be imported too, so importorskip is not enough.
if not {"build", "twine"} <= {distribution.name for distribution in importlib.metadata.distributions()}:
    pytest.skip("needs build and twine, of the extra dev", allow_module_level=True)

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def run(*command: str | Path, cwd: Path | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module", name="built")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the source distribution, and the wheel that was built from it.

    They are built from a copy, since a build writes to its folder and several test processes may build at once.
    """
    folder, copy = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("project") / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "_build", "runs"))
    run(sys.executable, "-m", "build", "--outdir", folder, copy)
    return folder


def sources(built: Path) -> set[str]:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_descriptions_are_valid(built: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())


def test_the_wheel_has_exactly_the_files_of_the_package(built: Path) -> None:
    files = [
        path for path in (ROOT / "tinygrad_cifar").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    with zipfile.ZipFile(wheel(built)) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == {"tinygrad_cifar_start.py"} | {path.relative_to(ROOT).as_posix() for path in files}


def test_the_source_distribution_has_the_tests_and_what_the_readme_links_to(built: Path) -> None:
    links = {link.rstrip("/") for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", README) if "://" not in link}
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert links | tests | {"ruff.toml", "setup.cfg"} <= sources(built)


@pytest.fixture(scope="module", name="environment")
def _environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the programs of an environment with NumPy and the wheel only."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    requirement = importlib.metadata.requires("tinygrad-cifar") or []
    (numpy,) = [line for line in requirement if "extra ==" not in line]
    run(programs / "python", "-m", "pip", "install", "--quiet", numpy)
    run(programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel(built))
    return programs


def test_the_example_of_the_readme_runs_with_numpy_only(environment: Path, tmp_path: Path) -> None:
    (example, *_) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    report = "import sys; print(tinygrad_cifar.__file__, 'matplotlib' in sys.modules)"
    printed = run(environment / "python", "-I", "-c", f"{example}\nimport tinygrad_cifar; {report}", cwd=tmp_path)
    assert re.search(r"train accuracy \S+ % to 9", printed)
    path, other = printed.split()[-2:]
    assert Path(path).is_relative_to(environment.parent)
    assert other == "False"


def test_the_command_line_runs_with_numpy_only(environment: Path, tmp_path: Path) -> None:
    assert __version__ in run(environment / "tinygrad-cifar", "--version", cwd=tmp_path)
    run(environment / "tinygrad-cifar", "check", "softmax", "--features", "10", cwd=tmp_path)
    command = ("train", "softmax", "--epochs", "1", "--train-size", "100", "--no-figures", "--out", "run")
    run(environment / "tinygrad-cifar", *command, cwd=tmp_path)
    assert (tmp_path / "run" / "result.json").is_file()
