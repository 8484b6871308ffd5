"""Optimisers: comparison with their formulas, state, and values that they must not modify."""

from __future__ import annotations

import copy
import itertools
import pickle
import signal
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.threads import run_in_threads
from tinygrad_cifar import Tensor
from tinygrad_cifar import functional as F
from tinygrad_cifar.nn.optim import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Combined,
    Lookahead,
    MovingAverage,
    Optimiser,
    RMSprop,
)
from tinygrad_cifar.nn.schedules import Constant, Exponential, Triangular

seeds = st.integers(0, 2**32 - 1)
etas = st.floats(1e-4, 0.5)
shares = st.floats(0, 0.99)
decays = st.floats(0, 0.5)
CHANGING = Triangular(0.01, 0.2, 3)
STEPS = 7

KINDS = {
    "sgd": lambda p, eta=CHANGING: SGD(p, eta),
    "momentum": lambda p, eta=CHANGING: SGD(p, eta, momentum=0.9),
    "nesterov": lambda p, eta=CHANGING: SGD(p, eta, momentum=0.9, nesterov=True),
    "decay": lambda p, eta=CHANGING: SGD(p, eta, momentum=0.9, weight_decay=0.1),
    "adam": lambda p, eta=CHANGING: Adam(p, eta),
    "adam decay": lambda p, eta=CHANGING: Adam(p, eta, weight_decay=0.1),
    "nesterov decoupled": lambda p, eta=CHANGING: SGD(
        p, eta, momentum=0.9, nesterov=True, weight_decay=0.1, decoupled=True
    ),
    "adamw": lambda p, eta=CHANGING: AdamW(p, eta, weight_decay=0.1),
    "adagrad": lambda p, eta=CHANGING: AdaGrad(p, eta, weight_decay=0.01),
    "rmsprop": lambda p, eta=CHANGING: RMSprop(p, eta, alpha=0.9, weight_decay=0.01),
    "rmsprop centred": lambda p, eta=CHANGING: RMSprop(p, eta, momentum=0.5, centred=True),
    "groups": lambda p, eta=CHANGING: SGD(
        [{"parameters": p[:1], "momentum": 0.8}, {"parameters": p[1:], "weight_decay": 0.1, "nesterov": True}],
        eta,
        momentum=0.9,
    ),
    "combined": lambda p, eta=CHANGING: Combined(
        SGD(p[:1], eta, momentum=0.9), *(Adam(rest, eta) for rest in [p[1:]] if rest)
    ),
    "average": lambda p, eta=CHANGING: MovingAverage(SGD(p, eta, momentum=0.9), 0.5),
    "lookahead": lambda p, eta=CHANGING: Lookahead(SGD(p, eta, momentum=0.9), every=2),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
SAME_FOR_ALL_PARAMETERS = {name: make for name, make in KINDS.items() if name not in ("groups", "combined")}


def parameters(seed: int, dtype: type = np.float64) -> list[Tensor]:
    """Return a matrix, a vector and a scalar."""
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype) for shape in ((3, 2), (2,), ())]


def gradients(seed: int, step: int, dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, step])
    return [rng.standard_normal(shape).astype(dtype) for shape in ((3, 2), (2,), ())]


def run(optimiser, seed: int, steps: range = range(STEPS), dtype: type = np.float64) -> list[np.ndarray]:
    """Run steps with gradients that depend only on the step number, and return the parameters."""
    for step in steps:
        for p, g in zip(optimiser.parameters, gradients(seed, step, dtype), strict=True):
            p.grad = Tensor(g)
        optimiser.step()
    return [p.numpy() for p in optimiser.parameters]


def by_formula(seed: int, update, memory) -> list[np.ndarray]:
    """Apply ``update(w, g, t, memory) -> (w, memory)`` to each parameter, with the same gradients as :func:`run`."""
    results = []
    for i, p in enumerate(parameters(seed)):
        w, m = p.numpy(), memory
        for step in range(STEPS):
            w, m = update(w, gradients(seed, step)[i], step, m)
        results.append(w)
    return results


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# -- formulas --------------------------------------------------------------------------------------------------------


