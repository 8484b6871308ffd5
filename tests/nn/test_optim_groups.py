"""Groups of parameters, several optimisers as one, running averages, and gradient clipping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nn.test_optim import STEPS, assert_same, gradients, parameters, run
from tinygrad_cifar import Tensor, nn
from tinygrad_cifar import functional as F
from tinygrad_cifar.nn import optim
from tinygrad_cifar.nn.optim import SGD, Adam, AdamW, Combined, Lookahead, MovingAverage, Muon
from tinygrad_cifar.nn.schedules import Constant, Triangular

seeds = st.integers(0, 2**32 - 1)


# -- groups ------------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.1, 0.9), st.floats(1e-3, 0.3))
def test_a_group_is_updated_like_by_an_optimiser_with_its_settings(seed, momentum, eta):
    ps = parameters(seed)
    schedule = Triangular(0.0, eta, 2)
    groups = [
        {"parameters": ps[:1], "momentum": momentum, "eta": schedule},
        {"parameters": ps[1:], "nesterov": True},
    ]
    found = run(SGD(groups, 0.2, momentum=0.5), seed)
    one = run(SGD(parameters(seed), schedule, momentum=momentum), seed)
    other = run(SGD(parameters(seed), 0.2, momentum=0.5, nesterov=True), seed)
    for a, b in zip(found, [*one[:1], *other[1:]], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_decay_of_a_group_applies_to_all_its_parameters_and_that_of_the_optimiser_to_weights():
    (W, b), (V, c) = (
        [Tensor(np.ones((2, 2)), requires_grad=True), Tensor(np.ones(2), requires_grad=True)] for _ in "ab"
    )
    optimiser = SGD([{"parameters": [W, b]}, {"parameters": [V, c], "weight_decay": 0.2}], 1.0, weight_decay=0.1)
    for p in optimiser.parameters:
        p.grad = Tensor(np.zeros(p.shape))
    optimiser.step()
    assert [p.data.flat[0] for p in (W, b, V, c)] == [0.9, 1.0, 0.8, 0.8]


def test_a_group_may_be_empty_or_a_generator():
    ps = parameters(0)
    optimiser = SGD([{"parameters": []}, {"parameters": (p for p in ps)}], 0.1)
    assert [len(group.parameters) for group in optimiser.groups] == [0, 3]


def test_buffers_of_groups_are_those_that_their_settings_need():
    ps = parameters(0)
    optimiser = SGD([{"parameters": ps[:1]}, {"parameters": ps[1:2], "momentum": 0.5}], 0.1)
    assert sorted(optimiser.state_dict()) == ["steps", "velocity.1"]


def test_assigning_a_setting_changes_all_groups():
    ps = parameters(0)
    optimiser = SGD([{"parameters": ps[:1]}, {"parameters": ps[1:], "momentum": 0.5}], 0.1, momentum=0.9)
    optimiser.momentum = 0.25
    optimiser.schedule = Constant(0.5)
    optimiser.weight_decay = 0.1
    found = [(group.settings["momentum"], group.schedule(0), group.decays[0]) for group in optimiser.groups]
    assert (found, optimiser.momentum) == ([(0.25, 0.5, 0.1), (0.25, 0.5, 0.0)], 0.25)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("momentum", 1.5, r"SGD: momentum must be in \[0, 1\); got 1.5"),
        ("momentum", 0.0, "SGD: momentum 0.0 needs other state buffers; make a new optimiser"),
        ("weight_decay", -1.0, "SGD: weight_decay must be finite and at least 0; got -1.0"),
        ("schedule", -0.5, "SGD: schedule must be finite and at least 0; got -0.5"),
        ("steps", -3, "SGD: steps must be an integer of at least 0; got -3"),
    ],
)
def test_assigning_a_wrong_setting_raises_and_changes_nothing(name, value, sentence):
    optimiser = SGD(parameters(0), 0.1, momentum=0.9)
    before = getattr(optimiser, name)
    with pytest.raises(ValueError, match=sentence):
        setattr(optimiser, name, value)
    assert getattr(optimiser, name) == before


def test_a_setting_is_checked_with_the_decay_of_each_group():
    A, B = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2))
    plain = Muon([{"parameters": [A], "rescale": True, "weight_decay": 0.0}, {"parameters": [B]}], weight_decay=0.1)
    plain.momentum = 0.9
    assert [group.settings["momentum"] for group in plain.groups] == [0.9, 0.9]
    decaying = Muon([{"parameters": [A], "weight_decay": 0.1}, {"parameters": [B]}])
    with pytest.raises(ValueError, match="weight_decay has no effect on parameters that are rescaled"):
        decaying.rescale = True


def test_a_rate_may_be_assigned_as_schedule():
    optimiser = SGD(parameters(0), 0.1)
    optimiser.schedule = 0.5
    assert optimiser.eta == 0.5


@pytest.mark.parametrize(
    ("group", "name", "value", "sentence"),
    [
        ({"momentum": 0.0}, "momentum", 0.5, "SGD: momentum 0.5 needs other state buffers"),
        ({"eta": 0.1}, "axis", 2, r"Muon: axis 2 is out of range for parameter 0"),
    ],
)
def test_assigning_a_setting_that_a_group_cannot_have_changes_nothing(group, name, value, sentence):
    kind = SGD if name == "momentum" else Muon
    V, W = (Tensor(np.ones((3, 2)), requires_grad=True) for _ in range(2))
    optimiser = kind([{"parameters": [V]}, {"parameters": [W], **group}], 0.1, momentum=0.9)
    before = [dict(group.settings) for group in optimiser.groups]
    with pytest.raises(ValueError, match=sentence):
        setattr(optimiser, name, value)
    assert [group.settings for group in optimiser.groups] == before


W, b = parameters(0)[:2]
WRONG_GROUPS = [
    ([{"parameters": [W], "momentun": 0.9}], ValueError, "group 0: SGD has no setting momentun; did you mean momentum"),
    ([{"parameters": [W], "lr": 0.9}], ValueError, "group 0: SGD has no setting lr; did you mean eta"),
    ([{"parameters": [W], "alpha": 0.9}], ValueError, "group 0: SGD has no setting alpha; a group may have eta, weigh"),
    ([{"parameters": [W]}, {"parameters": [b], "momentum": 2.0}], ValueError, r"group 1: SGD: momentum must be in"),
    ([{"parameters": [W], "eta": -1.0}], ValueError, "group 0: SGD: eta must be finite and at least 0; got -1.0"),
    ([{"params": [W]}], ValueError, 'group 0 must have the key "parameters"; got params'),
    ([{"parameters": W}], TypeError, r"the parameters of group 0 must be an iterable of tensors; got a Tensor: use \["),
    (
        [{"parameters": nn.Linear(2, 1)}],
        TypeError,
        "group 0 must be an iterable of tensors; got a Linear: use model.pa",
    ),
    ([{"parameters": [W]}, b], TypeError, "parameters must be tensors or groups, not both; got Tensor after a group"),
    ({"parameters": [W]}, TypeError, r"parameters must be an iterable of tensors or groups; got one group: use \[grou"),
    ([{"parameters": [W]}, {"parameters": [W]}], ValueError, "parameter 1 is the same tensor as parameter 0"),
    ([{"parameters": []}], ValueError, "parameters must not be empty"),
]


@pytest.mark.parametrize(("groups", "kind", "sentence"), WRONG_GROUPS, ids=[case[2] for case in WRONG_GROUPS])
def test_wrong_groups_raise(groups, kind, sentence):
    with pytest.raises(kind, match=sentence):
        SGD(groups, 0.1)


# -- the L2 term -------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_penalty_is_half_the_decay_times_the_sum_of_squares(seed, decay, other):
    ps = [*parameters(seed), Tensor(np.full((2, 2), 3.0), requires_grad=True)]
    groups = [{"parameters": ps[:3]}, {"parameters": ps[3:], "weight_decay": other}]
    found = SGD(groups, 0.1, weight_decay=decay).penalty()
    assert found == pytest.approx(decay / 2 * (ps[0].data ** 2).sum() + other / 2 * 36)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, 0.1, weight_decay=0.5, decoupled=True),
        lambda p: AdamW(p, weight_decay=0.5),
        lambda p: Muon(p, weight_decay=0.5),
        lambda p: SGD(p, 0.1),
    ],
    ids=["decoupled", "adamw", "muon", "no decay"],
)
def test_decoupled_decay_has_no_penalty(make):
    assert make([Tensor(np.ones((2, 2)), requires_grad=True)]).penalty() == 0.0


# -- combined ----------------------------------------------------------------------------------------------------------


@given(seeds)
def test_combined_optimisers_make_the_steps_of_each(seed):
    ps = parameters(seed)
    found = run(Combined(Muon(ps[:1], 0.1), Adam(ps[1:], 0.2)), seed)
    ps = parameters(seed)
    muon, adam = Muon(ps[:1], 0.1), Adam(ps[1:], 0.2)
    for step in range(STEPS):
        for p, g in zip(ps, gradients(seed, step), strict=True):
            p.grad = Tensor(g)
        muon.step()
        adam.step()
    for a, p in zip(found, ps, strict=True):
        np.testing.assert_array_equal(a, p.data)


def test_combined_has_the_sum_of_the_penalties():
    ps = [Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2)]
    assert Combined(SGD(ps[:1], 0.1, weight_decay=1.0), SGD(ps[1:], 0.1, weight_decay=0.5)).penalty() == 3.0


def test_combined_has_no_settings_of_its_own():
    with pytest.raises(AttributeError, match=r"Combined\(SGD\) has no weight_decay of its own; see its groups"):
        _ = Combined(SGD(parameters(0), 0.1)).weight_decay


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (Combined, ValueError, "parameters must not be empty"),
        (lambda: Combined(parameters(0)), TypeError, "Combined: the argument must be an optimiser; got list"),
        (lambda: Lookahead([W]), TypeError, "Lookahead: the argument must be an optimiser; got list"),
        (lambda: Combined(SGD([W], 0.1), SGD([W], 0.1)), ValueError, "parameter 1 is the same tensor as parameter 0"),
        (
            lambda: setattr(MovingAverage(SGD([W], 0.1)), "weight_decay", 0.01),
            AttributeError,
            r"MovingAverage\(SGD\) has no weight_decay of its own; see its groups",
        ),
        (lambda: MovingAverage(SGD([W], 0.1), 1.0), ValueError, r"MovingAverage: decay must be in \[0, 1\); got 1.0"),
        (
            lambda: MovingAverage(SGD([W], 0.1), every=0),
            ValueError,
            "MovingAverage: every must be an integer of at least 1; got 0",
        ),
        (
            lambda: MovingAverage(SGD([W], 0.1), every=1.5),
            ValueError,
            "every must be an integer of at least 1; got 1.5",
        ),
        (lambda: Lookahead(SGD([W], 0.1), 1.5), ValueError, "Lookahead: fraction must be from 0 to 1; got 1.5"),
        (
            lambda: Lookahead(SGD([W], 0.1), every=0),
            ValueError,
            "Lookahead: every must be an integer of at least 1; got 0",
        ),
    ],
)
def test_wrong_combinations_raise(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_optimisers_with_different_numbers_of_steps_are_refused():
    ps = parameters(0)
    first, second = SGD(ps[:1], 0.1), SGD(ps[1:], 0.1)
    first.step()
    with pytest.raises(ValueError, match="Combined: the optimisers must have made the same number of steps; got 1, 0"):
        Combined(first, second)


# -- running averages --------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0, 0.999), st.booleans(), st.integers(1, 3))
def test_moving_average_is_that_of_the_parameters_after_each_step(seed, decay, warm_up, every):
    optimiser = MovingAverage(SGD(parameters(seed), 0.1, momentum=0.9), decay, warm_up=warm_up, every=every)
    averages, t = [p.numpy() for p in optimiser.parameters], 0
    for step in range(STEPS):
        values = run(optimiser, seed, range(step, step + 1))
        if (step + 1) % every == 0:
            t += 1
            d = min(decay, (1 + t) / (10 + t)) if warm_up else decay
            averages = [d * average + (1 - d) * w for average, w in zip(averages, values, strict=True)]
    assert_same(optimiser.averages, averages)


@given(seeds)
def test_moving_average_does_not_change_the_steps(seed):
    for a, b in zip(
        run(MovingAverage(Adam(parameters(seed), 0.1)), seed), run(Adam(parameters(seed), 0.1), seed), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrap", [lambda o: o, Combined, Lookahead], ids=["alone", "combined", "lookahead"])
def test_averaged_sets_the_averages_and_restores_the_parameters(wrap):
    average = MovingAverage(SGD(parameters(0), 0.1), 0.5)
    optimiser = wrap(average)
    before = run(optimiser, 0)
    inside = []

    def evaluate_and_fail():
        with optimiser.averaged():
            inside.extend(p.numpy() for p in optimiser.parameters)
            raise KeyError

    with pytest.raises(KeyError):
        evaluate_and_fail()
    assert_same(inside, average.averages)
    assert [p.numpy().tobytes() for p in optimiser.parameters] == [w.tobytes() for w in before]


@pytest.mark.parametrize("wrap", [lambda o: o, Combined, Lookahead], ids=["alone", "combined", "lookahead"])
def test_adopt_average_sets_the_averages(wrap):
    average = MovingAverage(SGD(parameters(0), 0.1), 0.5)
    optimiser = wrap(average)
    run(optimiser, 0)
    optimiser.adopt_average()
    assert_same([p.numpy() for p in optimiser.parameters], average.averages)


def test_averaged_changes_nothing_without_an_average():
    optimiser = SGD(parameters(0), 0.1)
    before = run(optimiser, 0)
    with optimiser.averaged():
        assert_same([p.numpy() for p in optimiser.parameters], before)


def by_lookahead(seed, fraction, every):
    """Return parameters after steps of SGD with momentum, in which every ``every`` steps are followed by a way back."""
    results = []
    for i, p in enumerate(parameters(seed)):
        w = slow = p.numpy()
        velocity = np.zeros_like(w)
        for step in range(STEPS):
            velocity = 0.9 * velocity + 0.1 * gradients(seed, step)[i]
            w = w - velocity
            if (step + 1) % every == 0:
                slow = slow + fraction(step + 1) * (w - slow)
                w = slow
        results.append(w)
    return results


@given(seeds, st.floats(0, 1), st.integers(1, 4))
def test_lookahead_is_the_published_algorithm(seed, fraction, every):
    optimiser = Lookahead(SGD(parameters(seed), 0.1, momentum=0.9), fraction, every=every)
    assert_same(run(optimiser, seed), by_lookahead(seed, lambda _: fraction, every))


@given(seeds)
def test_the_fraction_of_lookahead_may_be_a_schedule(seed):
    def fraction(step):
        return 1 - 0.9 * (step / STEPS) ** 3

    optimiser = Lookahead(SGD(parameters(seed), 0.1, momentum=0.9), fraction, every=2)
    assert_same(run(optimiser, seed), by_lookahead(seed, fraction, 2))


@pytest.mark.parametrize("order", ["C", "F"])
def test_averages_of_large_parameters_of_any_layout(order):
    values, g = np.random.default_rng(0).normal(size=(2, 300, 250))
    p = Tensor(np.asarray(values, order=order), requires_grad=True)
    p.grad = Tensor(g)
    optimiser = MovingAverage(SGD([p], 1.0), 0.25, warm_up=False)
    optimiser.step()
    np.testing.assert_allclose(optimiser.averages[0], 0.25 * values + 0.75 * (values - g), atol=1e-14)


# -- clipping ----------------------------------------------------------------------------------------------------------


def with_gradients(seed: int, scale: float = 1.0) -> list[Tensor]:
    ps = parameters(seed)
    for p, g in zip(ps, gradients(seed, 0), strict=True):
        p.grad = Tensor(scale * g)
    return ps


@given(seeds, st.floats(1e-3, 10), st.sampled_from([1e-170, 1e-160, 1e-3, 1.0, 1e170]))
def test_clip_grad_norm_scales_all_gradients_to_the_norm(seed, most, scale):
    ps = with_gradients(seed, scale)
    before = np.concatenate([p.grad.data.ravel() for p in ps])
    norm = math.hypot(*before)
    assert optim.clip_grad_norm(ps, most) == pytest.approx(norm)
    expected = before * min(1.0, most / norm)
    np.testing.assert_allclose(np.concatenate([p.grad.data.ravel() for p in ps]), expected, rtol=1e-12)


@given(seeds, st.floats(1e-3, 3))
def test_clip_grad_value_limits_each_element(seed, most):
    ps = with_gradients(seed)
    before = [p.grad.numpy() for p in ps]
    optim.clip_grad_value(ps, most)
    for p, g in zip(ps, before, strict=True):
        np.testing.assert_array_equal(p.grad.data, np.maximum(-most, np.minimum(most, g)))


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
class TestClipping:
    def test_parameters_without_gradients_are_skipped(self, clip):
        ps = parameters(0)
        clip(ps, 1.0)
        assert [p.grad for p in ps] == [None, None, None]

    def test_a_gradient_of_two_parameters_is_clipped_once(self, clip):
        p, q = (Tensor([3.0], requires_grad=True) for _ in range(2))
        p.grad = q.grad = Tensor([4.0])
        clip([p, q], 2.0)
        assert p.grad.data[0] == pytest.approx(2.0 if clip is optim.clip_grad_value else math.sqrt(2))

    def test_arrays_that_share_memory_with_the_gradient_do_not_change(self, clip):
        p = Tensor([3.0], requires_grad=True)
        p.grad = Tensor([4.0])
        view = p.grad.data
        clip([p], 1.0)
        assert (view[0], p.grad.data[0]) == (4.0, 1.0)

    def test_a_gradient_with_a_graph_is_detached(self, clip):
        p = Tensor([3.0], requires_grad=True)
        p.grad = p * 2
        clip([p], 1.0)
        assert (p.grad.data[0], p.grad.requires_grad) == (1.0, False)

    @pytest.mark.parametrize("most", [0.0, -1.0, math.nan])
    def test_a_bound_that_is_not_positive_raises(self, clip, most):
        with pytest.raises(ValueError, match=rf"{clip.__name__}: max_\w+ must be greater than 0; got {most}"):
            clip(parameters(0), most)

    def test_a_bound_that_is_not_a_number_raises(self, clip):
        with pytest.raises(TypeError, match=rf"{clip.__name__}: max_\w+ must be a number; got 'a'"):
            clip(parameters(0), "a")

    @pytest.mark.parametrize("given", [W, nn.Linear(2, 1), [np.ones(2)]], ids=["tensor", "module", "array"])
    def test_other_things_than_parameters_raise(self, clip, given):
        with pytest.raises(TypeError, match=rf"{clip.__name__}: parameters must be (an iterable of )?tensors; got"):
            clip(given, 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gradients_whose_norm_is_not_finite_stay(value):
    p = Tensor([1.0, 2.0], requires_grad=True)
    p.grad = Tensor([3.0, value])
    norm = optim.clip_grad_norm([p], 1.0)
    np.testing.assert_array_equal([norm, *p.grad.data], [value, 3.0, value])


def test_float32_gradients_stay_float32():
    p = Tensor(np.ones(3, np.float32), requires_grad=True)
    F.mse(p, np.zeros(3, np.float32)).backward()
    optim.clip_grad_norm([p], np.float64(0.1))
    assert p.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("rate", "kind", "sentence"),
    [
        (-1.0, ValueError, "SGD: the learning rate that the schedule returns for step 0 must be at least 0; got -1.0"),
        (None, TypeError, "SGD: the learning rate that the schedule returns for step 0 must be a number; got None"),
    ],
)
def test_a_schedule_that_returns_no_rate_is_refused(rate, kind, sentence):
    w = Tensor(np.ones(2), requires_grad=True)
    w.grad = Tensor(np.ones(2))
    with pytest.raises(kind, match=sentence):
        SGD([w], lambda _: rate).step()
    assert (w.data == 1).all()


def test_combined_optimisers_change_nothing_if_the_rate_of_one_is_refused():
    one, other = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    one.grad = other.grad = Tensor(np.ones(2))
    optimiser = Combined(SGD([one], 1.0), Combined(SGD([other], lambda _: -1.0)))
    with pytest.raises(ValueError, match="must be at least 0; got -1"):
        optimiser.step()
    assert (one.data == 1).all()


def test_the_norm_of_small_float16_gradients_has_all_digits():
    p = Tensor(np.zeros(4), requires_grad=True, dtype=np.float16)
    p.grad = Tensor(np.full(4, 1e-4), dtype=np.float16)
    expected = np.linalg.norm(p.grad.data.astype(np.float64))
    assert optim.clip_grad_norm([p], 1.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("make", [lambda: SGD([W], "a"), lambda: SGD([W], 0.1, momentum="a"), lambda: Adam([W], "a")])
def test_settings_that_are_not_numbers_are_named(make):
    with pytest.raises(TypeError, match=r"\w+ must be a number; got 'a'"):
        make()


@pytest.mark.parametrize("exponent", [-24, -22, -20, 15, 20])
def test_the_norm_of_gradients_of_any_magnitude_has_all_digits(exponent):
    p = Tensor(np.zeros(2), requires_grad=True, dtype=np.float32)
    p.grad = Tensor(np.array([3, 4]) * 10.0**exponent, dtype=np.float32)
    assert optim.clip_grad_norm([p], np.inf) == pytest.approx(5 * 10.0**exponent, rel=1e-6)


@pytest.mark.parametrize("wrap", [MovingAverage, Lookahead])
def test_averages_begin_with_the_parameters_before_the_first_step(wrap):
    p = Tensor(np.zeros(2), requires_grad=True)
    optimiser = wrap(SGD([p], 0.0), every=1)
    p.data = np.array([5.0, 6.0])  # as weights that are loaded from a file
    assert optimiser.averages[0].tolist() == [5, 6]
    p.grad = Tensor(np.zeros(2))
    optimiser.step()
    assert [p.data.tolist(), optimiser.averages[0].tolist()] == [[5, 6], [5, 6]]


def test_the_updates_of_an_average_are_counted_from_its_own_first_step():
    p = Tensor(np.zeros(1), requires_grad=True)
    inner = SGD([p], 1.0)
    inner.steps = 1000
    average = MovingAverage(inner)
    p.grad = Tensor(np.full(1, -1.0))
    average.step()
    assert average.averages[0].item() == pytest.approx(1 - 2 / 11)


def test_a_learning_rate_can_be_assigned():
    p = Tensor(np.zeros(1), requires_grad=True)
    optimiser = SGD([p], 1.0)
    optimiser.eta = 0.25
    p.grad = Tensor(np.full(1, -1.0))
    optimiser.step()
    assert (optimiser.eta, p.item()) == (0.25, 0.25)
    with pytest.raises(TypeError, match=r"must be a number; got '0\.1'"):
        optimiser.eta = "0.1"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (None, "must be an iterable of tensors; got None"),
        ({"W": W}, r"got a dictionary: use model\.parameters\(\)"),
        ({"parameters": [W]}, r"got one group: use \[group\]"),
    ],
)
def test_parameters_in_another_container_raise(parameters, words):
    with pytest.raises(TypeError, match=words):
        SGD(parameters, 0.1)


def test_a_class_of_schedules_raises():
    with pytest.raises(TypeError, match="the schedule is a class; construct it: Constant"):
        SGD([W], Constant)


def test_a_learning_rate_below_zero_is_named_eta():
    with pytest.raises(ValueError, match="SGD: eta must be finite and at least 0; got -1"):
        SGD([W], 0.1).eta = -1


def test_assigning_the_decay_keeps_which_parameters_of_a_group_decay():
    W, b = Tensor(np.ones((2, 2)), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    own = SGD([{"parameters": [W, b], "weight_decay": 0.1}], 0.1)
    own.weight_decay = 0.2
    assert own.groups[0].decays == [0.2, 0.2]


@pytest.mark.parametrize("name", ["lr", "learning_rate"])
def test_the_rate_cannot_be_assigned_by_another_name(name):
    optimiser = SGD(parameters(0), 0.1)
    with pytest.raises(AttributeError, match=f"SGD has no attribute {name}; did you mean eta?"):
        setattr(optimiser, name, 0.5)
