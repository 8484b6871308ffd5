"""The models of the benchmarks: gradients by hand and of all libraries agree, and are those of the losses."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from benchmarks import targets
from benchmarks.agreement import relative_error
from benchmarks.implementations import HAND, OURS
from benchmarks.libraries import AUTOGRAD, NAMES, TORCH, load
from benchmarks.models import character_rnn, contestant, gpt, measurement, second_derivatives
from benchmarks.models.collection import MODELS
from benchmarks.models.contestant import Contestant, RemoteContestant
from benchmarks.models.model import GOALS, OWN_LOOP, SECOND, Model, gradients_of
from benchmarks.options import Options
from benchmarks.processes import NotInstalledError, UnavailableError

CASES = [(model, size) for model in MODELS for size in model.small]
IDS = [f"{model.cases[0].name}-{size}" for model, size in CASES]
DERIVED = [(model, size) for model, size in CASES if model.by_hand is not None]
STATELESS = [(m, size) for m, size in CASES if m.cases[0].goal is not OWN_LOOP and "Hessian" not in m.cases[0].name]


def _library(name: str) -> Any:
    try:
        return load(name)
    except ImportError:
        pytest.skip(f"{name} is not installed")


def _calls(thunk: Any, read: Any) -> list[Any]:
    return [contestant._copy(read(thunk())) for _ in range(3)]


@pytest.mark.parametrize(("model", "size"), DERIVED, ids=[f"{m.cases[0].name}-{size}" for m, size in DERIVED])
def test_results_are_those_of_the_program_derived_by_hand(model: Model, size: Any) -> None:
    inputs, ours = model.inputs(size, "float64"), load(OURS)
    assert model.by_hand is not None
    expected = _calls(model.by_hand(inputs), lambda results: results)
    assert relative_error(_calls(model.make(ours, inputs), ours.numpy), expected) <= 1e-12


@pytest.mark.parametrize("name", [name for name in NAMES if name != OURS])
@pytest.mark.parametrize(("model", "size"), CASES, ids=IDS)
def test_results_of_the_other_libraries_are_those_of_this_one(model: Model, size: Any, name: str) -> None:
    inputs, ours, other = model.inputs(size, "float64"), load(OURS), _library(name)
    expected = _calls(model.make(ours, inputs), ours.numpy)
    assert relative_error(_calls(model.make(other, inputs), other.numpy), expected) <= 1e-11


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model in MODELS for name in model.alternatives], ids=lambda x: str(x)[:20]
)
def test_results_of_the_alternatives_are_those_of_the_program_derived_by_hand(model: Model, name: str) -> None:
    way = model.alternatives[name]
    if way.contestant != HAND:
        _library(way.contestant)
    assert model.by_hand is not None
    for size in model.small:
        inputs = model.inputs(size, "float64")
        expected = _calls(model.by_hand(inputs), lambda results: results)
        assert relative_error(_calls(way.make(inputs), way.arrange), expected) <= 1e-12


@pytest.mark.parametrize(
    ("model", "size"), STATELESS, ids=[f"{model.cases[0].name}-{size}" for model, size in STATELESS]
)
def test_gradients_are_the_slopes_of_the_loss(model: Model, size: Any) -> None:
    """Along a random direction, by a centred difference: gradients, penalties and MAML."""
    inputs, ours = model.inputs(size, "float64"), load(OURS)
    rng = np.random.default_rng(0)
    along = [rng.normal(size=array.shape) for array in inputs["parameters"]]

    def results_at(step: float) -> Any:
        moved = tuple(array + step * v for array, v in zip(inputs["parameters"], along, strict=True))
        return ours.numpy(model.make(ours, {**inputs, "parameters": moved})())

    slope = sum(np.vdot(g, v) for g, v in zip(results_at(0.0)[1], along, strict=True))
    difference = (results_at(1e-6)[0] - results_at(-1e-6)[0]) / 2e-6
    assert difference == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("draw", "loss", "size"),
    [
        (*second_derivatives._NET, second_derivatives._NET_SIZES[1]),
        (character_rnn.draw, character_rnn.loss_by_step, second_derivatives._RNN_SIZES[1]),
        (gpt.draw, gpt.loss, gpt.SMALL),
    ],
    ids=["two layers", "RNN", "GPT"],
)
def test_hessian_products_are_differences_of_gradients(draw: Any, loss: Any, size: Any) -> None:
    draw, make = second_derivatives.hessian_product(draw, loss)
    inputs, ours = draw(np.random.default_rng(0), **size), load(OURS)

    def gradients_at(step: float) -> Any:
        pairs = zip(inputs["parameters"], inputs["directions"], strict=True)
        moved = tuple(array + step * v for array, v in pairs)
        return ours.numpy(gradients_of(loss)(ours, {**inputs, "parameters": moved})())[1]

    differences = [(a - b) / 2e-6 for a, b in zip(gradients_at(1e-6), gradients_at(-1e-6), strict=True)]
    for found, expected in zip(ours.numpy(make(ours, inputs)()), differences, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_every_model_with_a_goal_relative_to_numpy_is_derived_by_hand() -> None:
    for model in MODELS:
        assert {case.goal.to_hand is not None for case in model.cases} == {model.by_hand is not None}


def test_inputs_have_the_type_that_was_asked_for() -> None:
    for model in MODELS:
        inputs = model.inputs(model.small[0], "float32")
        assert {array.dtype for array in inputs["parameters"]} == {np.dtype("float32")}


# -- the measurement ---------------------------------------------------------------------------------------------------


class _Failing:
    """This library, which cannot compute gradients."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load(OURS), name)

    def value_and_gradients(self, f: Any, *xs: Any) -> Any:
        raise TypeError(f"no gradients of {len(xs)} inputs\nof {f}")


