"""The training loop: updates, evaluation, early stopping and checkpoints.

All inputs of a run are arguments or part of the checkpoint: the parameters, the state of the optimiser, the states of
all random generators, and the history. A checkpoint is written after each epoch, so an interrupted run resumes from it
and ends bit-for-bit identical to an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import Examples, Loss, Metric, Metrics, evaluate, loss_function, validate_examples
from tinygrad_cifar.course.history import COLUMNS
from tinygrad_cifar.course.history import History as History  # noqa: PLC0414 (offered here, too)
from tinygrad_cifar.course.history import Measurement as Measurement  # noqa: PLC0414
from tinygrad_cifar.course.layer_statistics import LayerStatistics, measure_layers
from tinygrad_cifar.course.progress import show_steps
from tinygrad_cifar.course.run_identity import (
    RATES,
    identify_data,
    identify_function,
    identify_generator,
    identify_model,
    identify_optimiser,
)
from tinygrad_cifar.course.sources import ArraySource, Batches, BatchSource, open_source
from tinygrad_cifar.engine.blocked.memory import empty_cache
from tinygrad_cifar.engine.tensor import Tensor, wrap_without_copy
from tinygrad_cifar.nn import Module
from tinygrad_cifar.nn.optim import Optimiser, clip_grad_norm
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.system.generators import RandomState, make_generator
from tinygrad_cifar.system.identity import require_same

Array = np.ndarray[Any, np.dtype[Any]]

_DATA = "data"  # the entry of run_id that replaces the digests of the data
_VERSION = 2  # of the metadata of a checkpoint
_EXAMPLES_OF_LAYERS = 100  # on which the statistics of layers are measured


class TrainingDiverged(ArithmeticError):  # noqa: N818 (an event)
    """Training stopped because the loss or a parameter became NaN or infinite; the message names the step."""


class ResumeError(CheckpointError):
    """A run cannot be resumed from a checkpoint, since that is damaged or belongs to another run.

    Parameters
    ----------
    reason : str
        Why not. The message says in addition what to do.

    Attributes
    ----------
    reason : str
        The reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; delete the file to start again, or choose another")
        self.reason = reason


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


