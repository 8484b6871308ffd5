"""The package as a whole: what importing it costs, what it offers, and that its examples run."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tinygrad_cifar
from tinygrad_cifar.engine.primitives import PRIMITIVES

EXTRAS = {"matplotlib", "tqdm"}  # what modules import that the extra "experiments" brings
MODULES = ["tinygrad_cifar"] + [
    module.name
    for module in pkgutil.walk_packages(tinygrad_cifar.__path__, "tinygrad_cifar.")
    if not module.name.endswith("__main__")
]
OFFERED = ["tinygrad_cifar", *(f"tinygrad_cifar.{path}" for path in tinygrad_cifar._MODULES.values())]


def imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in EXTRAS:
            pytest.skip(f"needs {error.name}")
        raise


def is_function_or_class(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def public_names(module: ModuleType) -> set[str]:
    """Return the names of the functions and classes that a module defines, or that a package takes from its modules."""
    homes = [module.__name__] + [name for name in MODULES if name.startswith(f"{module.__name__}.")]

    def belongs(value: object) -> bool:
        return getattr(value, "__module__", None) in homes or hasattr(value, "primitive")  # rows are made elsewhere

    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and is_function_or_class(value) and belongs(value)
    }


def needs_an_example(value: object) -> bool:
    """Tell whether something does not speak for itself, as errors, records and rows of the derivative table do."""
    if not inspect.isclass(value):
        return inspect.isroutine(value) and not hasattr(value, "primitive")
    is_record = dataclasses.is_dataclass(value) and "__call__" not in vars(value)
    return not is_record and not issubclass(value, (BaseException, tuple))


def offers() -> list[tuple[str, str]]:
    """Return module and name of everything offered that needs an example."""
    return [
        (module.__name__, name)
        for module in map(importlib.import_module, OFFERED)
        for name in sorted(public_names(module))
        if needs_an_example(getattr(module, name))
    ]


def in_a_fresh_python(code: str) -> str:
    """Run code in another interpreter, with warnings as errors."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(tinygrad_cifar.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def brought_in_by(statement: str) -> set[str]:
    """Return the names of all top-level modules that a statement imports, but those of Python itself."""
    code = f"import json, sys; old = set(sys.modules); {statement}; print(json.dumps(sorted(set(sys.modules) - old)))"
    return {name.partition(".")[0] for name in json.loads(in_a_fresh_python(code))} - {
        *sys.stdlib_module_names,
        "__mp_main__",
    }


# -- importing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["tinygrad_cifar"], OFFERED], ids=["the package", "everything offered"])
def test_importing_needs_numpy_alone(names):
    assert brought_in_by(f"import {', '.join(names)}") <= {"tinygrad_cifar"} | brought_in_by("import numpy.random")


def test_importing_the_package_leaves_slow_modules_of_python_alone():
    slow = ["argparse", "http.client", "multiprocessing.pool", "unittest.mock", "urllib.request"]
    code = f"import numpy, sys; old = set(sys.modules); import tinygrad_cifar; print([n for n in {slow} if n in "
    assert in_a_fresh_python(f"{code} set(sys.modules) - old])").strip() == "[]"


def test_the_package_says_that_it_is_typed():
    assert (Path(tinygrad_cifar.__file__).parent / "py.typed").exists()


def test_the_installed_version_is_the_one_the_package_names():
    try:
        installed = importlib.metadata.version("tinygrad-cifar")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed")
    assert installed == tinygrad_cifar.__version__


# -- names -----------------------------------------------------------------------------------------------------------

WITH_A_LIST = [name for name in OFFERED if hasattr(importlib.import_module(name), "__all__")]


@pytest.mark.parametrize("name", WITH_A_LIST)
def test_all_lists_exactly_the_public_names(name):
    module = importlib.import_module(name)
    there = {entry for entry in module.__all__ if entry in vars(module)}  # others come on demand (PEP 562)
    assert {entry for entry in there if is_function_or_class(getattr(module, entry))} == public_names(module)


@pytest.mark.parametrize("name", WITH_A_LIST)
def test_all_lists_nothing_twice_and_nothing_that_is_not_there(name):
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, entry) for entry in module.__all__)


def test_the_package_offers_every_operation():
    assert set(tinygrad_cifar.engine.ops.__all__) < set(tinygrad_cifar.__all__)


@pytest.mark.parametrize("name", tinygrad_cifar._MODULES)
def test_a_module_is_there_when_it_is_asked_for(name):
    path = f"tinygrad_cifar.{tinygrad_cifar._MODULES[name]}"
    assert in_a_fresh_python(f"import tinygrad_cifar as tg; print(tg.{name}.__name__)").strip() == path


def test_what_there_is_not_is_said_to_be_missing():
    with pytest.raises(AttributeError, match="module tinygrad_cifar has no attribute nm"):
        getattr(tinygrad_cifar, "nm")  # noqa: B009


def test_a_star_import_brings_exactly_what_is_listed():
    code = "old = set(globals()); from tinygrad_cifar import *; print(sorted(set(globals()) - old - {'old'}))"
    assert in_a_fresh_python(code).strip() == str(sorted(tinygrad_cifar.__all__))


# -- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_a_module_and_everything_public_in_it_is_explained(name):
    module = imported(name)
    assert module.__doc__
    assert [entry for entry in public_names(module) if not inspect.getdoc(getattr(module, entry))] == []


@pytest.mark.parametrize(("module", "name"), offers())
def test_everything_offered_has_an_example_or_names_one(module, name):
    text = inspect.getdoc(getattr(importlib.import_module(module), name))
    assert ">>>" in text or "for an example" in text


@pytest.fixture
def no_new_primitives():
    """Forget the primitives that an example adds to the table."""
    before = dict(PRIMITIVES)
    yield
    PRIMITIVES.clear()
    PRIMITIVES.update(before)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("no_new_primitives")
def test_the_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for whatever an example may write
    report: list[str] = []
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(exclude_empty=True).find(imported(name)):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
