"""The gradient checks of the five reports on the classifiers of this library.

The gradient of the cost with respect to every parameter is compared with centred and one-sided differences, with the
metrics of each report. Only the centred difference decides whether a check passes. The one-sided difference, which the
reports used, has an error of ``h / 2`` times the second derivative, for the L2 term ``h * lambda`` in every element;
this error dominates the values of reports 002 and 004, and is shown for comparison with them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_cifar.course import models
from tinygrad_cifar.data import Dataset, Preprocessing
from tinygrad_cifar.data.dataset import PIXELS
from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.gradcheck import numerical_gradient, relative_error, relative_errors, summary
from tinygrad_cifar.engine.modes import no_grad
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.initialisers import FanIn, Initialiser, Normal, Xavier

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = ("softmax", "svm", "two-layer")
REPORTS = ("002", "003", "000", "004")

_H = 1e-6  # step of the one-sided difference in the reports
_IMAGES = 50  # report 004
_DRAWS, _REDUCED_FEATURES, _REDUCED_IMAGES = 29, 20, 2  # report 003
_MIN_DISTANCE = 1e-4  # of scores from kinks; the differences move scores by at most a tenth of this
_HIDDEN = {"003": 50, "002": 15, "004": 15}

# The reported values. Those of softmax regression are also the bounds of the SVM, and those of report 002 for one layer
# also the bounds of two layers.
_BOUND_000, _BOUND_002, _BOUND_003 = 1e-6, 2.3627e-7, 1e-5
_ONE_LAYER_004 = {"W": 7.833e-3, "b": 5.684e-7}
_TWO_LAYERS_004 = {"W1": 2.344e-3, "b1": 2.457e-7, "W2": 7.442e-5, "b2": 2.324e-7}
_PENALTIES_004 = {"softmax": {"W": 0.2}, "svm": {"W": 0.2}, "two-layer": {"W1": 0.1, "W2": 0.3}}


@dataclass(frozen=True)
class ParameterGradients:
    """The gradient of the cost with respect to one parameter, computed in three ways.

    Attributes
    ----------
    parameter : str
        Name of the parameter in the model.
    analytic : numpy.ndarray
        Gradient by the backward pass.
    centred : numpy.ndarray
        Gradient by centred differences.
    one_sided : numpy.ndarray
        Gradient by one-sided differences.
    """

    parameter: str
    analytic: Array
    centred: Array
    one_sided: Array

    def errors(self, eps: float = 1e-5) -> Array:
        """Return the relative errors against the centred difference, as report 002 defines them."""
        return relative_errors(self.analytic, self.centred, eps)


@dataclass(frozen=True)
class CheckMetric:
    """One metric of the check of a report.

    Attributes
    ----------
    parameter : str
        Name of the parameter.
    name : str
        Name of the metric.
    centred : float
        Value with the centred difference as the numerical gradient.
    one_sided : float
        Value with the one-sided difference as the numerical gradient.
    analytic : float, optional
        Value for the backward pass, if the metric is of one gradient and not of a difference of two.
    bound : float, optional
        The reported value, which the centred value must not exceed.
    """

    parameter: str
    name: str
    centred: float
    one_sided: float
    analytic: float | None = None
    bound: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the centred value is within the bound; True without a bound."""
        return self.bound is None or self.centred <= self.bound


@dataclass(frozen=True)
class ReportCheck:
    """The gradient check of one report.

    Attributes
    ----------
    report : str
        Number of the report.
    setting : str
        Description of the inputs.
    metrics : tuple of CheckMetric
        The metrics, by parameter.
    comparisons : tuple of ParameterGradients
        The gradients; for report 003, those of all draws in order.
    """

    report: str
    setting: str
    metrics: tuple[CheckMetric, ...]
    comparisons: tuple[ParameterGradients, ...]

    @property
    def passed(self) -> bool:
        """Whether every metric is within its bound."""
        return all(metric.passed for metric in self.metrics)


