"""The progress of a training: its state after each step, as a bar or as lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tinygrad_cifar.course.history import Measurement, format_metric
from tinygrad_cifar.course.training_loop import TrainingProgress
from tinygrad_cifar.system.progress import show_progress

_MAX_LINES = 20


@contextmanager
def show_steps(label: str, *, max_lines: int | None = _MAX_LINES) -> Iterator[Callable[[TrainingProgress], None]]:
    """Return a context manager whose function shows the state after a step.

    Parameters
    ----------
    label : str
        Text before the bar.
    max_lines : int, optional
        If no bar is shown, print lines at about this many of the measurements. If None, print all.

    Examples
    --------
    >>> from tinygrad_cifar.course.history import Measurement
    >>> from tinygrad_cifar.course.progress import show_steps
    >>> from tinygrad_cifar.course.training import TrainingProgress
    >>> measurement = Measurement(5, 1.0, 0.1, 0.5, 0.5, 0.75, *[float("nan")] * 3)
    >>> with show_steps("Net") as show:
    ...     show(TrainingProgress(5, 10, 0.5, measurement))
    step  5/10  epoch 1      loss 0.5      train 75.0 %
    """
    with show_progress(label, max_lines=max_lines) as display:

        def show(progress: TrainingProgress) -> None:
            row = progress.measurement
            name, value = _headline(row)
            status = "" if math.isnan(progress.loss) else f"loss={progress.loss:.4g}, "
            lines = [_format_line(row, progress.steps)] if row.step == progress.step else []
            display.update(
                progress.step, progress.steps, status=f"{status}{name}={format_metric(name, value)}", lines=lines
            )

        yield show


def _headline(row: Measurement) -> tuple[str, float]:
    """Return the metric that a bar shows: the accuracy or else the loss, of the validation data if there are any."""
    candidates = ("validation_accuracy", "train_accuracy", "validation_loss", "train_loss")
    values = row.as_dict()
    return next(((name, values[name]) for name in candidates if not math.isnan(values[name])), ("train_loss", math.nan))


def _format_line(row: Measurement, steps: int) -> str:
    """Return a measurement in one line; of a classifier, only one loss, so that it has at most 80 columns."""
    values = row.as_dict()
    if math.isnan(row.train_accuracy):
        names = {"train_loss": "train loss", "validation_loss": "validation loss"}
    else:
        names = {"train_loss": "loss", "train_accuracy": "train", "validation_accuracy": "validation"}
    names |= {name: name.replace("_", " ") for name in row.others}
    shown = [f"{text} {format_metric(n, values[n]):<7}" for n, text in names.items() if not math.isnan(values[n])]
    return "  ".join([f"step {row.step:{len(str(steps))}}/{steps}", f"epoch {row.epoch:<5.4g}", *shown]).rstrip()
