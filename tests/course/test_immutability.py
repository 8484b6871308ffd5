"""Values that describe something cannot be changed."""

from __future__ import annotations

import pytest

from tests.support.immutable import dataclasses_of, is_immutable
from tinygrad_cifar import course
from tinygrad_cifar.course.training import History  # grows during training

KINDS = [kind for kind in dataclasses_of(course) if kind is not History]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_values_are_immutable(kind):
    assert is_immutable(kind)
