"""Settings: checked when they are made, stored, compared and described."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.some_runs import KINDS
from tinygrad_cifar.course.settings import INITIALISERS, SETTINGS, Settings, SettingsError, describe
from tinygrad_cifar.nn import schedules

whole = st.integers(1, 1000)
sizes = st.floats(0, 10)
any_settings = st.builds(
    Settings,
    init=st.sampled_from(sorted(INITIALISERS)),
    sigma=sizes,
    preprocessing=st.sampled_from(["scale", "centre", "standardise", "whiten"]),
    components=st.integers(1, 3072),
    q=st.floats(0, 1),
    train_batches=st.permutations([1, 3, 4, 5]).map(tuple),
    train_size=st.none() | whole,
    lam=sizes,
    eta=sizes,
    n_s=whole,
    warm_up=whole,
    epochs=whole,
    batch_size=whole,
    shuffle=st.booleans(),
    measure_every=st.none() | whole,
    patience=st.none() | whole,
    flip=st.booleans() | st.just("alternate"),
    views=st.sampled_from(["one", "mirror", "six", "fifty"]),
    bias_rate=sizes,
    average=st.floats(0, 0.999),
    lookahead=st.integers(0, 9),
    shift=st.integers(0, 31),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from(["float32", "float64"]),
) | st.sampled_from(list(KINDS.values()))


@given(any_settings)
def test_settings_survive_a_round_trip_through_json(settings):
    assert Settings.from_json(json.loads(json.dumps(asdict(settings)))) == settings


@given(any_settings)
def test_settings_survive_copying_pickling_and_printing(settings):
    assert copy.deepcopy(settings) == pickle.loads(pickle.dumps(settings)) == eval(repr(settings)) == settings


@given(any_settings)
def test_settings_are_hashable(settings):
    assert {settings: 1}[copy.deepcopy(settings)] == 1


CHOICES = ["model", "activation", "schedule", "optimiser", "init", "preprocessing", "dtype", "border", "views"]


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["none of these", None, 3])
def test_an_unknown_choice_is_refused_with_the_known_ones(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} must be one of .*{getattr(Settings(), name)}.*; got {value!r}$"):
        Settings(**{name: value})


BELOW_1 = [
    "components",
    "epochs",
    "batch_size",
    "n_s",
    "measure_every",
    "patience",
    "train_size",
    "cycles",
    "cycle_growth",
    "filters",
]
NOT_FINITE = [
    "q",
    "eta",
    "eta_min",
    "lam",
    "sigma",
    "decay",
    "momentum",
    "dropout",
    "smoothing",
    "bias_rate",
    "average",
    "cycle_decay",
]
BELOW_0 = ["validation_size", "warm_up", "seed", "shift", "lookahead", *NOT_FINITE]
OUT_OF_RANGE = [
    *((name, value) for name in BELOW_1 for value in (0, -1)),
    *((name, -1) for name in BELOW_0),
    *((name, value) for name in NOT_FINITE for value in (float("nan"), float("inf"))),
    *((name, 1.0) for name in ("momentum", "dropout", "average")),
    ("smoothing", 0.91),
    ("shift", 32),
    ("components", 3073),
    ("q", 1.1),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused_with_the_range(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} must be .* (from|at least) [01].*; got {value}$"):
        Settings(**{name: value})


WRONG_TYPES = [
    *((name, "3") for name in (*BELOW_1, *BELOW_0)),
    *((name, 2.5) for name in (*BELOW_1, "validation_size", "warm_up", "seed", "shift")),
    *((name, None) for name in ("epochs", "batch_size", "eta", "seed")),
    *((name, "no") for name in ("shuffle", "flip", "decoupled")),
    ("validation_batch", "2"),
    ("hidden", 5),
    ("hidden", ("5",)),
    ("hidden", (2.5,)),
    ("train_batches", 1),
    ("train_batches", ("1",)),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(SettingsError, match=f"^{name} must be"):
        Settings(**{"model": "perceptron", name: value})


CONTRADICTIONS = [
    ({"hidden": (5,)}, "softmax has 0 hidden layers; hidden gives 1"),
    ({"model": "two-layer"}, "two-layer has 1 hidden layer; hidden gives none"),
    ({"model": "two-layer", "hidden": (5, 5)}, "two-layer has 1 hidden layer; hidden gives 2"),
    ({"model": "two-layer", "hidden": (0,)}, "hidden must be a tuple of integers from 1 to"),
    ({"model": "two-layer", "hidden": (10**9,)}, "hidden must be a tuple of integers from 1 to"),
    ({"model": "two-layer", "hidden": (5,), "dropout": 0.5}, "dropout 0.5 needs model perceptron, not two-layer"),
    ({"activation": "absolute"}, "activation absolute needs model two-layer, not softmax"),
    (
        {"model": "svm", "q": 0.5},
        "q 0.5 needs model softmax or two-layer or perceptron or patchify or convnet, not svm",
    ),
    ({"model": "patchify"}, "patchify has 1 hidden layer; hidden gives none"),
    ({"model": "patchify", "hidden": (5,), "filter_size": 5}, r"filter_size must divide 32, .* \(1, 2, 4, 8, 16, 32\)"),
    ({"model": "patchify", "hidden": (5,), "preprocessing": "whiten"}, "patchify needs pixels, which preprocessing wh"),
    ({"filters": 3}, "filters 3 needs model patchify, not softmax"),
    ({"filter_size": 8}, "filter_size 8 needs model patchify, not softmax"),
    ({"smoothing": 0.1, "q": 0.5}, "smoothing 0.1 needs the cross-entropy, not q 0.5"),
    (
        {"smoothing": 0.1, "loss": "binary-cross-entropy"},
        "smoothing 0.1 needs the cross-entropy, not loss binary-cross-entropy",
    ),
    ({"smoothing": 0.1, "model": "svm"}, "smoothing 0.1 needs model softmax or two-layer"),
    ({"cycles": 2}, "cycles 2 needs schedule triangular, not constant"),
    ({"cycle_growth": 2}, "cycle_growth 2 needs schedule triangular, not constant"),
    ({"cycle_decay": 0.5}, "cycle_decay 0.5 needs schedule triangular, not constant"),
    ({"decoupled": True, "optimiser": "adamw"}, "decoupled True needs optimiser sgd or nesterov, not adamw"),
    ({"border": "reflect"}, "border reflect needs a shift greater than 0, or views six or fifty"),
    ({"clip_norm": 0.0}, "clip_norm must be greater than 0; got 0"),
    ({"train_batches": ()}, "train_batches must be different batches, at least one"),
    ({"train_batches": (1, 1)}, "train_batches must be different batches"),
    ({"train_batches": (1, 2)}, "batch 2 must not be in both train_batches and validation_batch"),
    ({"validation_size": 5}, "validation_size and validation_batch exclude each other"),
    ({"patience": 2, "validation_batch": None}, "patience needs validation images"),
    ({"decay": 0.9}, "decay 0.9 needs schedule exponential or step, not constant"),
    ({"schedule": "triangular", "eta": 0.01, "eta_min": 0.1}, "eta_min must be at most eta"),
    ({"loss": "binary-cross-entropy", "model": "svm"}, "loss binary-cross-entropy needs model softmax or two-layer"),
    ({"loss": "binary-cross-entropy", "q": 0.5}, "q 0.5 needs loss cross-entropy, not binary-cross-entropy"),
    ({"optimiser": "nesterov"}, "optimiser nesterov needs a momentum greater than 0"),
    (
        {"optimiser": "adam", "momentum": 0.9},
        r"momentum 0\.9 needs optimiser sgd or nesterov or rmsprop or muon, not adam",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused(values, sentence):
    with pytest.raises(SettingsError, match=sentence):
        Settings(**values)


def test_an_integer_that_no_float_can_hold_is_refused():
    with pytest.raises(SettingsError, match=r"eta must be less than 2\*\*63"):
        Settings(eta=10**400)


@pytest.mark.parametrize("values", [{"epoch": 3}, {"epoch": 3, "modell": "svm", "epochs": 1}])
def test_unknown_settings_are_refused_by_name(values):
    with pytest.raises(SettingsError, match="unknown settings: epoch"):
        Settings.from_json(values)


@given(any_settings)
def test_settings_are_described_in_one_line(settings):
    line = describe(settings)
    named = (settings.model, f"lambda {settings.lam:g}", f"eta {settings.eta:g}", f"seed {settings.seed}")
    assert all(word in line for word in named)
    assert "\n" not in line


@pytest.mark.parametrize("other", [{"flip": True}, {"flip": "alternate"}, {"shift": 3}, {"warm_up": 100}])
def test_runs_that_differ_in_augmentation_or_warm_up_are_described_differently(other):
    assert describe(Settings(**other)) != describe(Settings())


# -- the declarations, written down a second time ----------------------------------------------------------------------

# Default, the smallest and the largest value of the numbers; all published results depend on the defaults.
HUGE = 2**63 - 1
NUMBERS = {
    "sigma": (0.01, 0, None),
    "components": (300, 1, 3072),
    "train_size": (None, 1, HUGE),
    "validation_size": (0, 0, HUGE),
    "q": (0.0, 0, 1),
    "lam": (0.0, 0, None),
    "eta": (0.01, 0, None),
    "decay": (1.0, 0, None),
    "eta_min": (1e-5, 0, None),
    "n_s": (500, 1, HUGE),
    "warm_up": (0, 0, HUGE),
    "momentum": (0.0, 0, 1),
    "epochs": (40, 1, HUGE),
    "batch_size": (100, 1, HUGE),
    "measure_every": (None, 1, HUGE),
    "patience": (None, 1, HUGE),
    "dropout": (0.0, 0, 1),
    "filter_size": (4, 1, 32),
    "filters": (10, 1, 100_000),
    "smoothing": (0.0, 0, 0.9),
    "cycle_growth": (1, 1, 10),
    "cycle_decay": (1.0, 0, 1),
    "cycles": (None, 1, 1000),
    "bias_rate": (1.0, 0, None),
    "clip_norm": (None, 0, None),
    "average": (0.0, 0, 1),
    "lookahead": (0, 0, HUGE),
    "shift": (0, 0, 31),
    "seed": (0, 0, HUGE),
}
OTHERS = {
    "model": "softmax",
    "hidden": (),
    "activation": "relu",
    "init": "normal",
    "preprocessing": "scale",
    "train_batches": (1,),
    "validation_batch": 2,
    "schedule": "constant",
    "optimiser": "sgd",
    "shuffle": False,
    "flip": False,
    "border": "edge",
    "views": "one",
    "decoupled": False,
    "dtype": "float64",
}


def test_the_defaults_are_those_of_the_published_runs():
    found = asdict(Settings())
    expected = OTHERS | {name: default for name, (default, _, _) in NUMBERS.items()}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_may_be_as_small_and_as_large_as_its_bounds(name):
    declared, (_, least, most) = SETTINGS[name], NUMBERS[name]
    step = 1 if isinstance(least, int) and declared.type is int else 1e-9
    assert declared.accepts(declared.type(least))
    assert not declared.accepts(declared.type(least - step))
    if most is None:
        assert declared.accepts(1e30)
    else:
        assert declared.accepts(declared.type(most)) == (declared.below is None)
        assert not declared.accepts(declared.type(most + step))
        assert declared.type is int or declared.accepts(most - 1e-9)


@pytest.mark.parametrize(("units", "accepted"), [(0, False), (1, True), (100_000, True), (100_001, False)])
def test_a_layer_has_up_to_100000_units(units, accepted):
    assert SETTINGS["hidden"].accepts((units,)) == accepted


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "softmax, lambda 0, eta 0.01, 40 epochs, batch 100, seed 0"),
        ({"epochs": 1, "batch_size": 7}, "softmax, lambda 0, eta 0.01, 1 epoch, batch 7, seed 0"),
        ({"model": "two-layer", "hidden": (50,)}, "two-layer 50, lambda 0, eta 0.01, 40 epochs, batch 100, seed 0"),
        (
            {"model": "perceptron", "hidden": (5, 4), "dropout": 0.5, "lam": 0.1},
            "perceptron 5 4, lambda 0.1, eta 0.01, 40 epochs, batch 100, dropout 0.5, seed 0",
        ),
        (
            {"preprocessing": "whiten", "components": 20, "flip": True, "shift": 2},
            "softmax, 20 components, lambda 0, eta 0.01, 40 epochs, batch 100, flip, shift 2, seed 0",
        ),
        (
            {"schedule": "triangular", "n_s": 100, "eta_min": 1e-4},
            "softmax, lambda 0, eta 0.01 triangular, 40 epochs, batch 100, seed 0",
        ),
        (
            {"optimiser": "adam", "shuffle": True, "seed": 3},
            "softmax, lambda 0, eta 0.01, adam, 40 epochs, batch 100, seed 3",
        ),
        (
            {"momentum": 0.9, "schedule": "exponential", "decay": 0.9, "warm_up": 5},
            "softmax, lambda 0, eta 0.01 exponential, warm-up 5, momentum 0.9, 40 epochs, batch 100, seed 0",
        ),
    ],
)
def test_a_description_has_what_matters_and_what_differs(values, line):
    assert describe(Settings(**values)) == line


@pytest.mark.parametrize(
    "values",
    [
        {"eta_min": 0.01, "schedule": "cosine"},
        {"eta_min": 0.01, "schedule": "triangular"},
        {"eta_min": 5.0, "schedule": "step"},
        {"border": "reflect", "shift": 1},
        {"flip": "alternate"},
        {"clip_norm": 1e-9},
        {"optimiser": "nesterov", "momentum": 1e-9},
        {"validation_size": 5, "validation_batch": None, "patience": 1},
        {"patience": 1},
        {"train_batches": (5, 4)},
    ],
)
def test_settings_at_their_limits_are_accepted(values):
    assert asdict(Settings(**values)) == asdict(Settings()) | values


@given(st.integers(1, 50), st.integers(1, 4), st.integers(1, 4))
def test_the_steps_of_cycles_are_those_of_their_schedule(n_s, cycles, growth):
    settings = Settings(schedule="triangular", n_s=n_s, cycles=cycles, cycle_growth=growth)
    schedule = schedules.Triangular(0.0, 1.0, n_s, growth, cycles=cycles)
    end = settings.steps_of_cycles
    assert schedule(end - 1) > schedule(end) == 0 == schedule(end + 1)


@pytest.mark.parametrize("model", ["softmax", "svm"])
def test_muon_needs_hidden_layers(model):
    with pytest.raises(SettingsError, match=f"optimiser muon is for .* hidden layers, which {model} does not have"):
        Settings(model=model, optimiser="muon")


@pytest.mark.parametrize(
    ("values", "factor"),
    [
        ({}, 0.5),
        ({"decoupled": True}, 0),
        ({"optimiser": "adam"}, 0.5),
        ({"optimiser": "adamw"}, 0),
        ({"optimiser": "muon", "model": "two-layer", "hidden": (5,)}, 0),
    ],
)
def test_a_decoupled_decay_is_not_part_of_the_cost(values, factor):
    assert Settings(lam=0.5, **values).penalty_factor == factor
