"""The state of a training run: its updates, its measurements, early stopping, and the content of its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import Examples, Loss, Metric, Metrics, evaluate
from tinygrad_cifar.course.history import History, Measurement
from tinygrad_cifar.course.layer_statistics import LayerStatistics, measure_layers
from tinygrad_cifar.course.run_checkpoints import (
    VERSION,
    ResumeError,
    generator_states,
    note_divergence,
    read_run,
    set_generator_states,
)
from tinygrad_cifar.course.sources import ArraySource, BatchSource
from tinygrad_cifar.engine.tensor import Tensor, wrap_without_copy
from tinygrad_cifar.nn import Module
from tinygrad_cifar.nn.optim import Optimiser, clip_grad_norm
from tinygrad_cifar.system.checkpoints import save_checkpoint
from tinygrad_cifar.system.identity import require_same

Array = np.ndarray[Any, np.dtype[Any]]

_EXAMPLES_OF_LAYERS = 100  # on which the statistics of layers are measured


class TrainingDiverged(ArithmeticError):  # noqa: N818 (an event)
    """Training stopped because the loss or a parameter became NaN or infinite; the message names the step."""


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


@dataclass(frozen=True)
class Measures:
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


class TrainingLoop:
    """The state of a training run, with its conversion to and from a checkpoint."""

    def __init__(  # noqa: PLR0913 (keyword-only options)
        self,
        model: Module,
        optimiser: Optimiser,
        loss_of_batch: Loss,
        measures: Measures,
        source: ArraySource | BatchSource,
        epochs: int,
        rng: np.random.Generator | None,
        augment: Callable[[Array, np.random.Generator], Array] | None,
        *,
        measure_every: int | None = None,
        clip_norm: float | None = None,
        patience: int | None = None,
        layer_statistics: bool = False,
    ) -> None:
        self.model, self.optimiser = model, optimiser
        self.loss_of_batch, self.measures = loss_of_batch, measures
        self.source, self.rng, self.augment = source, rng, augment
        self.measure_every, self.clip_norm, self.patience = measure_every, clip_norm, patience
        self.measures_layers = layer_statistics
        self.callback: Callable[[TrainingProgress], None] | None = None
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

    def run(self, checkpoint: Path | None, callback: Callable[[TrainingProgress], None] | None) -> None:
        """Start or resume the run, and continue it to its last epoch or until it stops early."""
        self.callback = callback
        with np.errstate(over="ignore", invalid="ignore"):  # reported with the step as TrainingDiverged
            self.start(checkpoint)
            try:
                self.run_epochs(checkpoint)
            finally:
                end_training = getattr(self.model, "end_training", None)
                if callable(end_training):
                    end_training()

    def run_epochs(self, checkpoint: Path | None) -> None:
        """Run the remaining epochs, until training stops early; write a checkpoint after each."""
        while self.epochs_done < self.epochs and not self.history.stopped_early:
            try:
                self.run_epoch()
            except TrainingDiverged as error:
                if checkpoint is not None:
                    note_divergence(checkpoint, str(error))
                raise
            if checkpoint is not None:
                self.save(checkpoint)

    def start(self, checkpoint: Path | None) -> None:
        """Resume from the checkpoint if it exists; otherwise measure the untrained model and write the first one."""
        if checkpoint is not None and checkpoint.exists():
            self.resume(checkpoint)
            return
        self.measure_once()
        if self.patience is not None:
            self.keep_if_best()
        if checkpoint is not None:
            self.save(checkpoint)

    def run_epoch(self) -> None:
        """Make the updates and the measurements of one epoch."""
        self.model.train()
        for listener, arguments in ((self.augment, ()), (self.model, (self.steps // self.steps_per_epoch,))):
            start_epoch = getattr(listener, "start_epoch", None)
            if callable(start_epoch):
                start_epoch(self.epochs_done, *arguments)
        for X, labels in self.source.epoch(self.rng):
            self.update(self.augmented(X), labels)
            if self.measure_every and self.optimiser.steps % self.measure_every == 0:
                self.measure_once()
        self.finish_epoch(measure=self.measure_every is None)

    def augmented(self, X: Any) -> Any:
        """Return a batch to train on. ``augment`` may change its argument, and then receives a copy of the data."""
        if self.augment is None or self.rng is None:
            return X
        is_read_only = isinstance(X, np.ndarray) and not X.flags.writeable
        found: Any = self.augment(X.copy() if is_read_only else X, self.rng)
        if found is None:
            raise TypeError("fit: augment must return the images to train on; got None")
        return found

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
            layers = self._layers() if self.measures_layers else {}
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
                layers,
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

    def finish_epoch(self, *, measure: bool) -> None:
        """Count the epoch, measure if needed, and with patience save the best parameters and decide whether to stop."""
        if not all(np.isfinite(p.data).all() for p in self.model.parameters()):
            raise self.diverged("a parameter became NaN or infinite", self.optimiser.steps)
        self.epochs_done += 1
        if measure or self.epochs_done * self.steps_per_epoch == self.steps or self.patience is not None:
            self.measure_once()
        now = time.perf_counter()
        self.history.seconds += now - self.started
        self.started = now
        if self.patience is not None:
            self.keep_if_best()
            self.history.stopped_early = self.epochs_done - self.history.best_epoch >= self.patience

    def keep_if_best(self) -> None:
        """Save the parameters if they are better than those saved before, according to the last measurement."""
        last = self.history.rows[-1]
        score = -last.validation_loss if math.isnan(last.validation_accuracy) else last.validation_accuracy
        if score > self.best_score:
            self.best_score = score
            with self.optimiser.averaged():
                self.best = self.model.state_dict()
            self.history.best_epoch = self.epochs_done

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the arrays and the JSON-serialisable metadata of a checkpoint."""
        arrays = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimiser/{name}": array for name, array in self.optimiser.state_dict().items()}
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        metadata = {
            "version": VERSION,
            "identity": self.identity,
            "epochs_done": self.epochs_done,
            "best_accuracy": self.best_score if self.best else None,  # or minus the loss
            "best_epoch": self.history.best_epoch,
            "stopped_early": self.history.stopped_early,
            "seconds": self.history.seconds,
            "rows": [row.to_list() for row in self.history.rows],
            "generators": generator_states(self.generators),
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
        if bool(self.best) != (self.patience is not None):
            raise ValueError("its best parameters are missing or unexpected")

    def restore(self, arrays: Mapping[str, Array], generators: Sequence[Any]) -> None:
        """Set the model, the optimiser and the random generators to a stored state."""
        self.model.load_state_dict(_strip_prefix("model/", arrays))
        self.optimiser.load_state_dict(_strip_prefix("optimiser/", arrays))
        set_generator_states(self.generators, generators)


def _strip_prefix(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
