"""Shared arrays: on CPython they are recognised by their reference counts, elsewhere everything is copied."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar.engine import ownership

PROGRAM = """
import sys
import types
import numpy as np
if {elsewhere}:
    sys.implementation = types.SimpleNamespace(**{{**vars(sys.implementation), "name": "another"}})
import tinygrad_cifar as tg
from tinygrad_cifar import functional as F, optim
from tinygrad_cifar.engine import ownership
assert ownership.COUNTS_REFERENCES is not {elsewhere}
rng = np.random.default_rng(0)
X, labels = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
W = tg.Tensor(rng.normal(size=(4, 3)), requires_grad=True)
optimiser = optim.SGD([W], 0.1, momentum=0.9)
cube = tg.primitive("cube_of_ownership", lambda x: x**3, x=lambda g, x: 3 * g * x**2)
for _ in range(5):
    optimiser.zero_grad()
    loss = F.cross_entropy(cube(tg.from_numpy(X.copy()) @ W), labels)
    before = W.data
    kept = before.copy()
    loss.backward()
    optimiser.step()
    assert (before == kept).all()
print(W.data.tobytes().hex())
"""


def run_program(*, elsewhere: bool) -> str:
    code = PROGRAM.format(elsewhere=elsewhere)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="compares CPython with another interpreter")
def test_training_is_bit_for_bit_identical_without_reference_counts():
    assert run_program(elsewhere=True) == run_program(elsewhere=False)


def test_without_reference_counts_every_array_counts_as_shared(monkeypatch):
    monkeypatch.setattr(ownership, "COUNTS_REFERENCES", False)
    t = tg.Tensor([1.0, 2.0])
    assert ownership.is_shared(t)
    assert ownership.is_held_elsewhere(np.ones(2))


@pytest.mark.skipif(not ownership.COUNTS_REFERENCES, reason="needs reference counts")
def test_an_array_with_a_second_reference_is_shared():
    t = tg.Tensor([1.0, 2.0])
    assert not ownership.is_shared(t)
    array = t._array
    assert ownership.is_shared(t)
    del array
    assert not ownership.is_shared(t)


def test_a_new_array_that_is_assigned_to_data_is_not_copied():
    t = tg.Tensor(np.zeros(100_000), requires_grad=True)
    tracemalloc.start()
    t.data = np.ones(100_000)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    t.data = t.data + 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1.5 * t.data.nbytes
    assert t.data[0] == 2


def _assign_and_change(t, array):
    t.data = array
    array[...] = 9


@pytest.mark.parametrize(
    "assign",
    [
        lambda t: _assign_and_change(t, np.ones(3)),
        lambda t: _assign_and_change(t, np.ones((3, 1)).reshape(3)),
        lambda t: [_assign_and_change(t, array) for array in np.ones((2, 3))],
        lambda t: [_assign_and_change(t, array) for array in [np.ones(3)]],
    ],
    ids=["new", "view", "rows", "of a list"],
)
def test_an_array_that_has_a_name_is_copied_into_data(assign):
    t = tg.Tensor(np.zeros(3), requires_grad=True)
    assign(t)
    assert t.data.tolist() == [1, 1, 1]


def test_an_array_that_the_setter_cannot_tell_from_a_new_one_becomes_read_only():
    t, array = tg.Tensor(np.zeros(3), requires_grad=True), np.ones(3)
    tg.Tensor.data.fset(t, array)
    with contextlib.suppress(ValueError):  # read-only
        array[...] = 9
    assert t.data.tolist() == [1, 1, 1]
