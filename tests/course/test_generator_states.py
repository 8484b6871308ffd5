"""States of random generators in checkpoints: a state that NumPy could not hold is refused, not loaded."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.support.some_models import some_images, some_model
from tinygrad_cifar.course.training import fit
from tinygrad_cifar.nn.optim import SGD
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

GENERATORS = (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)


def train(path, kind):
    model = some_model()
    optimiser = SGD(model.parameters(), 0.1)
    rng = np.random.Generator(kind(0))
    fit(model, optimiser, some_images(), epochs=1, batch_size=5, rng=rng, checkpoint=path)
    return rng


def paths_to(state, kind, prefix=()):
    """Return the places of all values of a type in a nested state."""
    if isinstance(state, kind) and not isinstance(state, bool):
        yield prefix
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    for key, value in items:
        yield from paths_to(value, kind, (*prefix, key))


def changed(state, place, value):
    state = copy.deepcopy(state)
    inner = state
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value(inner[place[-1]])
    return state


def store(path, states):
    arrays, text = load_checkpoint(path)
    save_checkpoint(path, arrays, text | {"generators": states})


@pytest.fixture(params=GENERATORS, ids=lambda kind: kind.__name__, name="kind")
def _kind(request):
    return request.param


@pytest.fixture(name="saved")
def _saved(tmp_path, kind):
    path = tmp_path / "run.npz"
    train(path, kind)
    return path, load_checkpoint(path)[1]["generators"]


def test_the_state_is_restored(saved, kind):
    path, _ = saved
    drawn = [train(where, kind).integers(2**40, size=4).tolist() for where in (path, path.with_name("new.npz"))]
    assert drawn[0] == drawn[1]


def attempt(path, kind, states, words):
    store(path, states)
    with pytest.raises(CheckpointError, match=f"belongs to another run.*{words}"):
        train(path, kind)


def test_a_list_of_another_length_is_refused(saved, kind):
    path, states = saved
    for place in paths_to(states[0], list):
        for change in (lambda values: values[:-1], lambda values: [*values, 1], lambda _: 3, lambda _: "x"):
            attempt(path, kind, [changed(states[0], place, change)], "is not a list of")


def test_a_number_out_of_range_is_refused(saved, kind):
    path, states = saved
    for place in list(paths_to(states[0], int))[:12]:
        for value in (-1, "1", None, 1.5):
            attempt(path, kind, [changed(states[0], place, lambda _, value=value: value)], "has the invalid")


@pytest.mark.parametrize(
    ("kind", "name", "most"), [(np.random.MT19937, "pos", 624), (np.random.Philox, "buffer_pos", 4)]
)
def test_a_position_beyond_the_buffer_is_refused(saved, kind, name, most):
    path, states = saved
    (place,) = (place for place in paths_to(states[0], int) if place[-1] == name)
    store(path, [changed(states[0], place, lambda _: most)])
    train(path, kind)
    attempt(path, kind, [changed(states[0], place, lambda _: most + 1)], f"has the invalid {name}")


def test_missing_and_additional_entries_are_refused(saved, kind):
    path, states = saved
    for place in paths_to(states[0], dict):
        inner = states[0]
        for key in place:
            inner = inner[key]
        for smaller in ({k: v for k, v in inner.items() if k != next(iter(inner))}, inner | {"more": 1}):
            state = smaller if not place else changed(states[0], place, lambda _, new=smaller: new)
            attempt(path, kind, [state], "has the state entries")


def test_the_state_of_another_kind_is_refused(saved, kind):
    path, states = saved
    attempt(path, kind, [states[0] | {"bit_generator": "another"}], f"is a 'another', not a {kind.__name__}")