def compare_gradients(
    model: models.Classifier, X: Array, labels: Array, penalties: Mapping[str, float] | None = None, *, h: float = _H
) -> tuple[ParameterGradients, ...]:
    """Compute the gradient of the cost of a model with respect to each parameter in three ways.

    The cost is ``mean loss + sum over k of lambda_k * sum of all squared elements of W_k``.

    Parameters
    ----------
    model : Classifier
        A model in float64. Its parameters are changed temporarily.
    X, labels : numpy.ndarray
        Images, one in each row, and their classes.
    penalties : mapping, optional
        lambda by the names of the penalised parameters.
    h : float
        Step of the one-sided difference; the centred difference chooses its step.

    Returns
    -------
    tuple of ParameterGradients
        In the order of the model's parameters.

    Raises
    ------
    TypeError
        If the model is not in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models
    >>> from tinygrad_cifar.experiments.report_checks import compare_gradients
    >>> model = models.SoftmaxRegression(3, 2, rng=np.random.default_rng(0))
    >>> W, b = compare_gradients(model, np.eye(3), np.array([0, 1, 1]), {"W": 0.1})
    >>> W.parameter, bool(W.errors().max() < 1e-7)
    ('W', True)
    """
    parameters = dict(model.named_parameters())

    def cost() -> Any:
        loss = model.loss(X, labels)
        for name, lam in (penalties or {}).items():
            loss = loss + F.l2_penalty([parameters[name]], lam)
        return loss

    def differences(parameter: Tensor, method: Any, step: float | None) -> Array:
        original = parameter.numpy()

        def cost_at(values: Array) -> Any:
            parameter.data = values
            with no_grad():
                return cost()

        try:
            return numerical_gradient(cost_at, original, method=method, h=step)
        finally:
            parameter.data = original

    analytic = grad(cost(), list(parameters.values()))
    return tuple(
        ParameterGradients(
            name, gradient.numpy(), differences(parameter, "centred", None), differences(parameter, "forward", h)
        )
        for (name, parameter), gradient in zip(parameters.items(), analytic, strict=True)
    )


def run_report_checks(
    kind: str,
    dataset: Dataset,
    *,
    reports: Collection[str] = REPORTS,
    features: int = PIXELS,
    seed: int = 0,
) -> Iterator[ReportCheck]:
    """Run the checks of the reports on one kind of model.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    dataset : Dataset
        The data set, of which the first training batch is used.
    reports : collection of str
        The reports, among :data:`REPORTS`.
    features : int
        Number of the 3072 features to use, evenly spaced; reported sums are scaled to it. Report 003 always uses 20.
    seed : int
        Seed of the initial weights.

    Yields
    ------
    ReportCheck
        Reports 002, 003, 000 and 004. The last two share their gradients, as report 000 does not state its inputs.

    Raises
    ------
    ValueError
        If ``kind`` or ``features`` is invalid.

    Examples
    --------
    >>> from tinygrad_cifar.experiments.report_checks import run_report_checks
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> [(c.report, c.passed) for c in run_report_checks("softmax", builtin_dataset(), features=10)]
    [('002', True), ('003', True), ('000', True), ('004', True)]
    """
    if kind not in KINDS:
        raise ValueError(f"kind: the model must be one of {', '.join(KINDS)}; got {kind!r}")
    if not 1 <= features <= PIXELS:
        raise ValueError(f"features: the number of features must be from 1 to {PIXELS}; got {features}")
    batch = dataset.batch(1)
    selected = np.linspace(0, PIXELS - 1, features).round().astype(int)

    def pixels(preprocessing: str) -> Array:
        return Preprocessing.fit(preprocessing, batch.images).apply(batch.images[:_IMAGES])

    if "002" in reports:
        yield _report_002(kind, pixels("scale")[:1, selected], batch.labels[:1], seed)
    if "003" in reports:
        few = _DRAWS * _REDUCED_IMAGES
        preprocessed = Preprocessing.fit("standardise", batch.images).apply(batch.images[:few])
        yield _report_003(kind, preprocessed, batch.labels[:few], seed)
    if {"000", "004"} & set(reports):
        for check in _reports_000_and_004(kind, pixels("centre")[:, selected], batch.labels[:_IMAGES], seed):
            if check.report in reports:
                yield check


def _report_002(kind: str, X: Array, labels: Array, seed: int) -> ReportCheck:
    """Check one image without an L2 term, for which the errors of the true class are smaller, as in the report."""
    init = FanIn() if kind == "two-layer" else Normal(0.01)
    comparisons = _compare_off_kinks(_model(kind, X.shape[1], _HIDDEN["002"], init, seed), X, labels)
    metrics = (
        _metric(c, "largest relative error", lambda ga, gn: float(relative_errors(ga, gn).max()), _BOUND_002)
        for c in comparisons
    )
    return ReportCheck("002", f"1 image of {X.shape[1]} features, lambda 0", tuple(metrics), comparisons)


