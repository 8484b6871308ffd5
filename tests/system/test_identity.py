"""The comparison of identities: silent for equal ones, and every difference listed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.system.identity import digest_array, require_same

values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.tuples(st.integers(), st.integers())
identities = st.dictionaries(st.sampled_from("abcde"), values)


@given(identities)
def test_an_identity_is_the_same_after_a_round_trip_through_json(own):
    require_same(json.loads(json.dumps(own)), own)
    require_same(json.loads(json.dumps(own)) | {"more": 1}, own)


def shown(value):
    return "not given" if value is None else value


@given(identities, identities)
def test_up_to_three_differences_are_listed_and_the_others_counted(stored, own):
    stored, own = json.loads(json.dumps(stored)), json.loads(json.dumps(own))
    differ = [name for name in own if name not in stored or stored[name] != own[name]]
    if not differ:
        require_same(stored, own)
        return
    with pytest.raises(ValueError, match=r"^it") as caught:
        require_same(stored, own)
    sentences = {
        name: f"its {name} was {shown(stored[name])} and is {shown(own[name])} now"
        if name in stored
        else f"it has no {name}"
        for name in own
    }
    listed = [name for name, sentence in sentences.items() if sentence in str(caught.value)]
    assert set(listed) <= set(differ)
    assert len(listed) == min(3, len(differ))
    others = len(differ) - len(listed)
    if others:
        assert str(caught.value).endswith(f" and {others} other{'s' * (others > 1)}")


def test_differences_have_the_names_that_the_caller_gives_them():
    with pytest.raises(ValueError, match=r"^its --epochs was 6 and is 8 now, its --size was 500 and is not given now$"):
        require_same({"epochs": 6, "size": 500}, {"epochs": 8, "size": None}, name_of=lambda name: f"--{name}")


arrays = [
    np.zeros((2, 3)),
    np.zeros((3, 2)),
    np.zeros((2, 3), np.float32),
    np.eye(2, 3),
    np.zeros((2, 0)),
    np.zeros((0, 2)),
    np.array(0.0),
    np.array(["a", "b"]),
    np.array(["b", "a"], dtype=object),
]


def test_arrays_of_other_types_shapes_or_values_have_other_digests():
    assert len({digest_array(array) for array in arrays}) == len(arrays)


@pytest.mark.parametrize("array", arrays)
def test_the_layout_of_an_array_does_not_change_its_digest(array):
    assert digest_array(np.array(array, order="F")) == digest_array(array[...]) == digest_array(array.copy())


def test_large_arrays_have_digests_of_all_their_rows():
    X = np.zeros((5000, 1000))
    before = digest_array(X)
    X[-1, -1] = 1
    assert digest_array(X) != before


@pytest.mark.parametrize("stored", [None, 3, "eta", ["eta"]])
def test_an_identity_that_is_not_a_mapping_is_refused(stored):
    with pytest.raises(ValueError, match="it must be a mapping"):
        require_same(stored, {"eta": 0.1})