@given(seeds, etas)
def test_sgd_subtracts_eta_times_the_gradient(seed, eta):
    def update(w, g, _t, m):
        return w - eta * g, m

    assert_same(run(SGD(parameters(seed), eta), seed), by_formula(seed, update, None))


@given(seeds, shares)
def test_momentum_matches_report_004_with_a_changing_rate(seed, m):
    def update(w, g, t, v):
        v = m * v + CHANGING(t) * g
        return w - v, v

    assert_same(run(SGD(parameters(seed), CHANGING, momentum=m), seed), by_formula(seed, update, 0.0))


@given(seeds, st.floats(0.01, 0.99))
def test_nesterov_looks_ahead_along_the_new_momentum(seed, m):
    def update(w, g, t, v):
        v = m * v + CHANGING(t) * g
        return w - (m * v + CHANGING(t) * g), v

    optimiser = SGD(parameters(seed), CHANGING, momentum=m, nesterov=True)
    assert_same(run(optimiser, seed), by_formula(seed, update, 0.0))


@given(seeds, etas, st.floats(0, 0.99), st.floats(0, 0.9999))
def test_adam_is_the_published_algorithm(seed, eta, beta1, beta2):
    def update(theta, g, t, moments):
        m, v = moments
        t = t + 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        return theta - eta * m_hat / (np.sqrt(v_hat) + 1e-8), (m, v)

    optimiser = Adam(parameters(seed), eta, beta1=beta1, beta2=beta2)
    assert_same(run(optimiser, seed), by_formula(seed, update, (0.0, 0.0)))


def assert_decoupled(seed, optimiser, decay, update, memory):
    """Compare with a formula in which the weights, the matrix alone, shrink before each step."""

    def with_decay(w, g, t, m):
        return update(w * (1 - CHANGING(t) * decay) if w.ndim > 1 else w, g, t, m)

    assert_same(run(optimiser, seed), by_formula(seed, with_decay, memory))


@given(seeds, st.floats(0.01, 0.99), st.booleans(), decays)
def test_decoupled_decay_is_not_part_of_the_momentum(seed, m, nesterov, decay):
    def update(w, g, t, v):
        v = m * v + CHANGING(t) * g
        return w - (m * v + CHANGING(t) * g if nesterov else v), v

    optimiser = SGD(parameters(seed), CHANGING, momentum=m, nesterov=nesterov, weight_decay=decay, decoupled=True)
    assert_decoupled(seed, optimiser, decay, update, 0.0)


@given(seeds, st.floats(0, 0.99), st.floats(0, 0.9999), decays)
def test_adamw_is_the_published_algorithm(seed, beta1, beta2, decay):
    def update(theta, g, t, moments):
        m, v = moments
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1 ** (t + 1))
        v_hat = v / (1 - beta2 ** (t + 1))
        return theta - CHANGING(t) * m_hat / (np.sqrt(v_hat) + 1e-8), (m, v)

    optimiser = AdamW(parameters(seed), CHANGING, beta1=beta1, beta2=beta2, weight_decay=decay)
    assert_decoupled(seed, optimiser, decay, update, (0.0, 0.0))


@given(seeds, decays)
def test_adagrad_divides_by_the_root_of_the_sum_of_squares(seed, decay):
    def update(w, g, t, s):
        g = g + decay * w if w.ndim > 1 else g
        s = s + g**2
        return w - CHANGING(t) * g / (np.sqrt(s) + 1e-3), s

    optimiser = AdaGrad(parameters(seed), CHANGING, epsilon=1e-3, weight_decay=decay)
    assert_same(run(optimiser, seed), by_formula(seed, update, 0.0))


