"""Values that describe something cannot be changed."""

from __future__ import annotations

import pytest

from tests.support.immutable import dataclasses_of, is_immutable
from tinygrad_cifar import experiments


@pytest.mark.parametrize("kind", dataclasses_of(experiments), ids=lambda kind: kind.__name__)
def test_values_are_immutable(kind):
    assert is_immutable(kind)
