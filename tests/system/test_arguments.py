"""Errors for misspelt names and wrong arguments."""

from __future__ import annotations

import pytest

import tinygrad_cifar as tg
from tinygrad_cifar import functional, nn, optim
from tinygrad_cifar.course.evaluation import evaluate
from tinygrad_cifar.course.settings import Settings, SettingsError
from tinygrad_cifar.nn import initialisers, schedules
from tinygrad_cifar.system.arguments import explain_calls


@explain_calls
def example(x, y=0, *, eta, epochs=1):
    if y == "fault":
        raise TypeError("inside")
    return x, y, eta, epochs


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: example(1, lr=2), "example: unexpected argument lr; did you mean eta?"),
        (
            lambda: example(1, eta=2, xyz=2),
            "example: unexpected argument xyz; did you mean y?|the arguments are x, y, ",
        ),
        (lambda: example(1, eta=2, epoch=2), "example: unexpected argument epoch; did you mean epochs?"),
        (lambda: example(1), "example: the argument eta is missing"),
        (example, "example: the arguments x and eta are missing"),
        (lambda: example(1, 2, 3, eta=1), "example: takes 2 positional arguments; got 3: give eta or epochs by name"),
        (lambda: example(1, x=2, eta=1), "example: multiple values for argument 'x'"),
        (lambda: schedules.Constant(lr=0.1), "Constant: unexpected argument lr; did you mean eta?"),
        (lambda: initialisers.Normal(sigm=0.1), "Normal: unexpected argument sigm; did you mean sigma?"),
        (lambda: evaluate(nn.ReLU(), None, metric={}), "evaluate: unexpected argument metric; did you mean metrics?"),
        (lambda: Settings(learning_rate=0.1), "Settings: unexpected argument learning_rate; did you mean eta?"),
    ],
)
def test_wrong_arguments_are_explained(call, words):
    with pytest.raises(TypeError, match=words.replace("?", r"\?")):
        call()


def test_right_arguments_are_passed_on():
    assert example(1, 2, eta=3) == (1, 2, 3, 1)


def test_a_type_error_inside_the_function_is_not_changed():
    with pytest.raises(TypeError, match=r"^inside$"):
        example(1, "fault", eta=1)


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (tg, "optimizers", "optim"),
        (tg, "concat", "concatenate"),
        (nn, "Liner", "Linear"),
        (nn, "relu", "ReLU"),
        (nn, "CrossEntropyLoss", "functional.cross_entropy"),
        (functional, "mse_loss", "mse"),
        (functional, "crossentropy", "cross_entropy"),
        (optim, "AdamX", "Adam"),
    ],
)
def test_a_name_that_a_module_does_not_have_is_refused_with_a_suggestion(module, name, other):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'; did you mean {other}\?"):
        getattr(module, name)


@pytest.mark.parametrize(("module", "name"), [(functional, "l1_loss"), (nn, "L1Loss"), (nn, "LeakyReLU")])
def test_another_function_is_not_suggested(module, name):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'$"):
        getattr(module, name)


def test_an_unknown_setting_in_a_file_is_refused_with_a_suggestion():
    with pytest.raises(SettingsError, match=r"unknown settings: epoch; did you mean epochs\?"):
        Settings.from_json({"epoch": 3})
