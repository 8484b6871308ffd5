"""The comparison of identities: silent for equal ones, and every difference listed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.system.identity import require_same

values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.tuples(st.integers(), st.integers())
identities = st.dictionaries(st.sampled_from("abcde"), values)


@given(identities)
def test_an_identity_is_the_same_after_a_round_trip_through_json(own):
    require_same(json.loads(json.dumps(own)), own)
    require_same(json.loads(json.dumps(own)) | {"more": 1}, own)


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
        name: f"its {name} is {stored[name]}, not {own[name]}" if name in stored else f"it has no {name}"
        for name in own
    }
    listed = [name for name, sentence in sentences.items() if sentence in str(caught.value)]
    assert set(listed) <= set(differ)
    assert len(listed) == min(3, len(differ))
    others = len(differ) - len(listed)
    if others:
        assert str(caught.value).endswith(f" and {others} other{'s' * (others > 1)}")


@pytest.mark.parametrize("stored", [None, 3, "eta", ["eta"]])
def test_an_identity_that_is_not_a_mapping_is_refused(stored):
    with pytest.raises(ValueError, match="it must be a mapping"):
        require_same(stored, {"eta": 0.1})
