"""The problems that others set: values and derivatives are those of the references, and of the published figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import libraries
from benchmarks.agreement import relative_error
from benchmarks.implementations import OURS
from benchmarks.libraries import NAMES, load
from benchmarks.options import Options
from benchmarks.problems import ba, measurement
from benchmarks.problems.collection import PROBLEMS
from benchmarks.problems.problem import Problem, Published

CASES = [(problem, size) for problem in PROBLEMS for size in problem.small]
LONG = ("saddle", "particle")  # thousands of gradients in gradients; measured with the times


def _library(name: str) -> Any:
    try:
        return load(name)
    except ImportError:
        pytest.skip(f"{name} is not installed")


def test_every_problem_of_gradbench_is_there() -> None:
    names = "hello det ba gmm ht kmeans llsq lse lstm ode particle saddle"
    assert sorted(problem.name for problem in PROBLEMS) == sorted(names.split())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("problem", "size"), CASES, ids=[f"{problem.name}-{size}" for problem, size in CASES])
def test_values_and_derivatives_are_those_of_the_reference(problem: Problem, size: Any, name: str) -> None:
    library = _library(name)
    if name in problem.unsuitable:
        pytest.skip(problem.unsuitable[name])
    inputs = problem.inputs(size)
    assert problem.functions.keys() == problem.reference.keys()
    for function, make in problem.functions.items():
        error = relative_error(library.numpy(make(library, inputs)()), problem.reference[function](inputs))
        assert error <= 1e-12, function


FIGURES = [(problem, figure) for problem in PROBLEMS for figure in problem.published]


@pytest.mark.parametrize(("problem", "figure"), FIGURES, ids=[f"{p.name}-{f.function}" for p, f in FIGURES])
def test_reference_is_the_published_figure(problem: Problem, figure: Published) -> None:
    assert relative_error(problem.reference[figure.function](figure.inputs), figure.figure) <= figure.rtol


@pytest.mark.parametrize(
    ("problem", "figure"), [(problem, figure) for problem, figure in FIGURES if problem.name not in LONG]
)
def test_result_is_the_published_figure(problem: Problem, figure: Published) -> None:
    ours = load(OURS)
    result = ours.numpy(problem.functions[figure.function](ours, figure.inputs)())
    assert relative_error(result, figure.figure) <= figure.rtol


def test_sparse_jacobian_is_that_of_all_residuals() -> None:
    """The dense Jacobian, by differences, of the residuals as a function of cameras, points and weights."""
    problem = ba.PROBLEM
    inputs = problem.inputs({"n": 2, "m": 3, "p": 5})
    parts = ("cameras", "points", "weights")
    sizes = np.cumsum([inputs[name].size for name in parts])

    def residuals(x: Any) -> Any:
        split = np.split(x, sizes[:-1])
        changed = {name: part.reshape(inputs[name].shape) for name, part in zip(parts, split, strict=True)}
        reprojection, weights = problem.reference["objective"]({**inputs, **changed})
        return np.concatenate([reprojection.ravel(), weights])

    x = np.concatenate([inputs[name].ravel() for name in parts])
    steps = 1e-6 * (1 + np.abs(x))
    dense = np.stack(
        [
            (residuals(x + h * unit) - residuals(x - h * unit)) / (2 * h)
            for h, unit in zip(steps, np.eye(x.size), strict=True)
        ],
        1,
    )
    ours = load(OURS)
    starts, columns, values = problem.functions["jacobian"](ours, inputs)()
    sparse = np.zeros_like(dense)
    for row in range(len(starts) - 1):
        here = slice(starts[row], starts[row + 1])
        sparse[row, columns[here]] = values[here]
    np.testing.assert_allclose(sparse, dense, rtol=1e-6, atol=1e-6 * np.abs(dense).max())


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ((1.0, [2.0, 4.0]), 0.0),
        ((1.0, [2.0, 3.0]), 0.25),
        ((1.5, [2.0, 4.0]), 0.5),
        ((np.nan, [2.0, 4.0]), np.inf),
    ],
)
def test_error_is_relative_to_the_largest_element_of_each_array(found: Any, error: float) -> None:
    assert relative_error(found, (1.0, [2.0, 4.0])) == error


# -- the measurement ---------------------------------------------------------------------------------------------------


class _Failing:
    """This library, which cannot compute gradients."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load(OURS), name)

    def gradient(self, f: Any, *xs: Any) -> Any:
        raise TypeError(f"no gradients of {len(xs)} inputs\nof {f}")


class _Wrong:
    """This library, with gradients that are wrong by 1 per cent."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load(OURS), name)

    def gradient(self, f: Any, *xs: Any) -> Any:
        right = load(OURS).gradient(f, *xs)
        return lambda: tuple(1.01 * part for part in right())


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    def load_or_fail(name: str) -> Any:
        if name == OURS:
            return load(OURS)
        if name == "JAX jit":
            raise ImportError(name)
        return _Failing() if name == "HIPS autograd" else _Wrong()

    monkeypatch.setenv("NPROC", "1")  # restores it afterwards
    monkeypatch.setattr(libraries, "load", load_or_fail)
    monkeypatch.setattr(measurement, "PROBLEMS", [problem for problem in PROBLEMS if problem.name in ("lse", "det")])
    result = measurement.measure(Options(quick=True, threads=1), lambda _: None)
    assert result["missing"] == ["JAX jit"]
    text = "\n".join(measurement.lines(result))
    assert "not installed: JAX jit" in text
    assert all(len(line) <= 80 for line in text.split("\n"))
    return list(result["rows"])


def test_every_function_is_timed(rows: list[dict[str, Any]]) -> None:
    assert [(row["problem"], row["function"]) for row in rows] == [
        *[("lse", function) for function in ("primal", "gradient")],
        *[("det", function) for function in ("primal", "gradient", "by LU", "gradient by LU")],
    ]
    assert all(seconds > 0 for row in rows for seconds in row["seconds"][OURS])


def test_library_with_wrong_gradients_is_left_out_and_not_timed(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["seconds"].keys() == {OURS}
        assert row["left_out"].keys() == {"PyTorch eager", "HIPS autograd"}
        assert "the results differ (relative error 1.0e-02)" in row["left_out"]["PyTorch eager"]


def test_error_of_another_library_is_stated_in_one_line(rows: list[dict[str, Any]]) -> None:
    errors = {row["left_out"]["HIPS autograd"].partition(": ")[2] for row in rows}
    assert errors == {"TypeError: no gradients of 1 inputs"}


def test_wrong_results_of_this_library_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPROC", "1")
    monkeypatch.setattr(libraries, "load", lambda _: _Wrong())
    monkeypatch.setattr(measurement, "PROBLEMS", [problem for problem in PROBLEMS if problem.name == "lse"])
    with pytest.raises(RuntimeError, match="lse, gradient: the results differ"):
        measurement.measure(Options(quick=True, threads=1), lambda _: None)