@given(seeds, st.floats(0, 0.99), st.sampled_from([0.0, 0.5, 0.9]), st.booleans(), decays)
def test_rmsprop_divides_by_a_moving_root_mean_square(seed, alpha, momentum, centred, decay):
    def update(w, g, t, state):
        s, m, u = state
        g = g + decay * w if w.ndim > 1 else g
        s = alpha * s + (1 - alpha) * g**2
        m = alpha * m + (1 - alpha) * g
        spread = np.maximum(s - m**2, 0) if centred else s
        u = momentum * u + CHANGING(t) * g / (np.sqrt(spread) + 1e-3)
        return w - u, (s, m, u)

    optimiser = RMSprop(
        parameters(seed), CHANGING, alpha=alpha, epsilon=1e-3, momentum=momentum, centred=centred, weight_decay=decay
    )
    found, expected = run(optimiser, seed), by_formula(seed, update, (0.0, 0.0, 0.0))
    for a, b in zip(found, expected, strict=True):  # the root of a difference of squares near 0 loses half the digits
        np.testing.assert_allclose(a, b, rtol=1e-4 if centred else 1e-10, atol=1e-4 if centred else 1e-12)


@pytest.mark.parametrize("kind", [partial(kind, epsilon=0) for kind in (AdaGrad, RMSprop, Adam)])
def test_without_epsilon_elements_that_have_no_gradient_stay(kind):
    w = Tensor([1.0, 2.0], requires_grad=True)
    w.grad = Tensor([0.0, 1.0])
    kind([w], 0.5).step()
    assert (w.data[0], np.isfinite(w.data[1])) == (1.0, True)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
@given(seeds, decays)
def test_weight_decay_is_the_gradient_of_the_l2_penalty(options, seed, lam):
    decayed = SGD(parameters(seed), CHANGING, weight_decay=2 * lam, **options)
    penalised = SGD(parameters(seed), CHANGING, **options)
    W = penalised.parameters[0]
    for step in range(STEPS):
        run(decayed, seed, range(step, step + 1))
        penalised.zero_grad()
        F.l2_penalty([W], lam).backward()
        penalised.parameters[1].grad = penalised.parameters[2].grad = None
        for p, g in zip(penalised.parameters, gradients(seed, step), strict=True):
            p.grad = Tensor(g) if p.grad is None else p.grad + g
        penalised.step()
    assert_same([p.data for p in decayed.parameters], [p.data for p in penalised.parameters])


@given(seeds, decays)
def test_adam_adds_weight_decay_to_the_gradient_of_matrices(seed, decay):
    decayed = Adam(parameters(seed), CHANGING, weight_decay=decay)
    plain = Adam(parameters(seed), CHANGING)
    for step in range(STEPS):
        run(decayed, seed, range(step, step + 1))
        for p, g in zip(plain.parameters, gradients(seed, step), strict=True):
            p.grad = Tensor(g + decay * p.data if p.ndim > 1 else g)
        plain.step()
    assert_same([p.data for p in decayed.parameters], [p.data for p in plain.parameters])


@pytest.mark.parametrize("kind", [SGD, Adam])
@given(seeds)
def test_weight_decay_does_not_affect_biases_and_scalars(kind, seed):
    decayed = run(kind(parameters(seed), 0.1, weight_decay=0.5), seed)
    plain = run(kind(parameters(seed), 0.1), seed)
    assert [(a == b).all() for a, b in zip(decayed, plain, strict=True)] == [False, True, True]


@each_kind
@given(seeds)
def test_eta_is_the_rate_of_the_next_step(make, seed):
    optimiser = make(parameters(seed))
    rates = []
    for step in range(STEPS):
        rates.append(optimiser.eta)
        run(optimiser, seed, range(step, step + 1))
    assert rates == [CHANGING(t) for t in range(STEPS)]


# -- state -----------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(seeds, st.integers(0, STEPS))
def test_a_restored_optimiser_continues_bit_for_bit(make, dtype, seed, pause):
    whole = run(make(parameters(seed, dtype)), seed, dtype=dtype)
    first = make(parameters(seed, dtype))
    half_way = run(first, seed, range(pause), dtype)
    second = make([Tensor(w, requires_grad=True) for w in half_way])
    second.load_state_dict(first.state_dict())
    resumed = run(second, seed, range(pause, STEPS), dtype)
    assert [w.tobytes() for w in resumed] == [w.tobytes() for w in whole]


