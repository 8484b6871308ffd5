"""The accuracy of values and VJPs in ulps, and that the measurement notices small errors."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp

from tests.evidence import accuracy
from tinygrad_cifar.engine.primitives import PRIMITIVES

FEW = 200


@pytest.mark.parametrize("dtype", accuracy.TYPES)
@pytest.mark.parametrize("name", accuracy.NAMES)
def test_errors_are_within_their_goals_or_explained(name, dtype):
    found = accuracy.measure(name, dtype, FEW // 10 if name in accuracy.ROWS else FEW)
    assert not found.beyond or name in accuracy.REASONS, found


@pytest.mark.parametrize("name", ["exp", "tanh", "divide", "arctan", "log1p"])
def test_error_of_a_few_ulps_in_a_vjp_is_noticed(name, monkeypatch):
    """A relative error of 4e-15, which comparisons with differences and the complex step accept."""
    vjp = next(iter(PRIMITIVES[name].vjps.values()))
    right = vjp.apply
    monkeypatch.setattr(vjp, "apply", lambda *arguments: right(*arguments) * (1 + 4e-15))
    assert accuracy.measure(name, np.float64, FEW).beyond > FEW / 4


def test_vjp_that_cancels_is_noticed(monkeypatch):
    """The textbook form of the derivative of tanh, 1 - tanh**2, is 0 from x = 20 on."""
    monkeypatch.setattr(PRIMITIVES["tanh"].vjps["x"], "apply", lambda g, x: g * (1 - np.tanh(x) ** 2))
    assert accuracy.measure("tanh", np.float64, FEW).beyond


def test_points_reach_from_subnormal_numbers_to_the_largest():
    reference = accuracy.REFERENCES["square"]
    (x,) = accuracy.draw_points(reference, 1, 5000, np.float64, np.random.default_rng(0))
    assert 0 < np.abs(x).min() < np.finfo(float).tiny
    assert np.abs(x).max() > 1e300
    assert np.mean(np.abs(x - 0) < 8) > 0.3


@pytest.mark.parametrize("name", accuracy.REFERENCES)
def test_references_are_the_functions(name):
    """The reference's own derivative, by mpmath's differences, and the value of the primitive."""
    reference = accuracy.REFERENCES[name]
    inside = 1.5 if name == "arccosh" else 0.5
    point = [mp.mpf(inside), mp.mpf(0.75)][: len(reference.slopes)]
    with mp.workdps(accuracy.DIGITS):
        for i, slope in enumerate(reference.slopes):
            expected = mp.diff(reference.value, tuple(point), tuple(int(j == i) for j in range(len(point))))
            assert abs(slope(*point) - expected) < 1e-12


@pytest.mark.parametrize(
    ("computed", "exact", "ulps"),
    [
        (1.0, mp.one, 0.5),
        (np.nextafter(1.0, 2.0), mp.one, 1.0),
        (0.0, mp.mpf(5e-324), 1.0),
        (np.inf, mp.mpf(10) ** 400, 0.5),
        (np.inf, mp.one, np.inf),
        (np.nan, mp.one, np.inf),
        (np.finfo(float).max, mp.mpf(10) ** 400, 1.0),
    ],
)
def test_errors_are_counted_in_ulps(computed, exact, ulps):
    assert accuracy.error_in_ulps(np.float64(computed), exact, np.float64) == ulps