@explain_calls
def fit(  # noqa: PLR0913 (keyword-only arguments)
    model: Module,
    optimiser: Optimiser,
    train: Examples | Batches,
    validation: Examples | None = None,
    *,
    epochs: int,
    batch_size: int | None = None,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
    rng: RandomState = None,
    shuffle: bool = True,
    steps_per_epoch: int | None = None,
    measure_every: int | None = None,
    patience: int | None = None,
    augment: Callable[[Array, np.random.Generator], Array] | None = None,
    clip_norm: float | None = None,
    measure_on: Examples | None = None,
    layer_statistics: bool = False,
    checkpoint: Path | str | None = None,
    run_id: Mapping[str, Any] | None = None,
    callback: Callable[[TrainingProgress], None] | None = None,
    progress: bool = False,
) -> History:
    """Train a model with mini-batches; with early stopping, restore the best parameters at the end.

    Parameters
    ----------
    model : Module
        Trained in place: a classifier, another module with a method ``loss(X, targets)``, or with ``loss`` any module.
    optimiser : Optimiser
        Optimiser of the model's parameters. The cost contains its L2 term, ``lam = weight_decay / 2`` times the sum of
        the squared weights, unless the decay is decoupled. If it averages parameters
        (:class:`~tinygrad_cifar.nn.optim.MovingAverage`), the averages are measured, and the model has them at the end.
    train : (X, labels) or batches
        Training images, one per row, and their classes; or any inputs and targets, such as ``(X, X)`` for an
        autoencoder. Or the batches themselves, each a pair (inputs, targets): a list, another iterable, or a function
        that is called with the random generator for each epoch and returns its batches.
    validation : (X, labels), optional
        Validation images, used for measurements only.
    epochs : int
        Number of passes over the training images.
    batch_size : int
        Images per update. Omitted if ``train`` consists of batches.
    loss : callable, optional
        ``loss(outputs, targets)`` returns the mean loss of a batch, as those in :mod:`tinygrad_cifar.functional` do.
        Default: the loss of the model.
    metrics : mapping of str to callable, optional
        Further metrics, as for :func:`~tinygrad_cifar.course.evaluation.evaluate`. The metric ``r2`` becomes the
        columns ``train_r2`` and ``validation_r2``.
    rng : numpy.random.Generator or int, optional
        Shuffles the images before each epoch; or the seed of a generator that does. If None, they are used in file
        order.
    shuffle : bool
        If False, the images are used in file order, and ``rng`` serves ``augment`` only. Default: True.
    steps_per_epoch : int, optional
        Number of batches of an epoch, if ``train`` consists of batches and does not have a length.
    measure_every : int, optional
        Number of updates between measurements. If None, measure after each epoch. The untrained and the final model are
        always measured, and with patience the model after each epoch.
    patience : int, optional
        Stop when the validation accuracy has not increased for this many epochs (or the validation loss has not
        decreased, if the model is not a classifier), and restore the best parameters.
    augment : callable, optional
        ``augment(X_batch, rng)`` returns the images to train on instead. If it has a method ``start_epoch(epoch)``,
        that is called before each epoch, counted from 0.
    clip_norm : float, optional
        Largest norm of the gradients of an update (:func:`~tinygrad_cifar.nn.optim.clip_grad_norm`). If None, they are
        not clipped.
    measure_on : (X, labels), optional
        Images and labels for the ``train_`` columns of the history. Default: ``train``; if that consists of batches,
        the mean loss of the updates.
    layer_statistics : bool
        If True, each measurement includes the mean, the spread and the share of zeros of the activations and gradients
        of each layer, on the first 100 training images (see :attr:`Measurement.layers`). The training itself does not
        change. Default: False.
    checkpoint : Path, optional
        File that is written before the first epoch and after each epoch. If it exists, the run is resumed from it,
        which raises if the run is another one: if the arguments of ``fit``, the shapes of the parameters, the settings
        of the optimiser, the values of the arrays or the seed of a generator differ. These are compared by digests,
        functions by their names, and schedules by their rates. Batches that are not given as arrays, the values of the
        parameters, and generators without a seed are not compared. A run that diverged may be resumed with other
        learning rates.
    run_id : mapping, optional
        Further identity of the run, serialisable as JSON. It is stored in the checkpoint; resuming with a different one
        raises, listing the differences. If it has the entry ``"data"``, that identifies the data: the arrays are not
        compared.
    callback : callable, optional
        Called with a :class:`TrainingProgress` after each update and each measurement.
    progress : bool
        If True, show the progress: a bar in a terminal or a notebook if ``tqdm`` is installed, otherwise up to 20
        lines. Default: False.

    Returns
    -------
    History

    Raises
    ------
    TypeError
        If images or labels are not NumPy arrays, if ``rng`` is not a generator or seed, or if ``loss`` is None and
        the model has no method ``loss``.
    ValueError
        If an argument is out of range, or if images and labels do not have the same length.
    TrainingDiverged
        If the loss or a parameter becomes NaN or infinite. The last checkpoint is kept.
    CheckpointError
        If the checkpoint cannot be written, is damaged, or belongs to another run.

    Examples
    --------
    A classifier:

    >>> import numpy as np
    >>> from tinygrad_cifar import functional, nn
    >>> from tinygrad_cifar.course import models, training
    >>> from tinygrad_cifar.nn import optim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 4))
    >>> labels = (X.sum(axis=1) > 0).astype(int)
    >>> model = models.SoftmaxRegression(4, 2, rng=rng)
    >>> history = training.fit(model, optim.SGD(model.parameters(), 0.5), (X, labels), epochs=5, batch_size=20, rng=rng)
    >>> history.rows[-1].train_accuracy > 0.95
    True

    A regression, with a loss for any module:

    >>> y = X.sum(axis=1, keepdims=True)
    >>> model = nn.Sequential(nn.Linear(4, 8, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng))
    >>> history = training.fit(
    ...     model, optim.Adam(model.parameters(), 0.01), (X, y), epochs=30, batch_size=20, rng=0, loss=functional.mse
    ... )
    >>> history.rows[-1].train_loss < 0.1 * history.rows[0].train_loss
    True
    """
    _check_at_least_one(
        epochs=epochs,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        measure_every=measure_every,
        patience=patience,
    )
    loss_of_batch = _check_model(model, optimiser, loss)
    if patience is not None and validation is None:
        raise ValueError("fit: patience needs validation images; give validation")
    rng = None if rng is None else make_generator("fit", rng)
    if augment is not None and rng is None:
        raise ValueError("fit: augment needs a random generator; give rng")
    _check_clip_norm(clip_norm)
    source = open_source(train, batch_size, steps_per_epoch, shuffle=shuffle, restarts=checkpoint is not None)
    for examples in (validation, measure_on):
        if examples is not None:
            validate_examples("fit", examples)
    _check_metrics(metrics)
    measures = _Measures(model, loss, metrics, measure_on if measure_on is not None else source.examples, validation)
    loop = _TrainingLoop(model, optimiser, loss_of_batch, measures, source, epochs, rng, augment)
    loop.clip_norm = clip_norm
    checkpoint = None if checkpoint is None else Path(checkpoint)
    if checkpoint is not None:
        own = dict(run_id or {})
        data = {"training": source.examples, "validation": validation, "measured": measure_on}
        optimisation = identify_optimiser(optimiser, loop.steps)
        loop.identity = {
            **own,  # first in the list of differences
            **identify_model(model),
            **optimisation,
            "epochs": epochs,
            **source.identity,
            **({} if _DATA in own else identify_data(data)),
            "measure_every": measure_every,
            "patience": patience,
            "shuffle": shuffle,
            "loss": identify_function(loss),
            "metrics": [f"{name} ({identify_function(metric)})" for name, metric in metrics.items()]
            if metrics
            else None,
            "augment": identify_function(augment),
            "clip_norm": None if clip_norm is None else float(clip_norm),
            "layer_statistics": layer_statistics,
            **identify_generator(rng),
            **own,
        }
        loop.rates = {name for name in optimisation if name.split()[0] == RATES and name not in own}
    with _showing(type(model).__name__, callback) if progress else nullcontext(callback) as report:
        loop.callback = report
        loop.measures_layers = layer_statistics
        with np.errstate(over="ignore", invalid="ignore"):  # reported with the step as TrainingDiverged
            loop.start(checkpoint)
            while loop.epochs_done < epochs and not loop.history.stopped_early:
                try:
                    loop.run_epoch(measure_every, patience)
                except TrainingDiverged as error:
                    if checkpoint is not None:
                        _note_divergence(checkpoint, str(error))
                    raise
                if checkpoint is not None:
                    loop.save(checkpoint)
    if patience is None:
        optimiser.adopt_average()
    else:
        model.load_state_dict(loop.best)
    empty_cache()
    return loop.history


