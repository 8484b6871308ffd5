"""Package: imports, public names, docstrings and their examples."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tinygrad_cifar
from tinygrad_cifar.engine.primitives import PRIMITIVES

EXTRAS = {"matplotlib", "tqdm"}  # dependencies from the extra "experiments"
MODULES = ["tinygrad_cifar"] + [
    module.name
    for module in pkgutil.walk_packages(tinygrad_cifar.__path__, "tinygrad_cifar.")
    if not module.name.endswith("__main__")
]
PUBLIC_MODULES = ["tinygrad_cifar", *(f"tinygrad_cifar.{path}" for path in tinygrad_cifar._MODULES.values())]


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
    """Return the names of public functions and classes of a module, or of a package and its modules."""
    homes = [module.__name__] + [name for name in MODULES if name.startswith(f"{module.__name__}.")]

    def belongs(value: object) -> bool:
        # Operations are functions created in another module.
        return getattr(value, "__module__", None) in homes or hasattr(value, "primitive")

    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and is_function_or_class(value) and belongs(value)
    }


def needs_an_example(value: object) -> bool:
    """Return whether an object needs an example: not an exception, a record or a primitive."""
    if not inspect.isclass(value):
        return inspect.isroutine(value) and not hasattr(value, "primitive")
    is_record = dataclasses.is_dataclass(value) and "__call__" not in vars(value)
    return not is_record and not issubclass(value, (BaseException, tuple))


def public_objects() -> list[tuple[str, str]]:
    """Return module and name of each public object that needs an example."""
    on_demand = [(f"tinygrad_cifar.{path}", name) for name, path in tinygrad_cifar._FUNCTIONS.items()]
    return on_demand + [
        (module.__name__, name)
        for module in map(importlib.import_module, PUBLIC_MODULES)
        for name in sorted(public_names(module))
        if needs_an_example(getattr(module, name))
    ]


def run_in_new_python(code: str) -> str:
    """Run code in a new interpreter, with warnings as errors."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(tinygrad_cifar.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def imported_by(statement: str) -> set[str]:
    """Return the names of the top-level modules that a statement imports, except the standard library."""
    code = f"import json, sys; old = set(sys.modules); {statement}; print(json.dumps(sorted(set(sys.modules) - old)))"
    return {name.partition(".")[0] for name in json.loads(run_in_new_python(code))} - {
        *sys.stdlib_module_names,
        "__mp_main__",
    }


# -- importing --------------------------------------------------------------------------------------------------------


NUMPY_ONLY = [name for name in PUBLIC_MODULES if name != "tinygrad_cifar.testing"]  # which needs Hypothesis


@pytest.mark.parametrize("names", [["tinygrad_cifar"], NUMPY_ONLY], ids=["the package", "all public modules"])
def test_importing_needs_only_numpy(names):
    assert imported_by(f"import {', '.join(names)}") <= {"tinygrad_cifar"} | imported_by("import numpy.random")


def test_importing_the_package_does_not_import_slow_standard_modules():
    slow = ["argparse", "http.client", "multiprocessing.pool", "unittest.mock", "urllib.request"]
    code = f"import numpy, sys; old = set(sys.modules); import tinygrad_cifar; print([n for n in {slow} if n in "
    assert run_in_new_python(f"{code} set(sys.modules) - old])").strip() == "[]"


def test_the_package_is_marked_as_typed():
    assert (Path(tinygrad_cifar.__file__).parent / "py.typed").exists()


def test_the_installed_version_equals_the_version_of_the_package():
    try:
        installed = importlib.metadata.version("tinygrad-cifar")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed")
    assert installed == tinygrad_cifar.__version__


# -- names ------------------------------------------------------------------------------------------------------------

WITH_ALL = [name for name in PUBLIC_MODULES if hasattr(importlib.import_module(name), "__all__")]


@pytest.mark.parametrize("name", WITH_ALL)
def test_all_lists_exactly_the_public_names(name):
    module = importlib.import_module(name)
    there = {entry for entry in module.__all__ if entry in vars(module)}  # others are imported on first use (PEP 562)
    assert {entry for entry in there if is_function_or_class(getattr(module, entry))} == public_names(module)


@pytest.mark.parametrize("name", WITH_ALL)
def test_all_lists_existing_names_once(name):
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, entry) for entry in module.__all__)


def test_the_package_offers_every_operation():
    assert set(tinygrad_cifar.engine.ops.__all__) < set(tinygrad_cifar.__all__)


@pytest.mark.parametrize("name", tinygrad_cifar._MODULES)
def test_a_module_is_imported_on_first_use(name):
    path = f"tinygrad_cifar.{tinygrad_cifar._MODULES[name]}"
    assert run_in_new_python(f"import tinygrad_cifar as tg; print(tg.{name}.__name__)").strip() == path


@pytest.mark.parametrize("name", tinygrad_cifar._FUNCTIONS)
def test_a_function_is_imported_on_first_use(name):
    path = f"tinygrad_cifar.{tinygrad_cifar._FUNCTIONS[name]}"
    assert run_in_new_python(f"import tinygrad_cifar as tg; print(tg.{name}.__module__)").strip() == path


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="module 'tinygrad_cifar' has no attribute 'nm'"):
        getattr(tinygrad_cifar, "nm")  # noqa: B009


def test_a_star_import_imports_exactly_the_names_in_all():
    code = "old = set(globals()); from tinygrad_cifar import *; print(sorted(set(globals()) - old - {'old'}))"
    assert run_in_new_python(code).strip() == str(sorted(tinygrad_cifar.__all__))


# -- docstrings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_public_names_have_docstrings(name):
    module = imported(name)
    assert module.__doc__
    assert [entry for entry in public_names(module) if not inspect.getdoc(getattr(module, entry))] == []


@pytest.mark.parametrize("name", MODULES)
def test_attributes_are_documented_one_by_one(name):
    """Sphinx would show the names of a group as one attribute."""
    classes = [value for value in vars(imported(name)).values() if inspect.isclass(value)]
    for text in [inspect.getdoc(value) or "" for value in classes]:
        section = text.partition("Attributes\n----------\n")[2].partition("\n\n")[0]
        assert not re.findall(r"^\w+, .*:", section, re.MULTILINE)


@pytest.mark.parametrize(("module", "name"), public_objects())
def test_public_objects_have_an_example_or_refer_to_one(module, name):
    text = inspect.getdoc(getattr(importlib.import_module(module), name))
    assert ">>>" in text or "for an example" in text


@pytest.fixture
def no_new_primitives():
    """Remove the primitives that an example registers."""
    before = dict(PRIMITIVES)
    yield
    PRIMITIVES.clear()
    PRIMITIVES.update(before)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("no_new_primitives")
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    report: list[str] = []
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(exclude_empty=True).find(imported(name)):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_type_checkers_see_the_modules_that_are_imported_on_demand():
    tree = ast.parse(Path(tinygrad_cifar.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    paths = [f"tinygrad_cifar.{path}".rpartition(".") for path in tinygrad_cifar._MODULES.values()]
    functions = {(f"tinygrad_cifar.{path}", name) for name, path in tinygrad_cifar._FUNCTIONS.items()}
    assert seen == {(package, name) for package, _, name in paths} | functions
