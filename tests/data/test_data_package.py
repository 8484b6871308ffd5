"""The package: its names, and the function that is imported on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinygrad_cifar import data
from tinygrad_cifar.data.fetch import fetch_cifar10


def test_fetch_is_imported_on_first_use():
    assert data.fetch_cifar10 is fetch_cifar10
    code = (
        "import sys; from tinygrad_cifar import data; before = 'urllib.request' in sys.modules;"
        "data.fetch_cifar10; print(before, 'urllib.request' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]


def test_unknown_names_raise():
    with pytest.raises(AttributeError, match=r"'tinygrad_cifar\.data' has no attribute 'fetch_cifar100'"):
        _ = data.fetch_cifar100


def test_all_public_names_are_listed():
    assert {*data.__all__} <= {*dir(data)}
    assert dir(data) == sorted(dir(data))
    assert all(getattr(data, name) is not None for name in data.__all__)