@each_kind
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
@given(seeds, st.integers(0, STEPS))
def test_a_copied_optimiser_continues_bit_for_bit(make, duplicate, seed, pause):
    whole = run(make(parameters(seed)), seed)
    first = make(parameters(seed))
    run(first, seed, range(pause))
    resumed = run(duplicate(first), seed, range(pause, STEPS))
    assert [w.tobytes() for w in resumed] == [w.tobytes() for w in whole]


@each_kind
@given(seeds)
def test_copying_a_model_with_its_optimiser_preserves_shared_parameters(make, seed):
    weights = parameters(seed)
    copied_weights, optimiser = copy.deepcopy((weights, make(weights)))
    assert all(a is b for a, b in zip(copied_weights, optimiser.parameters, strict=True))


@each_kind
@given(seeds)
def test_state_dict_does_not_alias_the_optimiser(make, seed):
    optimiser = make(parameters(seed))
    run(optimiser, seed)
    state = optimiser.state_dict()
    before = copy.deepcopy(state)
    run(optimiser, seed)
    assert all((state[name] == before[name]).all() for name in before)


@each_kind
@given(seeds)
def test_an_optimiser_does_not_alias_a_loaded_state(make, seed):
    first, second = make(parameters(seed)), make(parameters(seed))
    run(first, seed)
    state = first.state_dict()
    before = copy.deepcopy(state)
    second.load_state_dict(state)
    run(second, seed)
    assert all((state[name] == before[name]).all() for name in before)


FOREIGN = [
    ({}, "steps must be a non-negative integer"),
    ({"steps": np.array(1), "mean.0": np.zeros((3, 2))}, "'mean.0', which this optimiser does not have"),
    ({"steps": np.array(1), "velocity.3": np.zeros(2)}, "'velocity.3', which this optimiser does not have"),
    ({"steps": np.array(1), "velocity.x": np.zeros(2)}, "'velocity.x', which this optimiser does not have"),
    ({"steps": np.array(1), "velocity.-1": np.zeros(2)}, "'velocity.-1', which this optimiser does not have"),
    ({"steps": np.array(1), "velocity.0": np.zeros((2, 3))}, r"velocity.0 must have the shape \(3, 2\); got \(2, 3\)"),
    ({"steps": np.array(1), "velocity.0": np.zeros((3, 2))}, "lacks velocity.1, velocity.2"),
    ({"steps": np.array([1, 2])}, "steps"),
    ({"steps": np.array(-1)}, "steps"),
    ({"steps": np.array(1.5)}, "steps"),
]


@pytest.mark.parametrize(("state", "sentence"), FOREIGN)
def test_a_state_of_another_optimiser_raises(state, sentence):
    optimiser = SGD(parameters(0), 0.1, momentum=0.9)
    with pytest.raises(ValueError, match=f"SGD: .*{sentence}"):
        optimiser.load_state_dict(state)


@pytest.mark.parametrize(("state", "sentence"), FOREIGN)
def test_a_rejected_state_changes_nothing(state, sentence):
    optimiser = SGD(parameters(0), 0.1, momentum=0.9)
    run(optimiser, 0)
    before = optimiser.state_dict()
    with pytest.raises(ValueError, match=sentence):
        optimiser.load_state_dict(state)
    after = optimiser.state_dict()
    assert all((before[name] == after[name]).all() for name in before)


# -- values that are not modified ------------------------------------------------------------------------------------


@each_kind
@given(seeds)
def test_gradients_are_never_written_to(make, seed):
    optimiser = make(parameters(seed))
    run(optimiser, seed)
    assert all((p.grad.data == g).all() for p, g in zip(optimiser.parameters, gradients(seed, STEPS - 1), strict=True))


@each_kind
@given(seeds)
def test_a_parameter_without_a_gradient_is_not_updated(make, seed):
    optimiser = make(parameters(seed))
    before = [p.numpy() for p in optimiser.parameters]
    optimiser.parameters[1].grad = Tensor(np.ones(2))
    optimiser.step()
    assert [(p.data == b).all() for p, b in zip(optimiser.parameters, before, strict=True)] == [True, False, True]


