"""The gradient checks of the reports: their values, right gradients pass, and wrong ones fail."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tinygrad_cifar import models
from tinygrad_cifar.data import Dataset, Split, builtin_dataset
from tinygrad_cifar.experiments import report_checks
from tinygrad_cifar.experiments.report_checks import KINDS, ReportCheck, compare_gradients, run_report_checks

DATA = builtin_dataset()
_numbers = itertools.count()


@functools.cache
def checks_of(kind: str, features: int = 60) -> dict[str, ReportCheck]:
    return {check.report: check for check in run_report_checks(kind, DATA, features=features)}


def a_model(dtype: type = np.float64) -> models.SoftmaxRegression:
    return models.SoftmaxRegression(6, 3, rng=np.random.default_rng(0), dtype=dtype)


X = np.random.default_rng(1).normal(size=(5, 6))
LABELS = np.array([0, 1, 2, 2, 0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("report", ["000", "002", "003", "004"])
def test_right_gradients_pass(kind: str, report: str) -> None:
    check = checks_of(kind)[report]
    assert check.passed
    assert any(metric.bound is not None for metric in check.metrics)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_checked_by_every_report(kind: str) -> None:
    names = {"W1", "b1", "W2", "b2"} if kind == "two-layer" else {"W", "b"}
    for check in checks_of(kind).values():
        assert {metric.parameter for metric in check.metrics} == names
        assert {comparison.parameter for comparison in check.comparisons} == names


def test_the_values_of_report_002_are_errors_of_the_one_sided_formula() -> None:
    """One-sided differences of step 1e-6 give 2.3627e-7; the error against centred ones is a hundred times smaller."""
    (bias,) = (metric for metric in checks_of("softmax")["002"].metrics if metric.parameter == "b")
    assert bias.one_sided == pytest.approx(2.3627e-7, rel=0.1)
    assert bias.centred < 2.3627e-9


def test_the_values_of_report_004_are_errors_of_the_one_sided_formula() -> None:
    (weights,) = (
        f for f in checks_of("softmax")["004"].metrics if f.parameter == "W" and f.name == "sum of differences"
    )
    assert weights.bound == pytest.approx(7.833e-3 * 60 / 3072)
    assert weights.one_sided == pytest.approx(weights.bound, rel=0.3)
    assert weights.centred < weights.bound / 1000


@pytest.mark.slow
def test_report_003_has_29_draws_from_a_full_size_network() -> None:
    comparisons = checks_of("two-layer")["003"].comparisons
    assert len(comparisons) == 29 * 4
    assert [c.analytic.shape for c in comparisons[:4]] == [(20, 50), (50,), (50, 10), (10,)]
    assert len({c.analytic.tobytes() for c in comparisons}) == len(comparisons)


@pytest.mark.slow
def test_a_kink_near_the_point_does_not_fail_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """With this seed, one hidden unit changes sign within the step of a centred difference, in the tenth draw."""
    monkeypatch.setattr(report_checks, "_DRAWS", 10)
    (check,) = run_report_checks("two-layer", DATA, reports=("003",), seed=3)
    assert check.passed


@pytest.mark.slow
def test_report_004_has_four_metrics_per_parameter() -> None:
    metrics = [m for m in checks_of("two-layer")["004"].metrics if m.parameter == "W2"]
    assert [m.name for m in metrics] == ["sum of differences", "mean |g|", "min |g|", "max |g|"]
    assert metrics[3].analytic == pytest.approx(metrics[3].centred)


def test_the_matrix_of_errors_has_the_shape_of_the_gradient() -> None:
    weights = checks_of("softmax")["002"].comparisons[0]
    errors = weights.errors()
    assert errors.shape == (60, 10)
    assert errors.max() == checks_of("softmax")["002"].metrics[0].centred


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [lambda g: g * 1.001, lambda g: -g, lambda g: 0 * g, lambda g: g + 1e-3],
    ids=["scaled", "sign", "zero", "shifted"],
)
def test_a_wrong_vjp_fails_every_check(fault: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"of_test_checks_{next(_numbers)}"
    wrong = tg.primitive(name, lambda x: x.copy(), x=fault)
    right = models.SoftmaxRegression.forward
    monkeypatch.setattr(models.SoftmaxRegression, "forward", lambda self, images: wrong(right(self, images)))
    for check in run_report_checks("softmax", DATA, features=20):
        assert not check.passed, check.report


def test_parameters_are_unchanged_after_a_check() -> None:
    model = a_model()
    before = model.state_dict()
    compare_gradients(model, X, LABELS, {"W": 0.1})
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_penalty_has_the_gradient_of_the_cost() -> None:
    with_penalty, without = (compare_gradients(a_model(), X, LABELS, p)[0] for p in ({"W": 0.1}, None))
    np.testing.assert_allclose(with_penalty.analytic - without.analytic, 0.2 * a_model().W.data, rtol=1e-12)


def test_float32_is_refused() -> None:
    with pytest.raises(TypeError, match="float32"):
        compare_gradients(a_model(np.float32), X, LABELS)


@pytest.mark.parametrize(("kind", "features"), [("perceptron", 10), ("softmax", 0), ("softmax", 3073)])
def test_invalid_arguments_are_refused(kind: str, features: int) -> None:
    with pytest.raises(ValueError, match=r"must be from 1|must be one of"):
        next(run_report_checks(kind, DATA, features=features))


@pytest.mark.parametrize("count", [1, 5])
def test_few_images_are_used_again(count: int) -> None:
    batches = tuple(Split(batch.images[:count], batch.labels[:count]) for batch in DATA.training_batches)
    few = Dataset(DATA.name, DATA.class_names, batches, DATA.test)
    checks = list(run_report_checks("softmax", few, features=10))
    assert {check.report: check.passed for check in checks} == dict.fromkeys(["000", "002", "003", "004"], True)