def _report_003(kind: str, X: Array, labels: Array, seed: int) -> ReportCheck:
    """Check the first 20 rows of the first layer of a full-size network; each draw has other images and features.

    If there are too few images, they are used again.
    """
    model = _model(kind, PIXELS, _HIDDEN["003"], FanIn(), seed)
    first = "W1" if kind == "two-layer" else "W"
    setattr(model, first, Tensor(getattr(model, first).data[:_REDUCED_FEATURES], requires_grad=True))
    draws = []
    for i in range(_DRAWS):
        images = np.arange(i * _REDUCED_IMAGES, (i + 1) * _REDUCED_IMAGES) % len(X)
        columns = slice(i * _REDUCED_FEATURES, (i + 1) * _REDUCED_FEATURES)
        draws.append(_compare_off_kinks(model, X[images, columns], labels[images]))
    worst = []
    for of_one_parameter in zip(*draws, strict=True):
        of_draws = [_metric(c, "summed relative error", _error_003, _BOUND_003) for c in of_one_parameter]
        centred, one_sided = (max(getattr(f, by) for f in of_draws) for by in ("centred", "one_sided"))
        worst.append(replace(of_draws[0], centred=centred, one_sided=one_sided))
    setting = f"worst of {_DRAWS} draws of {_REDUCED_IMAGES} images of {_REDUCED_FEATURES} features"
    return ReportCheck("003", setting, tuple(worst), tuple(c for draw in draws for c in draw))


def _error_003(analytic: Array, numerical: Array) -> float:
    return relative_error(analytic, numerical, eps=1e-12)


def _reports_000_and_004(kind: str, X: Array, labels: Array, seed: int) -> Iterator[ReportCheck]:
    model = _model(kind, X.shape[1], _HIDDEN["004"], Xavier(), seed)
    penalties = _PENALTIES_004[kind]
    comparisons = _compare_off_kinks(model, X, labels, penalties)
    lambdas = " and ".join(f"{lam:g}" for lam in penalties.values())
    setting = f"{len(X)} images of {X.shape[1]} features, lambda {lambdas}"
    largest = (
        _metric(c, "largest difference", lambda ga, gn: float(np.max(np.abs(ga - gn))), _BOUND_000) for c in comparisons
    )
    yield ReportCheck("000", setting, tuple(largest), comparisons)

    reported = _TWO_LAYERS_004 if kind == "two-layer" else _ONE_LAYER_004
    metrics: list[CheckMetric] = []
    for i, c in enumerate(comparisons):
        share = X.shape[1] / PIXELS if i == 0 else 1.0  # only the first matrix has a row for each feature
        metrics.append(
            _metric(
                c,
                "sum of differences",
                lambda ga, gn: summary(ga, gn).sum_of_differences,
                reported[c.parameter] * share,
            )
        )
        centred, one_sided = summary(c.analytic, c.centred), summary(c.analytic, c.one_sided)
        for name in ("mean", "min", "max"):
            analytic, numerical = getattr(centred, name)
            metrics.append(CheckMetric(c.parameter, f"{name} |g|", numerical, getattr(one_sided, name)[1], analytic))
    yield ReportCheck("004", setting, tuple(metrics), comparisons)


def _compare_off_kinks(
    model: models.Classifier, X: Array, labels: Array, penalties: Mapping[str, float] | None = None
) -> tuple[ParameterGradients, ...]:
    """Compare gradients after moving biases so that no kink is within the steps of the differences.

    A difference across a kink of a ReLU or of the hinge estimates the derivative of neither side, and one initial model
    in six has such a kink.
    """
    while (near := np.abs(_distances_to_kinks(model, X, labels)).min(axis=0) < _MIN_DISTANCE).any():
        bias = dict(model.named_parameters())["b1" if isinstance(model, models.TwoLayer) else "b"]
        bias.data = bias.data + 2 * _MIN_DISTANCE * near
    return compare_gradients(model, X, labels, penalties)


def _distances_to_kinks(model: models.Classifier, X: Array, labels: Array) -> Array:
    """Return the signed distances to the kinks, ``(images, biases)``; infinite if there are no kinks."""
    if isinstance(model, models.TwoLayer):
        hidden: Array = X @ model.W1.data + model.b1.data
        return hidden
    scores: Array = np.asarray(model(X).detach())
    if isinstance(model, models.SVM):
        margins: Array = scores - scores[np.arange(len(labels)), labels][:, np.newaxis] + 1.0
        return margins
    return np.full_like(scores, np.inf)


def _metric(c: ParameterGradients, name: str, measure: Callable[[Array, Array], float], bound: float) -> CheckMetric:
    return CheckMetric(c.parameter, name, measure(c.analytic, c.centred), measure(c.analytic, c.one_sided), bound=bound)


def _model(kind: str, features: int, hidden: int, init: Initialiser, seed: int) -> models.Classifier:
    rng = np.random.default_rng(seed)
    if kind == "two-layer":
        return models.TwoLayer(features, hidden, 10, rng=rng, init=init)
    return (models.SVM if kind == "svm" else models.SoftmaxRegression)(features, 10, rng=rng, init=init)
