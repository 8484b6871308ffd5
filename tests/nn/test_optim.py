"""Optimisers against their formulas written out again, and what they must leave alone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar import Tensor
from tinygrad_cifar import functional as F
from tinygrad_cifar.nn.optim import SGD, Adam
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
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def parameters(seed: int, dtype: type = np.float64) -> list[Tensor]:
    """Return a matrix, a vector and a number."""
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype) for shape in ((3, 2), (2,), ())]


def gradients(seed: int, step: int, dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, step])
    return [rng.standard_normal(shape).astype(dtype) for shape in ((3, 2), (2,), ())]


def run(optimiser, seed: int, steps: range = range(STEPS), dtype: type = np.float64) -> list[np.ndarray]:
    """Make steps with gradients that depend on the step number alone, and return the parameters."""
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


# -- the formulas ----------------------------------------------------------------------------------------------------


@given(seeds, etas)
def test_sgd_subtracts_eta_times_the_gradient(seed, eta):
    def update(w, g, _t, m):
        return w - eta * g, m

    assert_same(run(SGD(parameters(seed), eta), seed), by_formula(seed, update, None))


@given(seeds, shares)
def test_momentum_is_that_of_report_004_when_the_rate_changes(seed, m):
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
def test_weight_decay_leaves_biases_and_numbers_alone(kind, seed):
    decayed = run(kind(parameters(seed), 0.1, weight_decay=0.5), seed)
    plain = run(kind(parameters(seed), 0.1), seed)
    assert [(a == b).all() for a, b in zip(decayed, plain, strict=True)] == [False, True, True]


@each_kind
@given(seeds)
def test_the_rate_is_that_of_the_step_to_come(make, seed):
    optimiser = make(parameters(seed))
    rates = []
    for step in range(STEPS):
        rates.append(optimiser.eta)
        run(optimiser, seed, range(step, step + 1))
    assert rates == [CHANGING(t) for t in range(STEPS)]


# -- going on later --------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(seeds, st.integers(0, STEPS))
def test_a_restored_optimiser_goes_on_with_the_same_bits(make, dtype, seed, pause):
    whole = run(make(parameters(seed, dtype)), seed, dtype=dtype)
    first = make(parameters(seed, dtype))
    half_way = run(first, seed, range(pause), dtype)
    second = make([Tensor(w, requires_grad=True) for w in half_way])
    second.load_state_dict(first.state_dict())
    resumed = run(second, seed, range(pause, STEPS), dtype)
    assert [w.tobytes() for w in resumed] == [w.tobytes() for w in whole]


@each_kind
@pytest.mark.parametrize("journey", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
@given(seeds, st.integers(0, STEPS))
def test_a_copied_optimiser_goes_on_with_the_same_bits(make, journey, seed, pause):
    whole = run(make(parameters(seed)), seed)
    first = make(parameters(seed))
    run(first, seed, range(pause))
    resumed = run(journey(first), seed, range(pause, STEPS))
    assert [w.tobytes() for w in resumed] == [w.tobytes() for w in whole]


@each_kind
@given(seeds)
def test_copying_a_model_with_its_optimiser_keeps_them_together(make, seed):
    weights = parameters(seed)
    copied_weights, optimiser = copy.deepcopy((weights, make(weights)))
    assert all(a is b for a, b in zip(copied_weights, optimiser.parameters, strict=True))


@each_kind
@given(seeds)
def test_a_state_dict_does_not_change_with_the_optimiser(make, seed):
    optimiser = make(parameters(seed))
    run(optimiser, seed)
    state = optimiser.state_dict()
    before = copy.deepcopy(state)
    run(optimiser, seed)
    assert all((state[name] == before[name]).all() for name in before)


@each_kind
@given(seeds)
def test_a_loaded_state_is_not_shared(make, seed):
    first, second = make(parameters(seed)), make(parameters(seed))
    run(first, seed)
    state = first.state_dict()
    before = copy.deepcopy(state)
    second.load_state_dict(state)
    run(second, seed)
    assert all((state[name] == before[name]).all() for name in before)


FOREIGN = [
    ({}, "lacks the number of steps"),
    ({"steps": np.array(1), "mean.0": np.zeros((3, 2))}, "'mean.0', which this optimiser does not remember"),
    ({"steps": np.array(1), "velocity.3": np.zeros(2)}, "'velocity.3', which this optimiser does not remember"),
    ({"steps": np.array(1), "velocity.x": np.zeros(2)}, "'velocity.x', which this optimiser does not remember"),
    ({"steps": np.array(1), "velocity.-1": np.zeros(2)}, "'velocity.-1', which this optimiser does not remember"),
    ({"steps": np.array(1), "velocity.0": np.zeros((2, 3))}, r"velocity.0 has shape \(2, 3\), not \(3, 2\)"),
    ({"steps": np.array(1), "velocity.0": np.zeros((3, 2))}, "lacks velocity.1, velocity.2"),
    ({"steps": np.array([1, 2])}, "steps"),
    ({"steps": np.array(-1)}, "steps"),
    ({"steps": np.array(1.5)}, "steps"),
]


@pytest.mark.parametrize(("state", "sentence"), FOREIGN)
def test_a_foreign_state_is_refused(state, sentence):
    optimiser = SGD(parameters(0), 0.1, momentum=0.9)
    with pytest.raises(ValueError, match=f"SGD: .*{sentence}"):
        optimiser.load_state_dict(state)


@pytest.mark.parametrize(("state", "sentence"), FOREIGN)
def test_a_refused_state_changes_nothing(state, sentence):
    optimiser = SGD(parameters(0), 0.1, momentum=0.9)
    run(optimiser, 0)
    before = optimiser.state_dict()
    with pytest.raises(ValueError, match=sentence):
        optimiser.load_state_dict(state)
    after = optimiser.state_dict()
    assert all((before[name] == after[name]).all() for name in before)


# -- what is left alone ----------------------------------------------------------------------------------------------


@each_kind
@given(seeds)
def test_gradients_are_never_written_to(make, seed):
    optimiser = make(parameters(seed))
    run(optimiser, seed)
    assert all((p.grad.data == g).all() for p, g in zip(optimiser.parameters, gradients(seed, STEPS - 1), strict=True))


@each_kind
@given(seeds)
def test_a_parameter_without_a_gradient_stays_as_it_is(make, seed):
    optimiser = make(parameters(seed))
    before = [p.numpy() for p in optimiser.parameters]
    optimiser.parameters[1].grad = Tensor(np.ones(2))
    optimiser.step()
    assert [(p.data == b).all() for p, b in zip(optimiser.parameters, before, strict=True)] == [True, False, True]


@each_kind
def test_a_view_of_a_parameter_keeps_the_numbers_it_had(make):
    optimiser = make(parameters(0))
    view = optimiser.parameters[0].data[1:]
    before = view.copy()
    run(optimiser, 0)
    assert (view == before).all()


@each_kind
def test_a_graph_recorded_before_the_step_gives_the_gradient_of_its_own_numbers(make):
    optimiser = make(parameters(0))
    W = optimiser.parameters[0]
    result = (W * W).sum()
    expected = 2 * W.numpy()
    run(optimiser, 0)
    optimiser.zero_grad()
    result.backward()
    np.testing.assert_array_equal(W.grad.data, expected)


@each_kind
def test_a_detached_parameter_keeps_the_numbers_it_had(make):
    optimiser = make(parameters(0))
    kept = optimiser.parameters[0].detach()
    before = kept.numpy()
    run(optimiser, 0)
    assert (kept.data == before).all()


@each_kind
@given(seeds)
def test_float32_parameters_stay_float32(make, seed):
    optimiser = make(parameters(seed, np.float32))
    found = run(optimiser, seed, dtype=np.float32)
    remembered = [a for name, a in optimiser.state_dict().items() if name != "steps"]
    assert {a.dtype for a in [*found, *remembered]} == {np.dtype(np.float32)}


NUMPY_NUMBERS = {
    "sgd": lambda p, f: SGD(p, f(0.1), momentum=f(0.9), weight_decay=f(0.01)),
    "scheduled": lambda p, f: SGD(p, Triangular(f(0.01), f(0.2), 3), momentum=f(0.9), weight_decay=f(0.01)),
    "adam": lambda p, f: Adam(p, Constant(f(0.1)), beta1=f(0.9), beta2=f(0.99), epsilon=f(1e-8), weight_decay=f(0.01)),
}


@pytest.mark.parametrize("make", NUMPY_NUMBERS.values(), ids=NUMPY_NUMBERS)
@given(seeds)
def test_hyper_parameters_from_numpy_give_the_same_bits_as_python_floats(make, seed):
    """A search takes them from np.logspace; a float64 scalar would pull float32 arithmetic up to float64."""
    plain = run(make(parameters(seed, np.float32), float), seed, dtype=np.float32)
    numpys = run(make(parameters(seed, np.float32), np.float64), seed, dtype=np.float32)
    assert [w.tobytes() for w in numpys] == [w.tobytes() for w in plain]


@each_kind
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_matrix_is_changed_as_its_rows_are(make, order):
    """However an update is cut up, and however the matrix lies in memory."""
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
def test_zero_grad_forgets_all_gradients(make):
    optimiser = make(parameters(0))
    run(optimiser, 0)
    optimiser.zero_grad()
    assert [p.grad for p in optimiser.parameters] == [None, None, None]


# -- it does optimise ------------------------------------------------------------------------------------------------


@each_kind
def test_a_bowl_is_descended(make):
    w = Tensor([3.0, -2.0], requires_grad=True)
    optimiser = make([w], 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        (w * w * [1.0, 4.0]).sum().backward()
        optimiser.step()
    assert np.abs(w.data).max() < 1e-2


# -- what cannot be asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SGD, Adam])
class TestRefusals:
    def test_nothing_to_optimise(self, kind):
        with pytest.raises(ValueError, match="no parameters"):
            kind([], 0.1)

    @pytest.mark.parametrize("p", [np.ones(2), Tensor([1.0]), Tensor([1.0], requires_grad=True) * 2], ids=type)
    def test_what_is_no_leaf_with_a_gradient(self, kind, p):
        with pytest.raises(TypeError, match="parameter 1 is not a leaf tensor with requires_grad=True"):
            kind([*parameters(0)[:1], p], 0.1)

    def test_one_tensor_in_the_place_of_a_list(self, kind):
        with pytest.raises(TypeError, match="list"):
            kind(parameters(0)[0], 0.1)

    def test_a_parameter_given_twice(self, kind):
        with pytest.raises(ValueError, match="parameter 3 is parameter 0 again"):
            kind([*(p := parameters(0)), p[0]], 0.1)


@pytest.mark.parametrize("kind", [SGD, Adam])
@pytest.mark.parametrize("name", ["eta", "weight_decay"])
@pytest.mark.parametrize("number", [-0.1, float("nan"), float("inf")])
def test_rates_and_decays_that_are_no_sizes_are_refused(kind, name, number):
    with pytest.raises(ValueError, match=f"{name} must be a number from 0 up, got {number}"):
        kind(parameters(0), **{"eta": 0.1, name: number})


@pytest.mark.parametrize("m", [-0.1, 1.0, float("nan")])
def test_momentum_that_is_no_share_is_refused(m):
    with pytest.raises(ValueError, match=f"momentum must be from 0 .* got {m}"):
        SGD(parameters(0), 0.1, momentum=m)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match=r"nesterov .* give momentum"):
        SGD(parameters(0), 0.1, nesterov=True)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_betas_that_are_no_shares_are_refused(name, beta):
    with pytest.raises(ValueError, match=f"{name} must be from 0 .* got {beta}"):
        Adam(parameters(0), 0.1, **{name: beta})


def test_a_schedule_is_asked_for_python_floats():
    optimiser = SGD(parameters(0), Exponential(np.float64(0.1), np.float64(0.9), 2))
    assert type(optimiser.eta) is float


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="epsilon must be a number from 0 up, got -1"):
        Adam([Tensor([1.0], requires_grad=True)], epsilon=-1.0)


def test_a_state_that_is_no_number_changes_nothing():
    optimiser = SGD([Tensor([1.0], requires_grad=True)], 0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"SGD: the state's velocity\.0 is <U1, no real numbers"):
        optimiser.load_state_dict({"steps": np.array(5), "velocity.0": np.array(["a"])})
    assert optimiser.steps == 0
