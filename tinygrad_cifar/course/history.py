"""The history of a training run: its measurements as columns, as CSV, and as curves in a notebook."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from html import escape
from typing import Any

import numpy as np

from tinygrad_cifar.course.layer_statistics import LayerStatistics
from tinygrad_cifar.system.arguments import suggest

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Measurement:
    """One row of a history.

    Attributes
    ----------
    step : int
        Number of updates so far.
    epoch : float
        Number of passes over the training data so far.
    eta : float
        Learning rate of the next update.
    train_loss : float
        Mean loss on the training data. If these are batches without arrays, the mean over the updates since the
        measurement before; NaN for the untrained model.
    train_cost : float
        Cost on the training data: the loss plus the L2 term.
    train_accuracy : float
        Accuracy on the training data, from 0 to 1; NaN if the model is not a classifier.
    validation_loss : float
        Mean loss on the validation data; NaN without any.
    validation_cost : float
        Cost on the validation data; NaN without any.
    validation_accuracy : float
        Accuracy on the validation data, from 0 to 1; NaN without any, or if the model is not a classifier.
    others : mapping of str to float
        The metrics that were passed to ``fit``, such as ``train_r2`` and ``validation_r2``.
    layers : mapping of str to LayerStatistics
        With ``fit(..., layer_statistics=True)``, the statistics of each layer, from the first to the last.
    """

    step: int
    epoch: float
    eta: float
    train_loss: float
    train_cost: float
    train_accuracy: float
    validation_loss: float
    validation_cost: float
    validation_accuracy: float
    others: Mapping[str, float] = field(default_factory=dict, hash=False)
    layers: Mapping[str, LayerStatistics] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, float]:
        """Return all quantities by name; those of layers, such as ``layers.0_activation_zeros``, are last."""
        of_layers = {
            f"{layer}_{name}": value
            for layer, statistics in self.layers.items()
            for name, value in statistics._asdict().items()
        }
        return {name: getattr(self, name) for name in COLUMNS} | dict(self.others) | of_layers

    def to_list(self) -> list[Any]:
        """Return the quantities in order, then ``others`` and ``layers`` as far as needed; JSON can store this list."""
        more: list[Any] = [dict(self.others)] if self.others or self.layers else []
        more += [{layer: list(statistics) for layer, statistics in self.layers.items()}] if self.layers else []
        return [*[getattr(self, name) for name in COLUMNS], *more]

    @classmethod
    def from_list(cls, row: Sequence[Any]) -> Measurement:
        """Return the measurement of which ``row`` is the :meth:`to_list`."""
        step, *numbers = row
        mappings = [part for part in numbers[-2:] if isinstance(part, Mapping)]
        numbers = numbers[: len(numbers) - len(mappings)]
        others, layers = (*mappings, {}, {})[:2]
        if len(numbers) != len(COLUMNS) - 1:
            raise ValueError(f"a measurement has {len(COLUMNS)} numbers; got {len(numbers) + 1}")
        named = dict(zip(COLUMNS[1:], map(float, numbers), strict=True))
        return cls(
            int(step),
            **named,
            others={str(name): float(value) for name, value in others.items()},
            layers={str(layer): LayerStatistics(*map(float, values)) for layer, values in layers.items()},
        )


COLUMNS = tuple(f.name for f in fields(Measurement) if f.name not in ("others", "layers"))


@dataclass(repr=False)
class History:
    """The measurements of a run, in order.

    Attributes
    ----------
    rows : list of Measurement
        One per evaluation.
    best_epoch : int
        With patience, the number of epochs after which the validation accuracy was highest, or the validation loss of
        a model without accuracy was lowest; the first in a tie, and 0 for the model before the training.
    stopped_early : bool
        Whether training stopped because of patience.
    seconds : float
        Wall-clock time including the measurements, summed over all sessions of the run.

    Examples
    --------
    >>> from tinygrad_cifar.course.history import History, Measurement
    >>> before = Measurement(0, 0.0, 0.1, 0.9, 0.9, 0.5, *[float("nan")] * 3)
    >>> after = Measurement(5, 1.0, 0.1, 0.4, 0.4, 0.9, *[float("nan")] * 3)
    >>> history = History([before, after])
    >>> history
    History(1 epoch, 5 steps: train loss 0.9 to 0.4, train accuracy 50.0 % to 90.0 %)
    >>> history.column("train_loss")
    array([0.9, 0.4])
    """

    rows: list[Measurement] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    seconds: float = 0.0

    def column(self, name: str) -> Array:
        """Return one quantity of all measurements as an array.

        Raises
        ------
        AttributeError
            If no quantity has this name.
        """
        rows = [row.as_dict() for row in self.rows]
        for row in rows:
            if name not in row:
                raise AttributeError(f"History has no column {name}{suggest(name, row)}")
        return np.array([row[name] for row in rows], dtype=float)

    @property
    def layers(self) -> list[str]:
        """The names of the layers whose statistics were measured, from the first to the last."""
        return list(self.rows[0].layers) if self.rows else []

    def to_csv(self) -> str:
        """Return the measurements as comma-separated values with a header."""
        text = io.StringIO()
        names = list(self.rows[0].as_dict()) if self.rows else list(COLUMNS)
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.as_dict() for row in self.rows)
        return text.getvalue()

    def _measured(self) -> Iterator[tuple[str, Array]]:
        """Yield the names and values of the losses, the accuracies and the other metrics, as far as measured."""
        others = self.rows[0].others if self.rows else ()
        for name in (*(n for q in ("loss", "accuracy") for n in (f"train_{q}", f"validation_{q}")), *others):
            values = self.column(name)
            if not np.isnan(values).all():
                yield name, values

    def _length(self) -> str:
        last = self.rows[-1]
        steps, epochs = last.step, f"{last.epoch:g}"
        return f"{epochs} epoch{'s' * (epochs != '1')}, {steps:,} step{'s' * (steps != 1)}"

    def __repr__(self) -> str:
        if not self.rows:
            return "History()"
        parts = []
        for name, values in self._measured():
            known = values[~np.isnan(values)]
            parts.append(
                f"{name.replace('_', ' ')} {format_metric(name, known[0])} to {format_metric(name, known[-1])}"
            )
        stopped = ", stopped early" * self.stopped_early
        return f"History({self._length()}{stopped}: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return curves of the losses, accuracies and other metrics, for notebooks."""
        if not self.rows:
            return "<div>History without measurements</div>"
        panels: dict[str, dict[str, Array]] = {}
        for name, values in self._measured():
            part, _, quantity = name.partition("_")
            panels.setdefault(quantity, {})[part] = values
        curves = "".join(_panel(quantity, self.column("epoch"), lines) for quantity, lines in panels.items())
        return f"<div><p><b>History</b>: {self._length()}, {self.seconds:.1f} s</p>{curves}</div>"


