"""Random generators from the argument ``rng``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.system.generators import make_generator


def test_a_generator_is_used_itself():
    rng = np.random.default_rng(0)
    assert make_generator("f", rng) is rng


@given(st.integers(0, 2**64), st.booleans())
def test_a_seed_gives_the_generator_of_numpy(seed, is_of_numpy):
    given_seed = np.uint64(seed) if is_of_numpy and seed < 2**64 else seed
    assert make_generator("f", given_seed).random() == np.random.default_rng(seed).random()


def test_without_a_seed_generators_differ():
    assert make_generator("f", None).random() != make_generator("f", None).random()


@pytest.mark.parametrize("rng", [-1, 1.0, True, "0", np.random.RandomState(0), np.random], ids=lambda x: f"{x!r:.20}")
def test_anything_else_raises(rng):
    message = r"^f: rng must be a numpy\.random\.Generator, a non-negative integer \(its seed\) or None; got "
    with pytest.raises(TypeError, match=message):
        make_generator("f", rng)