@each_kind
def test_a_view_of_a_parameter_is_not_modified(make):
    optimiser = make(parameters(0))
    view = optimiser.parameters[0].data[1:]
    before = view.copy()
    run(optimiser, 0)
    assert (view == before).all()


@each_kind
def test_a_graph_recorded_before_the_step_uses_the_values_before_the_step(make):
    optimiser = make(parameters(0))
    W = optimiser.parameters[0]
    result = (W * W).sum()
    expected = 2 * W.numpy()
    run(optimiser, 0)
    optimiser.zero_grad()
    result.backward()
    np.testing.assert_array_equal(W.grad.data, expected)


@each_kind
def test_a_detached_parameter_is_not_modified(make):
    optimiser = make(parameters(0))
    detached = optimiser.parameters[0].detach()
    before = detached.numpy()
    run(optimiser, 0)
    assert (detached.data == before).all()


@each_kind
@given(seeds)
def test_float32_parameters_stay_float32(make, seed):
    optimiser = make(parameters(seed, np.float32))
    found = run(optimiser, seed, dtype=np.float32)
    remembered = [a for name, a in optimiser.state_dict().items() if "steps" not in name and "updates" not in name]
    assert {a.dtype for a in [*found, *remembered]} == {np.dtype(np.float32)}


NUMPY_NUMBERS = {
    "sgd": lambda p, f: SGD(p, f(0.1), momentum=f(0.9), weight_decay=f(0.01)),
    "scheduled": lambda p, f: SGD(p, Triangular(f(0.01), f(0.2), 3), momentum=f(0.9), weight_decay=f(0.01)),
    "adagrad": lambda p, f: AdaGrad(p, f(0.1), epsilon=f(1e-8), weight_decay=f(0.01)),
    "rmsprop": lambda p, f: RMSprop(p, f(0.1), alpha=f(0.9), epsilon=f(1e-8), momentum=f(0.9)),
    "group": lambda p, f: SGD([{"parameters": p, "momentum": f(0.9), "weight_decay": f(0.01), "eta": f(0.1)}], 1.0),
    "lookahead": lambda p, f: Lookahead(SGD(p, f(0.1)), f(0.3), every=2),
    "adam": lambda p, f: Adam(p, Constant(f(0.1)), beta1=f(0.9), beta2=f(0.99), epsilon=f(1e-8), weight_decay=f(0.01)),
}


@pytest.mark.parametrize("make", NUMPY_NUMBERS.values(), ids=NUMPY_NUMBERS)
@given(seeds)
def test_numpy_hyperparameters_equal_python_floats_bit_for_bit(make, seed):
    """A search may take them from np.logspace, and a float64 scalar would promote float32 arithmetic."""
    plain = run(make(parameters(seed, np.float32), float), seed, dtype=np.float32)
    numpys = run(make(parameters(seed, np.float32), np.float64), seed, dtype=np.float32)
    assert [w.tobytes() for w in numpys] == [w.tobytes() for w in plain]