def _check_model(model: Module, optimiser: Optimiser, loss: Loss | None) -> Loss:
    """Return the function of inputs and targets that the training minimises, after checking the arguments."""
    if isinstance(model, type):
        raise TypeError(f"fit: model is a class; construct it: {model.__name__}(...)")
    if not isinstance(model, Module):
        raise TypeError(
            f"fit: model must be a module; got a {type(model).__name__}; give a model first, whose class derives from "
            "nn.Module"
        )
    model.check_attributes()
    loss_of_batch = loss_function("fit", model, loss)
    if not isinstance(optimiser, Optimiser):
        raise TypeError(
            f"fit: optimiser must be an optimiser, such as optim.Adam(model.parameters()); got {optimiser!r:.40}"
        )
    if not {id(p) for p in optimiser.parameters} & {id(p) for p in model.parameters()}:
        raise ValueError("fit: the optimiser must have parameters of the model; construct it with model.parameters()")
    return loss_of_batch


@contextmanager
def _showing(
    label: str, callback: Callable[[TrainingProgress], None] | None
) -> Iterator[Callable[[TrainingProgress], None]]:
    """Return a context manager whose function shows the progress and calls the callback."""
    with show_steps(label) as show:

        def report(progress: TrainingProgress) -> None:
            show(progress.step, progress.steps, progress.loss, progress.measurement)
            if callback is not None:
                callback(progress)

        yield report


