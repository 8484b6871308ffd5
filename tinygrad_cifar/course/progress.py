"""The progress of ``fit(..., progress=True)``: the state of the training after each step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinygrad_cifar.course.history import Measurement, format_metric
from tinygrad_cifar.system.progress import show_progress

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_LINES = 20


@contextmanager
def show_steps(label: str) -> Iterator[Callable[[int, int, float, Measurement], None]]:
    """Return a context manager whose function shows the state after a step.

    Parameters
    ----------
    label : str
        Text before the bar.

    Examples
    --------
    >>> from tinygrad_cifar.course.history import Measurement
    >>> from tinygrad_cifar.course.progress import show_steps
    >>> with show_steps("Net") as show:
    ...     show(5, 10, 0.5, Measurement(5, 1.0, 0.1, 0.5, 0.5, 0.75, *[float("nan")] * 3))
    step  5/10  epoch 1     train loss 0.5      train accuracy 75.0 %
    """
    with show_progress(label, max_lines=_MAX_LINES) as display:

        def show(step: int, steps: int, loss: float, measurement: Measurement) -> None:
            name, value = _headline(measurement)
            status = "" if math.isnan(loss) else f"loss={loss:.4g}, "
            lines = [_format_line(measurement, steps)] if measurement.step == step else []
            display.update(step, steps, status=f"{status}{name}={format_metric(name, value)}", lines=lines)

        yield show


def _headline(row: Measurement) -> tuple[str, float]:
    """Return the metric that a bar shows: the accuracy or else the loss, of the validation data if there are any."""
    candidates = ("validation_accuracy", "train_accuracy", "validation_loss", "train_loss")
    values = row.as_dict()
    return next(((name, values[name]) for name in candidates if not math.isnan(values[name])), ("train_loss", math.nan))


def _format_line(row: Measurement, steps: int) -> str:
    width = len(str(steps))
    values = row.as_dict()
    names = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy", *row.others]
    shown = [f"{n.replace('_', ' ')} {format_metric(n, values[n]):<7}" for n in names if not math.isnan(values[n])]
    return "  ".join([f"step {row.step:{width}}/{steps}", f"epoch {row.epoch:<4.3g}", *shown]).rstrip()
