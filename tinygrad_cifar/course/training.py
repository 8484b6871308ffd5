"""The training loop: batches in, gradients through, parameters changed, and what happened written down.

Everything that a run depends on is either an argument or in the checkpoint: the parameters, the optimiser's
memories, the states of all random generators, and the history so far. A checkpoint is written at the end of an
epoch, so a run that was killed goes on from there and ends with the same bits as one that was not.
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


class TrainingDiverged(ArithmeticError):  # noqa: N818 (it is an event)
    """The loss became NaN or infinite; says at which step."""


@dataclass(frozen=True)
class Measurement:
    """One row of a history.

    Attributes
    ----------
    step : int
        How many updates had been made.
    epoch : float
        The same in passes over the training images.
    eta : float
        The learning rate of the next update.
    train_loss, train_cost, train_accuracy, validation_loss, validation_cost, validation_accuracy : float
        As in :class:`Metrics`; NaN where there are no validation images.
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
    """What was measured during a run, in order.

    Attributes
    ----------
    rows : list of Measurement
        The measurements.
    best_epoch : int
        With patience: after how many epochs the validation accuracy was highest (the first of equals).
    stopped_early : bool
        Whether patience ran out before the epochs did.
    seconds : float
        Wall-clock time, measurements included, of all the sessions that the run took.
    """

    rows: list[Measurement] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    seconds: float = 0.0

    def column(self, name: str) -> Array:
        """Return one quantity over the run, as an array."""
        return np.array([getattr(row, name) for row in self.rows], dtype=float)

    def to_csv(self) -> str:
        """Return the rows as comma-separated values with a header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(Measurement)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run is, for whoever watches it.

    Attributes
    ----------
    step, steps : int
        Updates made, and those there will be.
    loss : float
        Of the batch just used; NaN before the first.
    measured : Measurement
        The last row of the history.
    """

    step: int
    steps: int
    loss: float
    measured: Measurement