def read_run(checkpoint: Path | str) -> tuple[dict[str, Array], Mapping[str, Any]]:
    """Return the arrays and the metadata of the checkpoint of a run.

    Raises
    ------
    ResumeError
        If it is damaged, or was not written by this version of the library.

    Examples
    --------
    >>> from tinygrad_cifar.course.training import read_run
    >>> read_run("none.npz")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_cifar.course.training.ResumeError: checkpoint none.npz could not be read: No such file or directory; ...
    """
    try:
        arrays, metadata = load_checkpoint(checkpoint)
    except CheckpointError as error:
        raise ResumeError(str(error)) from error
    if not isinstance(metadata, Mapping) or metadata.get("version") != _VERSION:
        raise ResumeError(f"{checkpoint} belongs to another run, which another version of this library has written")
    return arrays, metadata


def read_divergence(checkpoint: Path | str) -> str | None:
    """Return why the run of a checkpoint diverged after it was written; None if it was interrupted otherwise.

    Resumed with the same settings, such a run diverges again.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from tinygrad_cifar import models, optim, training
    >>> model = models.SVM(2, 2, rng=0)
    >>> optimiser, data = optim.SGD(model.parameters(), 1e308), (100 * np.eye(2), np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Path(folder) / "run.npz"
    ...     try:
    ...         training.fit(model, optimiser, data, epochs=5, batch_size=2, checkpoint=checkpoint)
    ...     except training.TrainingDiverged:
    ...         print(training.read_divergence(checkpoint))
    a parameter became NaN or infinite at step 1 (epoch 1, learning rate 1e+308); try a smaller learning rate
    """
    _, metadata = load_checkpoint(checkpoint)
    event = metadata.get("diverged") if isinstance(metadata, Mapping) else None
    return None if event is None else str(event)


def _note_divergence(checkpoint: Path, event: str) -> None:
    """Add the reason to the checkpoint, whose state remains the last finite one."""
    with suppress(CheckpointError):  # the divergence is the error that matters
        arrays, metadata = load_checkpoint(checkpoint)
        save_checkpoint(checkpoint, arrays, metadata | {"diverged": event})


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and (not isinstance(number, (int, np.integer)) or isinstance(number, bool)):
            raise TypeError(f"fit: {name} must be an integer; got {number!r:.40}")
        if number is not None and number < 1:
            raise ValueError(f"fit: {name} must be at least 1; got {number}")


def _check_metrics(metrics: Mapping[str, Metric] | None) -> None:
    if metrics is not None and not (isinstance(metrics, Mapping) and all(map(callable, metrics.values()))):
        raise TypeError(
            f'fit: metrics must be a mapping of names to functions, such as {{"r2": r2}}; got {metrics!r:.40}'
        )
    for name in metrics or {}:
        if f"train_{name}" in COLUMNS and name != "accuracy":
            raise ValueError(
                f"fit: a metric cannot have the name {name}, since the history has a column train_{name}; take another"
            )


def _check_clip_norm(clip_norm: float | None) -> None:
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"fit: clip_norm must be greater than 0; got {clip_norm}")


@dataclass(frozen=True)
class _Measures:
    """What is measured: a model with its loss and metrics, on the training and the validation examples."""

    model: Module
    loss: Loss | None
    metrics: Mapping[str, Metric] | None
    train: Examples | None
    validation: Examples | None

    def of(self, examples: Examples | None, penalty: float) -> Metrics:
        """Return the metrics on examples; NaN if there are none."""
        if examples is None:
            return Metrics(math.nan, math.nan, math.nan, dict.fromkeys(self.names(), math.nan))
        found = evaluate(self.model, examples, loss=self.loss, metrics=self.metrics)
        return replace(found, cost=found.loss + penalty)

    def names(self) -> list[str]:
        """Return the names of the metrics other than the accuracy."""
        return [name for name in self.metrics or () if name != "accuracy"]


