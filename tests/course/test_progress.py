"""The progress of a training, as lines and as the text of a bar."""

from __future__ import annotations

import math

import pytest

from tests.system.test_progress import open_terminal
from tinygrad_cifar.course.history import Measurement
from tinygrad_cifar.course.progress import show_steps
from tinygrad_cifar.course.training import TrainingProgress

NAN = math.nan


def shown(measurement, *, step=5, loss=0.5):
    with show_steps("Net") as show:
        show(TrainingProgress(step, 10, loss, measurement))


@pytest.mark.parametrize(
    ("measurement", "line"),
    [
        (
            Measurement(5, 1.0, 0.1, 0.5, 0.6, 0.75, 0.7, 0.8, 0.625),
            "step  5/10  epoch 1      loss 0.5      train 75.0 %   validation 62.5 %",
        ),
        (
            Measurement(5, 1.0, 0.1, 0.5, 0.6, NAN, 0.7, 0.8, NAN),
            "step  5/10  epoch 1      train loss 0.5      validation loss 0.7",
        ),
        (
            Measurement(5, 1.0, 0.1, 0.5, 0.6, NAN, NAN, NAN, NAN, {"train_r2": 0.25}),
            "step  5/10  epoch 1      train loss 0.5      train r2 0.25",
        ),
    ],
    ids=["classifier", "regression", "metric"],
)
def test_a_line_has_the_metrics_that_there_are(measurement, line, capsys):
    shown(measurement)
    assert capsys.readouterr().out == f"{line}\n"


def test_only_measured_steps_have_a_line(capsys):
    shown(Measurement(4, 0.8, 0.1, 0.5, 0.6, 0.75, NAN, NAN, NAN))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("accuracies", "loss", "status"),
    [
        ((0.75, 0.625), 0.25, "loss=0.25, validation_accuracy=62.5 %"),
        ((0.75, NAN), 0.25, "loss=0.25, train_accuracy=75.0 %"),
        ((NAN, NAN), 0.25, "loss=0.25, validation_loss=0.7"),
        ((0.75, NAN), NAN, "train_accuracy=75.0 %"),
    ],
    ids=["validation", "training", "loss", "before the first step"],
)
def test_a_bar_has_the_loss_of_the_step_and_one_metric(accuracies, loss, status, monkeypatch):
    terminal = open_terminal(monkeypatch)
    train, validation = accuracies
    shown(Measurement(5, 1.0, 0.1, 0.5, 0.6, train, 0.7, 0.8, validation), loss=loss)
    assert terminal.states()[-1].endswith(f", {status}]")