class _Wrong:
    """This library, with gradients that are wrong by 1 per cent."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load(OURS), name)

    def value_and_gradients(self, f: Any, *xs: Any) -> Any:
        right = load(OURS).value_and_gradients(f, *xs)

        def wrong() -> Any:
            value, gradients = right()
            return value, tuple(1.01 * gradient for gradient in gradients)

        return wrong


def _only(patch: pytest.MonkeyPatch, *names: str) -> None:
    chosen = tuple(model for model in MODELS if model.cases[0].name.startswith(names))
    patch.setattr(measurement, "MODELS", chosen)
    patch.setattr(contestant, "MODELS", chosen)


def _start(patch: pytest.MonkeyPatch, **found: Any) -> None:
    """Let the contestants be in this process: by hand, and these libraries."""

    def start(name: str, _threads: int) -> Contestant:
        if name == HAND:
            return Contestant(None)
        if (library := found.get(name.partition(" ")[0])) is None:
            raise NotInstalledError(name)
        return Contestant(library)

    patch.setattr(measurement, "RemoteContestant", start)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        _start(patch, tinygrad_cifar=load(OURS), HIPS=_Failing(), PyTorch=_Wrong())
        _only(patch, "max-pooling", "LSTM")
        return measurement.measure(Options(quick=True, threads=1), lambda _: None)


def test_every_case_is_timed_beside_the_program_derived_by_hand(result: dict[str, Any]) -> None:
    assert [row["case"] for row in result["rows"]] == [
        *("max-pooling by max over axes", "max-pooling, built in"),
        *("LSTM, 50 steps, batch 32", "LSTM, 100 steps, batch 32"),
    ]
    for row in result["rows"]:
        assert row["seconds"].keys() >= {OURS, HAND}
        assert all(seconds > 0 for seconds in row["seconds"][OURS])
        assert row["memory"].keys() == {OURS, HAND}


def test_contestants_with_wrong_gradients_are_left_out_and_not_timed(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        assert TORCH not in row["seconds"]
        assert "differ from those of the reference (relative error 1.0e-02)" in row["left_out"][TORCH]


def test_an_error_of_another_library_is_stated_in_one_line(result: dict[str, Any]) -> None:
    reasons = {row["left_out"][AUTOGRAD] for row in result["rows"]}
    assert reasons == {"TypeError: no gradients of 1 inputs", "TypeError: no gradients of 5 inputs"}


def test_the_table_names_cases_goals_and_missing_libraries(result: dict[str, Any]) -> None:
    text = "\n".join(measurement.lines(result))
    assert "LSTM, 100 steps, batch 32 (arrays)" in text
    assert all(goal.name in text for goal in GOALS)
    assert "not installed: JAX jit" in text
    assert all(len(line) <= 80 for line in text.split("\n"))


def test_wrong_results_of_this_library_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _start(monkeypatch, tinygrad_cifar=_Wrong())
    _only(monkeypatch, "max-pooling")
    for quick in (True, False):
        with pytest.raises(RuntimeError, match="max-pooling by max over axes, tinygrad_cifar: the results differ"):
            measurement.measure(Options(quick=quick, threads=1), lambda _: None)


def test_loops_of_users_are_measured_on_one_thread_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    _start(monkeypatch, tinygrad_cifar=load(OURS))
    _only(monkeypatch, "softmax")
    rows = measurement.measure(Options(quick=True, threads=2), lambda _: None)["rows"]
    assert [(row["case"].partition(" ")[0], row["threads"]) for row in rows] == [
        *(("softmax", 1), ("two", 1)),
        *(("softmax", 2), ("two", 2), ("wide", 2)),
    ]


def test_a_contestant_in_its_own_process_computes_the_same() -> None:
    local, request = Contestant(load(OURS)), (0, MODELS[0].small[0], "float64", None, 3)
    with closing(RemoteContestant(OURS, 1)) as remote:
        assert relative_error(remote.results(*request), local.results(*request)) <= 1e-12
        assert remote.choose_count(None, 0) > 0
        assert remote.seconds(None) > 0
        assert remote.peak() > 0


def test_failures_in_its_own_process_are_stated_in_one_line() -> None:
    without = next(i for i, model in enumerate(MODELS) if model.by_hand is None)
    with closing(RemoteContestant(HAND, 1)) as remote:
        with pytest.raises(UnavailableError, match="LookupError: the model is not derived by hand"):
            remote.results(without, MODELS[without].small[0], "float64", None, 1)
        with pytest.raises(UnavailableError, match="KeyError"):
            remote.seconds("unknown")


def _timed(goal: str, case: str, by_hand: float | None, torch: float) -> dict[str, Any]:
    others = {TORCH: [torch]} | ({} if by_hand is None else {HAND: [by_hand]})
    memory = {OURS: 120} | ({} if by_hand is None else {HAND: 100})
    seconds = {OURS: [1.0], **others}
    profile = {"forward": {"matmul": 0.5}, "backward": {"matmul, x": 0.2}, "update": 0.0, "total": 1.0}
    row = {"case": case, "goal": goal, "threads": 1, "seconds": seconds, "memory": memory}
    passes = None if goal == SECOND.name else {"whole": 1.0, "recorded": 0.4, "computed": 0.3}
    return {**row, "profile": profile, "passes": passes, "left_out": {}}


def test_verdicts_are_those_of_the_worst_row_of_each_goal() -> None:
    rows = [
        _timed("arrays", "a", 1.0, 1.0),
        _timed("arrays", "b", 0.8, 2.0),
        _timed("tiny operations", "c", 0.6, 0.5),
        _timed(SECOND.name, "d", None, 1.0),
    ]
    found = {verdict.target: verdict for verdict in targets.verdicts({"models": {"rows": rows, "missing": []}})}
    assert [(target, round(v.measured, 2), v.met) for target, v in found.items()] == [
        ("models, arrays: time over hand-derived NumPy's", 1.25, False),
        ("models, arrays: time over PyTorch's", 1.0, True),
        ("models, tiny operations: time over hand-derived NumPy's", 1.67, True),
        ("models, tiny operations: time over PyTorch's", 2.0, False),
        ("models, second derivatives: time over PyTorch's", 1.0, True),
        ("models, peak memory over hand-derived NumPy's", 1.2, False),
    ]
    assert (
        "b (arrays); 1 of 2 rows are within the limit" in found["models, arrays: time over hand-derived NumPy's"].where
    )


def test_times_that_miss_their_goal_are_marked() -> None:
    text = "\n".join(measurement._block(_timed("arrays", "b", 0.8, 2.0)))
    assert "1.25 1.25-1.25*" in text
    assert "0.50 0.50-0.50*" not in text
    assert "memory 1.20*" in text


def test_a_row_that_misses_its_goal_says_where_the_time_goes() -> None:
    missed, met = ("\n".join(measurement._block(_timed("arrays", "b", by_hand, 2.0))) for by_hand in (0.8, 1.0))
    assert "where the time goes: computing the forward pass 30%, recording it 10%," in missed
    assert "backward pass 60%" in missed
    assert "measured with the profiler: matmul, forward 50%, VJP of" in missed
    assert "where the time goes" not in met


def test_a_row_of_second_derivatives_says_which_passes_it_consists_of() -> None:
    text = "\n".join(measurement._block(_timed(SECOND.name, "b", None, 0.5)))
    assert "where the time goes: a backward pass that is recorded, and one through it" in text