class _TrainingLoop:
    """The state of a training run, with its conversion to and from a checkpoint."""

    def __init__(
        self,
        model: Module,
        optimiser: Optimiser,
        loss_of_batch: Loss,
        measures: _Measures,
        source: ArraySource | BatchSource,
        epochs: int,
        rng: np.random.Generator | None,
        augment: Callable[[Array, np.random.Generator], Array] | None,
    ) -> None:
        self.model, self.optimiser = model, optimiser
        self.loss_of_batch, self.measures = loss_of_batch, measures
        self.source, self.rng, self.augment = source, rng, augment
        self.clip_norm: float | None = None
        self.callback: Callable[[TrainingProgress], None] | None = None
        self.measures_layers = False
        self.steps_per_epoch = source.steps_per_epoch
        self.epochs, self.steps = epochs, int(epochs) * self.steps_per_epoch
        self.generators = model.generators()
        if rng is not None and all(rng is not other for other in self.generators):
            self.generators.append(rng)
        self.identity: dict[str, Any] = {}  # of a run with a checkpoint
        self.rates: set[str] = set()  # the names of its entries that may differ when a run that diverged is resumed
        self.history = History()
        self.started = time.perf_counter()
        self.epochs_done = 0
        self.loss = math.nan
        # Sum and number of the losses since the last measurement, for training data that cannot be measured.
        self.running: list[float] | None = [0.0, 0] if measures.train is None else None
        self.best: dict[str, Array] = {}
        self.best_score = -math.inf

    def start(self, checkpoint: Path | None) -> None:
        """Resume from the checkpoint if it exists; otherwise measure the untrained model and write the first one."""
        if checkpoint is not None and checkpoint.exists():
            self.resume(checkpoint)
            return
        self.measure_once()
        if checkpoint is not None:
            self.save(checkpoint)

    def run_epoch(self, measure_every: int | None, patience: int | None) -> None:
        """Make the updates and the measurements of one epoch."""
        self.model.train()
        for listener, arguments in ((self.augment, ()), (self.model, (self.steps // self.steps_per_epoch,))):
            start_epoch = getattr(listener, "start_epoch", None)
            if callable(start_epoch):
                start_epoch(self.epochs_done, *arguments)
        for X, labels in self.source.epoch(self.rng):
            self.update(X if self.augment is None or self.rng is None else self.augment(X, self.rng), labels)
            if measure_every and self.optimiser.steps % measure_every == 0:
                self.measure_once()
        self.finish_epoch(patience, measure=measure_every is None)

    def update(self, X: Any, labels: Any) -> None:
        """Make one update."""
        self.optimiser.zero_grad()
        loss = self.loss_of_batch(wrap_without_copy(X) if type(X) is np.ndarray else X, labels)
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"fit: the loss must be a tensor, computed from the outputs by operations; got {type(loss).__name__}"
            )
        self.loss = float(loss.item())
        if not math.isfinite(self.loss):
            raise self.diverged(f"the loss became {self.loss}", self.optimiser.steps + 1)
        loss.backward()
        if self.clip_norm is not None:
            clip_grad_norm(self.optimiser.parameters, self.clip_norm)
        self.optimiser.step()
        if self.running is not None:
            self.running[0] += self.loss
            self.running[1] += 1
        self.report()

    def diverged(self, event: str, step: int) -> TrainingDiverged:
        """Return the error for a value that is not finite at a step."""
        if step == 0:
            return TrainingDiverged(
                f"{event} before the first step; inputs and targets must be finite: if they are, try smaller initial "
                "weights or a smaller lambda"
            )
        epoch = -(-step // self.steps_per_epoch)
        rates = [float(group.schedule(i)) for group in self.optimiser.groups for i in range(step)]
        rate = max(rates, key=lambda eta: (math.isnan(eta), eta))
        up_to = "learning rate" if min(rates) == rate or math.isnan(rate) else "learning rates up to"
        return TrainingDiverged(
            f"{event} at step {step} (epoch {epoch}, {up_to} {rate:g}); try a smaller learning rate"
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
        with self.optimiser.averaged():
            penalty = self.optimiser.penalty()
            of_updates = None if self.running is None else self._running_metrics(penalty)
            train = of_updates or self.measures.of(self.measures.train, penalty)
            validation = self.measures.of(self.measures.validation, penalty)
        parts = {"training": train, "validation": validation}
        is_measured = {"training": self.running is None, "validation": self.measures.validation is not None}
        for name, metrics in parts.items():
            for quantity, value in (("loss", metrics.loss), ("cost", metrics.cost)):
                if not math.isfinite(value) and is_measured[name]:
                    raise self.diverged(f"the {name} {quantity} became {value}", step)
        others = {
            f"{'train' if part == 'training' else part}_{name}": value
            for part, metrics in parts.items()
            for name, value in metrics.others.items()
        }
        self.history.rows.append(
            Measurement(
                step,
                step / self.steps_per_epoch,
                self.optimiser.eta,
                *(train.loss, train.cost, train.accuracy),
                *(validation.loss, validation.cost, validation.accuracy),
                others,
                self._layers() if self.measures_layers else {},
            )
        )
        self.report()

    def _layers(self) -> dict[str, LayerStatistics]:
        """Return the statistics of the layers on the first examples that are measured."""
        examples = self.measures.train if self.measures.train is not None else self.measures.validation
        if examples is None:
            raise ValueError(
                "fit: layer_statistics needs images to measure on; give measure_on, since train has batches"
            )
        X, targets = (part[:_EXAMPLES_OF_LAYERS] for part in examples)
        return measure_layers(self.model, self.loss_of_batch, X, targets)

    def _running_metrics(self, penalty: float) -> Metrics:
        """Return the mean loss of the updates since the last measurement, and start again."""
        assert self.running is not None
        total, count = self.running
        self.running = [0.0, 0]
        missing = self.measures.of(None, penalty)
        if not count:
            return missing
        return Metrics(total / count, total / count + penalty, math.nan, missing.others)

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
        last = self.history.rows[-1]
        score = -last.validation_loss if math.isnan(last.validation_accuracy) else last.validation_accuracy
        if score > self.best_score:
            self.best_score = score
            with self.optimiser.averaged():
                self.best = self.model.state_dict()
            self.history.best_epoch = self.epochs_done
        self.history.stopped_early = self.epochs_done - self.history.best_epoch >= patience

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the arrays and the JSON-serialisable metadata of a checkpoint."""
        arrays = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimiser/{name}": array for name, array in self.optimiser.state_dict().items()}
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        metadata = {
            "version": _VERSION,
            "identity": self.identity,
            "epochs_done": self.epochs_done,
            "best_accuracy": self.best_score if self.best else None,  # or minus the loss
            "best_epoch": self.history.best_epoch,
            "stopped_early": self.history.stopped_early,
            "seconds": self.history.seconds,
            "rows": [row.to_list() for row in self.history.rows],
            "generators": [_as_json(rng.bit_generator.state) for rng in self.generators],
            **({} if self.running is None else {"running": self.running}),
        }
        return arrays, metadata

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, *self.state())

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint. A checkpoint that is refused changes nothing."""
        arrays, metadata = read_run(path)
        own_arrays, own_metadata = self.state()
        may_change = self.rates if "diverged" in metadata else ()
        try:
            require_same(metadata["identity"], {name: v for name, v in self.identity.items() if name not in may_change})
            first, *others = map(Measurement.from_list, metadata["rows"])
            self.history = History(
                [first, *others],
                int(metadata["best_epoch"]),
                bool(metadata["stopped_early"]),
                float(metadata["seconds"]),
            )
            self.epochs_done = int(metadata["epochs_done"])
            self.best = _strip_prefix("best/", arrays)
            self.best_score = -math.inf if metadata["best_accuracy"] is None else float(metadata["best_accuracy"])
            if self.running is not None:
                total, count = metadata["running"]
                self.running = [float(total), int(count)]
            if self.best:
                self.model.load_state_dict(self.best)  # so that a mismatch is found now and not at the end
            self.restore(arrays, metadata["generators"])
            self.check_progress()
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            self.restore(own_arrays, own_metadata["generators"])
            raise ResumeError(f"{path} belongs to another run: {error}") from error
        self.report()

    def check_progress(self) -> None:
        """Raise an error for a state that this run cannot have."""
        if not 0 <= self.epochs_done * self.steps_per_epoch <= self.steps:
            raise ValueError(f"its epochs_done is {self.epochs_done} of {self.epochs}")
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