@pytest.mark.parametrize("make", SAME_FOR_ALL_PARAMETERS.values(), ids=SAME_FOR_ALL_PARAMETERS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_updating_a_large_matrix_in_blocks_equals_updating_its_rows(make, order):
    """For any block size and memory layout."""
    start, g = np.random.default_rng(0).normal(size=(2, 300, 250))
    whole = make([Tensor(np.asarray(start, order=order), requires_grad=True)])
    rows = make([Tensor(start[i : i + 1], requires_grad=True) for i in range(300)])
    for _ in range(3):
        whole.parameters[0].grad = Tensor(g)
        for i, row in enumerate(rows.parameters):
            row.grad = Tensor(g[i : i + 1])
        whole.step()
        rows.step()
    np.testing.assert_array_equal(whole.parameters[0].data, np.concatenate([row.data for row in rows.parameters]))


@each_kind
def test_zero_grad_clears_all_gradients(make):
    optimiser = make(parameters(0))
    run(optimiser, 0)
    optimiser.zero_grad()
    assert [p.grad for p in optimiser.parameters] == [None, None, None]


# -- convergence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_quadratic_is_minimised(name):
    w = Tensor([3.0, -2.0], requires_grad=True)
    rates = {"adagrad": 1.0, "rmsprop": Exponential(0.05, 0.99, 1)}
    optimiser = KINDS[name]([w], rates.get(name, 0.05))
    for _ in range(300):
        optimiser.zero_grad()
        (w * w * [1.0, 4.0]).sum().backward()
        optimiser.step()
    assert np.abs(w.data).max() < 1e-2


# -- invalid arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SGD, Adam])
class TestInvalidParameters:
    def test_no_parameters(self, kind):
        with pytest.raises(ValueError, match="parameters must not be empty"):
            kind([], 0.1)

    @pytest.mark.parametrize("p", [np.ones(2), Tensor([1.0]), Tensor([1.0], requires_grad=True) * 2], ids=type)
    def test_not_a_leaf_with_requires_grad(self, kind, p):
        with pytest.raises(TypeError, match="parameter 1 must be a leaf tensor with requires_grad=True"):
            kind([*parameters(0)[:1], p], 0.1)

    def test_a_tensor_instead_of_a_list(self, kind):
        with pytest.raises(TypeError, match="must be an iterable"):
            kind(parameters(0)[0], 0.1)

    def test_a_parameter_given_twice(self, kind):
        with pytest.raises(ValueError, match="parameter 3 is the same tensor as parameter 0"):
            kind([*(p := parameters(0)), p[0]], 0.1)


@pytest.mark.parametrize("kind", [SGD, Adam])
@pytest.mark.parametrize("name", ["eta", "weight_decay"])
@pytest.mark.parametrize("number", [-0.1, float("nan"), float("inf")])
def test_negative_or_nonfinite_rates_and_decays_raise(kind, name, number):
    with pytest.raises(ValueError, match=f"{name} must be finite and at least 0; got {number}"):
        kind(parameters(0), **{"eta": 0.1, name: number})


@pytest.mark.parametrize("m", [-0.1, 1.0, float("nan")])
def test_momentum_outside_0_to_1_raises(m):
    with pytest.raises(ValueError, match=rf"momentum must be in \[0, 1\); got {m}"):
        SGD(parameters(0), 0.1, momentum=m)


def test_nesterov_without_momentum_raises():
    with pytest.raises(ValueError, match="nesterov requires momentum"):
        SGD(parameters(0), 0.1, nesterov=True)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_betas_outside_0_to_1_raise(name, beta):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\); got {beta}"):
        Adam(parameters(0), 0.1, **{name: beta})


def test_the_rate_of_a_schedule_is_a_python_float():
    optimiser = SGD(parameters(0), Exponential(np.float64(0.1), np.float64(0.9), 2))
    assert type(optimiser.eta) is float


def test_a_negative_epsilon_raises():
    with pytest.raises(ValueError, match="epsilon must be finite and at least 0; got -1"):
        Adam([Tensor([1.0], requires_grad=True)], epsilon=-1.0)


def test_a_state_that_is_not_numeric_changes_nothing():
    optimiser = SGD([Tensor([1.0], requires_grad=True)], 0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"SGD: velocity\.0 must be real; got <U1"):
        optimiser.load_state_dict({"steps": np.array(5), "velocity.0": np.array(["a"])})
    assert optimiser.steps == 0


# -- interruptions -----------------------------------------------------------------------------------------------------


def state_of(optimiser) -> list[bytes]:
    return [optimiser.steps, *[p.numpy().tobytes() for p in optimiser.parameters]] + [
        (name, value.tobytes()) for name, value in optimiser.state_dict().items()
    ]


def optimiser_with_gradients(make, seed: int = 0):
    """Return an optimiser of small parameters and of one that is updated in two blocks, after a step."""
    optimiser = make([*parameters(seed), Tensor(np.ones((4, 3)), requires_grad=True)])
    for p, factor in zip(optimiser.parameters, (1.0, -2.0, 3.0, 0.5), strict=True):
        p.grad = Tensor(factor * np.ones(p.shape))
    optimiser.step()
    return optimiser


