"""The training loop: updates, evaluation, early stopping and checkpoints.

All inputs of a run are arguments or part of the checkpoint: the parameters, the state of the optimiser, the states of
all random generators, and the history. A checkpoint is written after each epoch, so an interrupted run resumes from it
and ends bit-for-bit identical to an uninterrupted one.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import Examples, Metrics, evaluate, validate_examples
from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.data.batches import iterate_batches
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.nn.optim import Optimiser
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.system.identity import require_same

Array = np.ndarray[Any, np.dtype[Any]]


class TrainingDiverged(ArithmeticError):  # noqa: N818 (an event)
    """Training stopped because the loss or a parameter became NaN or infinite; the message names the step."""


@dataclass(frozen=True)
class Measurement:
    """One row of a history.

    Attributes
    ----------
    step : int
        Number of updates so far.
    epoch : float
        Number of passes over the training images so far.
    eta : float
        Learning rate of the next update.
    train_loss : float
        Mean loss on the training images.
    train_cost : float
        Cost on the training images: the loss plus the L2 term.
    train_accuracy : float
        Accuracy on the training images, from 0 to 1.
    validation_loss : float
        Mean loss on the validation images; NaN without any.
    validation_cost : float
        Cost on the validation images; NaN without any.
    validation_accuracy : float
        Accuracy on the validation images, from 0 to 1; NaN without any.
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


@dataclass
class History:
    """The measurements of a run, in order.

    Attributes
    ----------
    rows : list of Measurement
        One per evaluation.
    best_epoch : int
        With patience, the number of epochs after which the validation accuracy was highest, the first in a tie.
    stopped_early : bool
        Whether training stopped because of patience.
    seconds : float
        Wall-clock time including the measurements, summed over all sessions of the run.
    """

    rows: list[Measurement] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    seconds: float = 0.0

    def column(self, name: str) -> Array:
        """Return one attribute of all measurements as an array."""
        return np.array([getattr(row, name) for row in self.rows], dtype=float)

    def to_csv(self) -> str:
        """Return the measurements as comma-separated values with a header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(Measurement)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a run, as passed to the callback.

    Attributes
    ----------
    step : int
        Number of updates so far.
    steps : int
        Number of updates in total.
    loss : float
        Loss of the last batch; NaN before the first.
    measurement : Measurement
        The last measurement.
    """

    step: int
    steps: int
    loss: float
    measurement: Measurement


def fit(  # noqa: PLR0913 (keyword-only arguments)
    model: Classifier,
    optimiser: Optimiser,
    train: Examples,
    validation: Examples | None = None,
    *,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator | None = None,
    measure_every: int | None = None,
    patience: int | None = None,
    augment: Callable[[Array, np.random.Generator], Array] | None = None,
    measure_on: Examples | None = None,
    checkpoint: Path | str | None = None,
    run_id: Mapping[str, Any] | None = None,
    callback: Callable[[TrainingProgress], None] | None = None,
) -> History:
    """Train a model with mini-batches; with early stopping, restore the best parameters at the end.

    Parameters
    ----------
    model : Classifier
        Trained in place.
    optimiser : Optimiser
        Optimiser of the model's parameters. Its weight decay is ``2 * lam``, where ``lam`` is the weight of the L2 term
        in the cost.
    train : (X, labels)
        Training images, one per row, and their classes.
    validation : (X, labels), optional
        Validation images, used for measurements only.
    epochs : int
        Number of passes over the training images.
    batch_size : int
        Images per update.
    rng : numpy.random.Generator, optional
        Shuffles the images before each epoch. If None, they are used in file order.
    measure_every : int, optional
        Number of updates between measurements. If None, measure after each epoch. The untrained and the final model are
        always measured, and with patience the model after each epoch.
    patience : int, optional
        Stop when the validation accuracy has not increased for this many epochs, and restore the best parameters.
    augment : callable, optional
        ``augment(X_batch, rng)`` returns the images to train on instead.
    measure_on : (X, labels), optional
        Images and labels for the ``train_`` columns of the history. Default: ``train``.
    checkpoint : Path, optional
        File that is written before the first epoch and after each epoch. If it exists, the run is resumed from it.
    run_id : mapping, optional
        Further identity of the run (settings, data), serialisable as JSON. It is stored in the checkpoint; resuming
        with a different one raises, listing the differences.
    callback : callable, optional
        Called with a :class:`TrainingProgress` after each update and each measurement.

    Returns
    -------
    History

    Raises
    ------
    TypeError
        If images or labels are not NumPy arrays, or if ``rng`` is not a generator.
    ValueError
        If an argument is out of range, or if images and labels do not have the same length.
    TrainingDiverged
        If the loss or a parameter becomes NaN or infinite. The last checkpoint is kept.
    CheckpointError
        If the checkpoint cannot be written, is damaged, or belongs to another run.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course import models, training
    >>> from tinygrad_cifar.nn import optim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 4))
    >>> labels = (X.sum(axis=1) > 0).astype(int)
    >>> model = models.SoftmaxRegression(4, 2, rng=rng)
    >>> history = training.fit(model, optim.SGD(model.parameters(), 0.5), (X, labels), epochs=5, batch_size=20, rng=rng)
    >>> history.rows[-1].train_accuracy > 0.95
    True
    """
    _check_at_least_one(epochs=epochs, batch_size=batch_size, measure_every=measure_every, patience=patience)
    if patience is not None and validation is None:
        raise ValueError("fit: patience needs validation images; give validation")
    if not {id(p) for p in optimiser.parameters} & {id(p) for p in model.parameters()}:
        raise ValueError("fit: the optimiser must have parameters of the model; construct it with model.parameters()")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"fit: rng must be a numpy.random.Generator; got {rng!r:.40}; use np.random.default_rng")
    if augment is not None and rng is None:
        raise ValueError("fit: augment needs a random generator; give rng")
    for examples in filter(None, (train, validation, measure_on)):
        validate_examples("fit", examples)
    plan = {
        "epochs": epochs,
        "batch_size": batch_size,
        "images": len(train[1]),
        "measure_every": measure_every,
        "patience": patience,
        **(run_id or {}),
    }
    checkpoint = None if checkpoint is None else Path(checkpoint)
    loop = _TrainingLoop(model, optimiser, measure_on or train, validation, plan, rng, callback)
    with np.errstate(over="ignore", invalid="ignore"):  # reported with the step as TrainingDiverged
        loop.start(checkpoint)
        buffers: list[Array] = []
        while loop.epochs_done < epochs and not loop.history.stopped_early:
            model.train()
            for X, labels in iterate_batches(*train, batch_size, rng, buffers=buffers):
                loop.update(X if augment is None or rng is None else augment(X, rng), labels)
                if measure_every and optimiser.steps % measure_every == 0:
                    loop.measure_once()
            loop.finish_epoch(patience, measure=measure_every is None)
            if checkpoint is not None:
                loop.save(checkpoint)
    if patience is not None:
        model.load_state_dict(loop.best)
    return loop.history


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"fit: {name} must be at least 1; got {number}")


