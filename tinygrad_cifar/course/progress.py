"""The progress of ``fit(..., progress=True)``: a bar in a terminal or a notebook, lines elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tinygrad_cifar.course.history import Measurement, format_metric

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_LINES = 20
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}<{remaining}{postfix}]"


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
    bar: Any = None
    is_bar = _shows_bars()
    lines: list[int] = []

    def show(step: int, steps: int, loss: float, measurement: Measurement) -> None:
        nonlocal bar
        if is_bar:
            if bar is None:  # so that earlier work of a resumed run does not count as speed
                bar = _open_bar(desc=label, total=steps, initial=step)
            status = {} if math.isnan(loss) else {"loss": f"{loss:.4g}"}
            name, value = _headline(measurement)
            bar.set_postfix(status | {name: format_metric(name, value)}, refresh=False)
            bar.update(step - bar.n)
        elif measurement.step == step and _is_due(step, steps, lines):
            print(_format_line(measurement, steps), flush=True)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _is_due(step: int, steps: int, lines: list[int]) -> bool:
    """Return whether to print the line of a step, so that about equally spaced lines are printed, the last included."""
    line = step * _MAX_LINES // max(steps, 1)
    if lines and line == lines[-1]:
        return False
    lines.append(line)
    return True


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


def _shows_bars() -> bool:
    """Return whether tqdm is installed and a terminal or a notebook can show its bar."""
    if not (sys.stderr.isatty() or _is_notebook()):
        return False
    try:
        import tqdm  # noqa: F401, PLC0415 (optional)
    except ImportError:
        return False
    return True


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _open_bar(**options: Any) -> Any:
    import warnings  # noqa: PLC0415 (with tqdm)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns if a notebook lacks ipywidgets, and then draws its bar as text
        from tqdm.auto import tqdm  # noqa: PLC0415 (optional, and slow to import)
    return tqdm(bar_format=None if _is_notebook() else _FORMAT, **options)