def innermost(optimiser) -> list[Optimiser]:
    """Return the optimisers that update parameters."""
    if not isinstance(optimiser, Combined):
        return [optimiser]
    return [found for inner in optimiser.optimisers for found in innermost(inner)]


@each_kind
@pytest.mark.parametrize("updates_before", range(4))
def test_interrupted_step_is_carried_out_as_a_whole(make, updates_before):
    """Ctrl-C arrives before the update of one of the four parameters."""
    after = optimiser_with_gradients(make)
    after.step()
    optimiser = optimiser_with_gradients(make)
    updates = itertools.count()

    def with_a_signal(update, *arrays, **numbers):
        if next(updates) == updates_before:
            signal.raise_signal(signal.SIGINT)
        update(*arrays, **numbers)

    for inner in innermost(optimiser):
        inner._update = partial(with_a_signal, inner._update)
    with pytest.raises(KeyboardInterrupt):
        optimiser.step()
    assert state_of(optimiser) == state_of(after)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "default"])
def test_step_restores_the_handler_of_ctrl_c(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        optimiser_with_gradients(partial(SGD, eta=0.1)).step()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_not_lost_if_the_step_raises():
    optimiser = optimiser_with_gradients(partial(SGD, eta=0.1))

    def fail(*_, **__):
        signal.raise_signal(signal.SIGINT)
        raise MemoryError

    optimiser._update = fail
    with pytest.raises(KeyboardInterrupt):
        optimiser.step()


def test_steps_in_a_thread():
    optimiser = optimiser_with_gradients(partial(SGD, eta=0.1))
    run_in_threads(lambda _: optimiser.step(), count=1)
    assert optimiser.steps == 2


# -- frozen parameters -------------------------------------------------------------------------------------------------


@each_kind
def test_frozen_parameter_is_not_updated(make):
    optimiser = optimiser_with_gradients(make)
    frozen, other = optimiser.parameters[:2]
    frozen.requires_grad = False
    before = frozen.numpy(), other.numpy()
    optimiser.step()
    optimiser.zero_grad()
    np.testing.assert_array_equal(frozen.data, before[0])
    assert (other.data != before[1]).all()
    assert (frozen.grad, other.grad) == (None, None)
    frozen.requires_grad = True
    frozen.grad = Tensor(np.ones(frozen.shape))
    optimiser.step()
    assert (frozen.data != before[0]).all()


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_adam_counts_the_updates_of_each_parameter(kind):
    """A parameter that was frozen until then begins as a new one does."""
    late, new, other = (Tensor([1.0, -2.0], requires_grad=True) for _ in range(3))
    optimiser = kind([late, other], 0.1)
    other.grad = Tensor([1.0, 1.0])
    late.requires_grad = False
    for _ in range(50):
        optimiser.step()
    late.requires_grad = True
    fresh = kind([new], 0.1)
    for _ in range(3):
        late.grad = new.grad = Tensor([3.0, -0.5])
        optimiser.step()
        fresh.step()
    assert late.numpy().tobytes() == new.numpy().tobytes()


@pytest.mark.parametrize("count", [-1, 1.5])
def test_a_state_with_a_wrong_number_of_updates_is_refused(count):
    optimiser = Adam([Tensor([1.0], requires_grad=True)])
    with pytest.raises(ValueError, match=r"updates\.0 must be a non-negative integer"):
        optimiser.load_state_dict(optimiser.state_dict() | {"updates.0": np.array(count)})


class PlainDescent(Optimiser):
    """An optimiser of a user, with the base class's defaults."""

    def _update(self, w, g, *, eta, decay):
        w -= eta * (g + decay * w)


def test_weights_do_not_decay_by_default():
    for make in (PlainDescent, SGD, Adam, AdaGrad, RMSprop):
        default, explicit = (make(parameters(0), 0.1, **options) for options in ({}, {"weight_decay": 0.0}))
        for one, other in zip(run(default, 0), run(explicit, 0), strict=True):
            assert one.tobytes() == other.tobytes()