def fit(  # noqa: PLR0913 (keyword-only, and each says one thing)
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
    """Train a model by mini-batches, and leave it with the best parameters if there is early stopping.

    Parameters
    ----------
    model : Classifier
        Changed in place.
    optimiser : Optimiser
        Over the model's parameters. Its weight decay is the gradient of the L2 term, ``2 * lam``, and decides the cost.
    train : (X, labels)
        The images, one per row, and their classes.
    validation : (X, labels), optional
        Images to measure on, never trained on.
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per update.
    rng : numpy.random.Generator, optional
        Shuffles the images before each epoch; without one they are used in file order.
    measure_every : int, optional
        Measure after this many updates; by default after each epoch. The untrained model is measured too, and so is the
        last; with patience, every epoch's.
    patience : int, optional
        Stop when the validation accuracy has not risen for this many epochs, and go back to the best parameters.
    augment : callable, optional
        ``augment(X_batch, rng)`` returns what to train on instead.
    measure_on : (X, labels), optional
        What the ``train_`` columns are measured on, if not ``train``.
    checkpoint : Path, optional
        Where to write before the first epoch and after each; if the file is there, the run it belongs to is resumed.
    run_id : mapping, optional
        What else makes this run the one it is (settings, data), as JSON: it is kept in the checkpoint, and a checkpoint
        with another is refused by naming what differs.
    callback : callable, optional
        Called with a :class:`Progress` after each update and each measurement.

    Returns
    -------
    History

    Raises
    ------
    TypeError
        If images or labels are no NumPy arrays, or rng is no generator.
    TrainingDiverged
        If the loss or a parameter becomes NaN or infinite; the last checkpoint stays.
    CheckpointError
        If the checkpoint cannot be written, is damaged, or is of another run.

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
        raise ValueError("fit: patience watches the validation accuracy; give validation images")
    if not {id(p) for p in optimiser.parameters} & {id(p) for p in model.parameters()}:
        raise ValueError("fit: the optimiser holds none of the model's parameters; give it model.parameters()")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"fit: rng must be a generator, as np.random.default_rng(0); got {rng!r:.40}")
    if augment is not None and rng is None:
        raise ValueError("fit: augment draws random numbers; give a generator as rng")
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
    run = _TrainingLoop(model, optimiser, measure_on or train, validation, plan, rng, callback)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no longer finite is reported with its step instead
        run.start(checkpoint)
        kept: list[Array] = []
        while run.epochs_done < epochs and not run.history.stopped_early:
            model.train()
            for X, labels in iterate_batches(*train, batch_size, rng, kept=kept):
                run.update(X if augment is None or rng is None else augment(X, rng), labels)
                if measure_every and optimiser.steps % measure_every == 0:
                    run.measure_once()
            run.finish_epoch(patience, measured=measure_every is None)
            if checkpoint is not None:
                run.save(checkpoint)
    if patience is not None:
        model.load_state_dict(run.best)
    return run.history


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"fit: {name} must be at least 1, got {number}")


class _TrainingLoop:
    """The state of a training run, and the only place that knows what of it a checkpoint holds."""

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
        """Go on from the checkpoint, if it is there; else measure the untrained model and write the first one."""
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

    def diverged(self, what: str, step: int) -> TrainingDiverged:
        """Return the error that says what was no longer finite, and when."""
        if step == 0:
            return TrainingDiverged(f"{what} before the first step; try smaller initial weights, or a smaller lambda")
        return TrainingDiverged(
            f"{what} at step {step} (epoch {self.epochs_done + 1}, learning rate "
            f"{self.optimiser.schedule(step - 1):g}); try a smaller learning rate"
        )

    def report(self) -> None:
        """Tell whoever watches."""
        if self.callback is not None:
            self.callback(TrainingProgress(self.optimiser.steps, self.steps, self.loss, self.history.rows[-1]))

    def measure_once(self) -> None:
        """Add a row to the history, unless the last one is of this step."""
        step = self.optimiser.steps
        if self.history.rows and self.history.rows[-1].step == step:
            return
        lam = self.optimiser.weight_decay / 2
        train = evaluate(self.model, self.train, lam)
        nothing = Metrics(math.nan, math.nan, math.nan)
        held_out = nothing if self.validation is None else evaluate(self.model, self.validation, lam)
        for name, scores in (("training", train), ("validation", held_out)):
            for what, number in (("loss", scores.loss), ("cost", scores.cost)):
                if not math.isfinite(number) and scores is not nothing:
                    raise self.diverged(f"the {name} {what} became {number}", step)
        self.history.rows.append(
            Measurement(
                step,
                step / self.steps_per_epoch,
                self.optimiser.eta,
                *(train.loss, train.cost, train.accuracy),
                *(held_out.loss, held_out.cost, held_out.accuracy),
            )
        )
        self.report()

    def finish_epoch(self, patience: int | None, *, measured: bool) -> None:
        """Count the epoch; with patience, keep the best parameters and stop when they have been too long the best."""
        if not all(np.isfinite(p.data).all() for p in self.model.parameters()):
            raise self.diverged("a parameter was no longer finite", self.optimiser.steps)
        self.epochs_done += 1
        if measured or self.epochs_done * self.steps_per_epoch == self.steps or patience is not None:
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
        """Return everything that the rest of the run depends on, as arrays and as what JSON can hold."""
        arrays = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimiser/{name}": array for name, array in self.optimiser.state_dict().items()}
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        text = {
            "identity": self.identity,
            "epochs_done": self.epochs_done,
            "best_accuracy": self.best_accuracy if self.best else None,
            "best_epoch": self.history.best_epoch,
            "stopped_early": self.history.stopped_early,
            "seconds": self.history.seconds,
            "rows": [list(asdict(row).values()) for row in self.history.rows],
            "generators": [_plain(rng.bit_generator.state) for rng in self.generators],
        }
        return arrays, text

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, *self.state())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; one that is refused changes nothing."""
        arrays, text = load_checkpoint(path)
        own_arrays, own_text = self.state()
        try:
            require_same(text["identity"], self.identity)
            first, *others = [Measurement(int(row[0]), *map(float, row[1:])) for row in text["rows"]]
            self.history = History(
                [first, *others], int(text["best_epoch"]), bool(text["stopped_early"]), float(text["seconds"])
            )
            self.epochs_done = int(text["epochs_done"])
            self.best = _strip_prefix("best/", arrays)
            self.best_accuracy = -math.inf if text["best_accuracy"] is None else float(text["best_accuracy"])
            if self.best:
                self.model.load_state_dict(self.best)  # to see that it will fit at the end
            self.restore(arrays, text["generators"])
            self.check_progress()
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            self.restore(own_arrays, own_text["generators"])
            raise CheckpointError(f"{path} belongs to another run: {error}") from error
        self.report()

    def check_progress(self) -> None:
        """Refuse a state that no run of this plan comes through."""
        if not 0 <= self.epochs_done * self.steps_per_epoch <= self.steps:
            raise ValueError(f"it has made {self.epochs_done} of {self.identity['epochs']} epochs")
        if bool(self.best) != (self.identity["patience"] is not None and self.epochs_done > 0):
            raise ValueError("its best parameters are missing, or needless")

    def restore(self, arrays: Mapping[str, Array], generators: Sequence[Any]) -> None:
        """Set everything outside this object that a checkpoint holds."""
        self.model.load_state_dict(_strip_prefix("model/", arrays))
        self.optimiser.load_state_dict(_strip_prefix("optimiser/", arrays))
        for rng, state in zip(self.generators, generators, strict=True):
            _check_rng(_plain(rng.bit_generator.state), state)
            rng.bit_generator.state = state


def _plain(state: Any) -> Any:
    """Return a generator's state as JSON can hold it: some kinds keep arrays in theirs."""
    if isinstance(state, Mapping):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


_POSITIONS = {"pos": 624, "buffer_pos": 4}  # in the words that MT19937 and Philox have at hand


def _check_rng(own: Any, kept: Any, name: str = "") -> None:
    """Refuse a generator's state that is not built like its own: NumPy would follow it out of its arrays."""
    if isinstance(own, Mapping):
        if own.keys() != kept.keys():
            raise ValueError(f"a random generator's state has the parts {list(kept)}, not {list(own)}")
        for part in own:
            _check_rng(own[part], kept[part], part)
    elif isinstance(own, list):
        if not isinstance(kept, list) or len(kept) != len(own):
            raise ValueError(f"a random generator's {name} is no list of {len(own)} numbers")
        for number, other in zip(own, kept, strict=True):
            _check_rng(number, other, name)
    elif isinstance(own, int):
        if not isinstance(kept, int) or not 0 <= kept <= _POSITIONS.get(name, kept):
            raise ValueError(f"a random generator's {name} is {kept!r:.40}")
    elif kept != own:
        raise ValueError(f"a random generator is a {kept!r:.40}, not a {own}")


def _strip_prefix(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
