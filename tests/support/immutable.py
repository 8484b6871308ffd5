"""The dataclasses of a package, and whether their values can be changed."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import pkgutil
from types import ModuleType


def dataclasses_of(package: ModuleType) -> list[type]:
    """Return all dataclasses that the modules of a package define."""
    found: list[type] = []
    for part in pkgutil.iter_modules(package.__path__):
        with contextlib.suppress(ImportError):  # of a library that is not installed
            module = importlib.import_module(f"{package.__name__}.{part.name}")
            own = [
                kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__
            ]
            found += filter(dataclasses.is_dataclass, own)
    return found


def is_immutable(kind: type) -> bool:
    """Return whether assigning to an attribute of a value raises an error."""
    value = object.__new__(kind)
    name = next((field.name for field in dataclasses.fields(kind)), "attribute")
    try:
        setattr(value, name, None)
    except dataclasses.FrozenInstanceError:
        return True
    return False