def format_metric(name: str, value: float) -> str:
    """Return a metric as text: accuracies in per cent, other metrics with four digits.

    Examples
    --------
    >>> from tinygrad_cifar.course.history import format_metric
    >>> format_metric("train_accuracy", 0.5), format_metric("train_loss", 0.123456)
    ('50.0 %', '0.1235')
    """
    return f"{100 * value:.1f} %" if name.endswith("accuracy") else f"{value:.4g}"


_WIDTH, _HEIGHT = 300, 150  # of the curves, in pixels; around them is space for the labels
_LEFT, _TOP = 58, 24


def _panel(quantity: str, x: Array, lines: Mapping[str, Array]) -> str:
    """Return one figure with a curve per set of examples, as an SVG element without external resources."""
    known = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    span_x, span_y = float(x[-1] - x[0]) or 1.0, (high - low) or 1.0
    marks, legend = [], []
    for i, (part, values) in enumerate(lines.items()):
        points = [
            f"{_LEFT + _WIDTH * (a - x[0]) / span_x:.1f},{_TOP + _HEIGHT * (high - b) / span_y:.1f}"
            for a, b in zip(x, values, strict=True)
            if math.isfinite(b)
        ]
        colour, dash = (("#1f77b4", ""), ("#d95f02", ' stroke-dasharray="5 3"'))[i % 2]
        marks.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        if len(points) == 1:
            a, _, b = points[0].partition(",")
            marks.append(f'<circle cx="{a}" cy="{b}" r="2.5" fill="{colour}"/>')
        legend.append(f'<tspan fill="{colour}" dx="8">{escape(part)}</tspan>')
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    labels = [
        (_LEFT - 5, _TOP + 4, "end", format_metric(quantity, high)),
        (_LEFT - 5, bottom + 4, "end", format_metric(quantity, low)),
        (_LEFT, bottom + 15, "start", f"{x[0]:g}"),
        (right, bottom + 15, "end", f"epoch {x[-1]:g}"),
    ]
    texts = "".join(f'<text x="{a}" y="{b}" text-anchor="{anchor}">{text}</text>' for a, b, anchor, text in labels)
    name = escape(quantity.replace("_", " "))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + 12}" height="{bottom + 22}" role="img" '
        f'aria-label="{name}" font-family="sans-serif" font-size="11" fill="currentColor">'
        f'<text x="{_LEFT}" y="14" font-size="12"><tspan font-weight="bold">{name}</tspan>{"".join(legend)}</text>'
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="currentColor" '
        f'opacity="0.3"/>{"".join(marks)}{texts}</svg>'
    )