class _TrainingLoop:
    """The state of a training run, with its conversion to and from a checkpoint."""

    def __init__(
        self,
        model: Classifier,
        optimiser: Optimiser,
        train: Examples,
        validation: Examples | None,
        plan: Mapping[str, Any],
        rng: np.random.Generator | None,
        callback: Callable[[TrainingProgress], None] | None,
    ) -> None:
        self.model, self.optimiser = model, optimiser
        self.train, self.validation = train, validation
        self.callback = callback
        self.steps_per_epoch = -(-int(plan["images"]) // int(plan["batch_size"]))
        self.steps = int(plan["epochs"]) * self.steps_per_epoch
        self.generators = model.generators()
        if rng is not None and all(rng is not other for other in self.generators):
            self.generators.append(rng)
        self.identity: dict[str, Any] = {
            "model": type(model).__name__,
            "optimiser": type(optimiser).__name__,
            **plan,
            "random generators": [type(rng.bit_generator).__name__ for rng in self.generators],
        }
        self.history = History()
        self.started = time.perf_counter()
        self.epochs_done = 0
        self.loss = math.nan
        self.best: dict[str, Array] = {}
        self.best_accuracy = -math.inf

    def start(self, checkpoint: Path | None) -> None:
        """Resume from the checkpoint if it exists; otherwise measure the untrained model and write the first one."""
        if checkpoint is not None and checkpoint.exists():
            self.resume(checkpoint)
            return
        self.measure_once()
        if checkpoint is not None:
            self.save(checkpoint)

    def update(self, X: Array, labels: Array) -> None:
        """Make one update."""
        self.optimiser.zero_grad()
        loss = self.model.loss(wrap_without_copy(X), labels)
        self.loss = float(loss.item())
        if not math.isfinite(self.loss):
            raise self.diverged(f"the loss became {self.loss}", self.optimiser.steps + 1)
        loss.backward()
        self.optimiser.step()
        self.report()

    def diverged(self, event: str, step: int) -> TrainingDiverged:
        """Return the error for a value that is not finite at a step."""
        if step == 0:
            return TrainingDiverged(f"{event} before the first step; try smaller initial weights or a smaller lambda")
        return TrainingDiverged(
            f"{event} at step {step} (epoch {self.epochs_done + 1}, learning rate "
            f"{self.optimiser.schedule(step - 1):g}); try a smaller learning rate"
        )

    def report(self) -> None:
        """Call the callback."""
        if self.callback is not None:
            self.callback(TrainingProgress(self.optimiser.steps, self.steps, self.loss, self.history.rows[-1]))

    def measure_once(self) -> None:
        """Append a measurement to the history, unless the last one is of the same step."""
        step = self.optimiser.steps
        if self.history.rows and self.history.rows[-1].step == step:
            return
        lam = self.optimiser.weight_decay / 2
        train = evaluate(self.model, self.train, lam)
        missing = Metrics(math.nan, math.nan, math.nan)
        validation = missing if self.validation is None else evaluate(self.model, self.validation, lam)
        for name, metrics in (("training", train), ("validation", validation)):
            for quantity, value in (("loss", metrics.loss), ("cost", metrics.cost)):
                if not math.isfinite(value) and metrics is not missing:
                    raise self.diverged(f"the {name} {quantity} became {value}", step)
        self.history.rows.append(
            Measurement(
                step,
                step / self.steps_per_epoch,
                self.optimiser.eta,
                *(train.loss, train.cost, train.accuracy),
                *(validation.loss, validation.cost, validation.accuracy),
            )
        )
        self.report()

    def finish_epoch(self, patience: int | None, *, measure: bool) -> None:
        """Count the epoch, measure if needed, and with patience save the best parameters and decide whether to stop."""
        if not all(np.isfinite(p.data).all() for p in self.model.parameters()):
            raise self.diverged("a parameter became NaN or infinite", self.optimiser.steps)
        self.epochs_done += 1
        if measure or self.epochs_done * self.steps_per_epoch == self.steps or patience is not None:
            self.measure_once()
        now = time.perf_counter()
        self.history.seconds += now - self.started
        self.started = now
        if patience is None:
            return
        accuracy = self.history.rows[-1].validation_accuracy
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            self.best = self.model.state_dict()
            self.history.best_epoch = self.epochs_done
        self.history.stopped_early = self.epochs_done - self.history.best_epoch >= patience

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the arrays and the JSON-serialisable metadata of a checkpoint."""
        arrays = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimiser/{name}": array for name, array in self.optimiser.state_dict().items()}
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        metadata = {
            "identity": self.identity,
            "epochs_done": self.epochs_done,
            "best_accuracy": self.best_accuracy if self.best else None,
            "best_epoch": self.history.best_epoch,
            "stopped_early": self.history.stopped_early,
            "seconds": self.history.seconds,
            "rows": [list(asdict(row).values()) for row in self.history.rows],
            "generators": [_as_json(rng.bit_generator.state) for rng in self.generators],
        }
        return arrays, metadata

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, *self.state())

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint. A checkpoint that is refused changes nothing."""
        arrays, metadata = load_checkpoint(path)
        own_arrays, own_metadata = self.state()
        try:
            require_same(metadata["identity"], self.identity)
            first, *others = [Measurement(int(row[0]), *map(float, row[1:])) for row in metadata["rows"]]
            self.history = History(
                [first, *others],
                int(metadata["best_epoch"]),
                bool(metadata["stopped_early"]),
                float(metadata["seconds"]),
            )
            self.epochs_done = int(metadata["epochs_done"])
            self.best = _strip_prefix("best/", arrays)
            self.best_accuracy = -math.inf if metadata["best_accuracy"] is None else float(metadata["best_accuracy"])
            if self.best:
                self.model.load_state_dict(self.best)  # so that a mismatch is found now and not at the end
            self.restore(arrays, metadata["generators"])
            self.check_progress()
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            self.restore(own_arrays, own_metadata["generators"])
            raise CheckpointError(f"{path} belongs to another run: {error}") from error
        self.report()

    def check_progress(self) -> None:
        """Raise an error for a state that this run cannot have."""
        if not 0 <= self.epochs_done * self.steps_per_epoch <= self.steps:
            raise ValueError(f"its epochs_done is {self.epochs_done} of {self.identity['epochs']}")
        if bool(self.best) != (self.identity["patience"] is not None and self.epochs_done > 0):
            raise ValueError("its best parameters are missing or unexpected")

    def restore(self, arrays: Mapping[str, Array], generators: Sequence[Any]) -> None:
        """Set the model, the optimiser and the random generators to a stored state."""
        self.model.load_state_dict(_strip_prefix("model/", arrays))
        self.optimiser.load_state_dict(_strip_prefix("optimiser/", arrays))
        for rng, state in zip(self.generators, generators, strict=True):
            _check_rng(_as_json(rng.bit_generator.state), state)
            rng.bit_generator.state = state


def _as_json(state: Any) -> Any:
    """Return the state of a generator with lists instead of arrays."""
    if isinstance(state, Mapping):
        return {name: _as_json(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


_MAX_POSITIONS = {"pos": 624, "buffer_pos": 4}  # number of buffered words of MT19937 and Philox


def _check_rng(own: Any, stored: Any, name: str = "") -> None:
    """Raise an error for a state with another structure than the own one: NumPy would read outside its arrays."""
    if isinstance(own, Mapping):
        if own.keys() != stored.keys():
            raise ValueError(f"a random generator has the state entries {list(stored)}, not {list(own)}")
        for part in own:
            _check_rng(own[part], stored[part], part)
    elif isinstance(own, list):
        if not isinstance(stored, list) or len(stored) != len(own):
            raise ValueError(f"a random generator has a {name} that is not a list of {len(own)} integers")
        for number, other in zip(own, stored, strict=True):
            _check_rng(number, other, name)
    elif isinstance(own, int):
        if not isinstance(stored, int) or not 0 <= stored <= _MAX_POSITIONS.get(name, stored):
            raise ValueError(f"a random generator has the invalid {name} {stored!r:.40}")
    elif stored != own:
        raise ValueError(f"a random generator is a {stored!r:.40}, not a {own}")


def _strip_prefix(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
