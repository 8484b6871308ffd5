"""Training with mini-batches: the function ``fit``, and its checks of its arguments.

All inputs of a run are arguments or part of the checkpoint: the parameters, the state of the optimiser, the states of
all random generators, and the history. A checkpoint is written after each epoch, so an interrupted run resumes from it
and ends bit-for-bit identical to an uninterrupted one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.course.evaluation import Examples, Loss, Metric, loss_function, validate_examples
from tinygrad_cifar.course.history import COLUMNS
from tinygrad_cifar.course.history import History as History  # noqa: PLC0414 (offered here, too)
from tinygrad_cifar.course.history import Measurement as Measurement  # noqa: PLC0414
from tinygrad_cifar.course.progress import show_steps
from tinygrad_cifar.course.run_checkpoints import ResumeError as ResumeError  # noqa: PLC0414
from tinygrad_cifar.course.run_checkpoints import read_divergence as read_divergence  # noqa: PLC0414
from tinygrad_cifar.course.run_identity import identify_data, identify_function, identify_run
from tinygrad_cifar.course.sources import Batches, open_source
from tinygrad_cifar.course.training_loop import Measures, TrainingLoop
from tinygrad_cifar.course.training_loop import TrainingDiverged as TrainingDiverged  # noqa: PLC0414
from tinygrad_cifar.course.training_loop import TrainingProgress as TrainingProgress  # noqa: PLC0414
from tinygrad_cifar.engine.blocked.memory import empty_cache
from tinygrad_cifar.nn import Module
from tinygrad_cifar.nn.optim import Optimiser
from tinygrad_cifar.system.arguments import explain_calls
from tinygrad_cifar.system.generators import RandomState, make_generator
from tinygrad_cifar.system.numbers import check_count, check_real

Array = np.ndarray[Any, np.dtype[Any]]

_DATA = "data"  # the entry of run_id that replaces the digests of the data


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
    drop_last: bool = False,
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
        If it has the methods ``start_epoch(epoch, epochs)`` and ``end_training()``, they are called before each epoch,
        counted from 0, and at the end, also if an error is raised.
    optimiser : Optimiser
        Optimiser of the model's parameters. The cost contains its L2 term, ``lam = weight_decay / 2`` times the sum of
        the squared weights, unless the decay is decoupled. If it averages parameters
        (:class:`~tinygrad_cifar.nn.optim.MovingAverage`), the averages are measured, and the model has them at the end.
    train : (X, labels) or batches
        Training images, one per row, and their classes; or any inputs and targets, such as ``(X, X)`` for an
        autoencoder. Or the batches themselves, each a pair (inputs, targets): a list, another iterable, or a function
        that is called with the random generator for each epoch and returns its batches.
    validation : (X, labels), optional
        Validation images, used for measurements and for early stopping (``patience``), not for updates.
    epochs : int
        Number of passes over the training images.
    batch_size : int
        Images per update. Omitted if ``train`` consists of batches.
    loss : callable, optional
        ``loss(outputs, targets)`` returns the mean loss of a batch, as those in :mod:`tinygrad_cifar.functional` do.
        Default: the loss of the model.
    metrics : mapping of str to callable, optional
        Further metrics, as for :func:`~tinygrad_cifar.course.evaluation.evaluate`. The metric ``r2`` becomes the
        columns ``train_r2`` and ``validation_r2``; one named ``accuracy`` replaces the accuracy, which ``patience``
        follows.
    rng : numpy.random.Generator or int, optional
        Shuffles the images before each epoch; or the seed of a generator that does. If None, they are used in file
        order.
    shuffle : bool
        If False, the images are used in file order, and ``rng`` serves ``augment`` only. Default: True.
    drop_last : bool
        If True, an epoch leaves out a last batch that is smaller than the others, such as one of a single image, of
        which :class:`~tinygrad_cifar.nn.BatchNorm` cannot take the variance. Default: False.
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
        of each layer, on the first 100 examples that the training metrics are of, or else of ``validation`` (see
        :attr:`Measurement.layers`). The training itself does not change. Default: False.
    checkpoint : Path, optional
        File that is written before the first epoch and after each epoch. If it exists, the run is resumed from it,
        which raises if the run is another one: if the arguments of ``fit``, the shapes of the parameters, the settings
        of the optimiser, the values of the arrays or the seed of a generator differ. These are compared by digests,
        functions by their names, and schedules by their rates. Batches that are not given as arrays, the values of the
        parameters, and generators without a seed are not compared. A run that diverged may be resumed with other
        learning rates.
    run_id : mapping, optional
        Further identity of the run, serialisable as JSON. It is stored in the checkpoint; resuming with a different one
        raises, listing the differences. Entries with the names of arguments are compared in addition to those. If it
        has the entry ``"data"``, that identifies the data: the arrays are not compared.
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
    ResumeError
        If the checkpoint is damaged, or belongs to another run.
    CheckpointError
        If the checkpoint cannot be written.

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
    counts = {"epochs": epochs, "batch_size": batch_size, "steps_per_epoch": steps_per_epoch}
    for name, count in {**counts, "measure_every": measure_every, "patience": patience}.items():
        if count is not None:
            check_count(f"fit: {name}", count)
    loss_of_batch = _check_model(model, optimiser, loss)
    if patience is not None and validation is None:
        raise ValueError("fit: patience needs validation images; give validation")
    rng = None if rng is None else make_generator("fit", rng)
    _check_functions(augment, callback, rng)
    _check_clip_norm(clip_norm)
    source = open_source(
        train, batch_size, steps_per_epoch, shuffle=shuffle, drop_last=drop_last, restarts=checkpoint is not None
    )
    for examples in (validation, measure_on):
        if examples is not None:
            validate_examples("fit", examples)
    _check_metrics(metrics)
    measures = Measures(model, loss, metrics, measure_on if measure_on is not None else source.examples, validation)
    loop = TrainingLoop(
        model,
        optimiser,
        loss_of_batch,
        measures,
        source,
        epochs,
        rng,
        augment,
        measure_every=measure_every,
        clip_norm=clip_norm,
        patience=patience,
        layer_statistics=layer_statistics,
    )
    checkpoint = None if checkpoint is None else Path(checkpoint)
    if checkpoint is not None:
        own = _check_run_id(run_id)
        data = {"training": source.examples, "validation": validation, "measured": measure_on}
        settings = {
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
        }
        loop.identity, loop.rates = identify_run(own, model, optimiser, loop.steps, settings, rng)
    try:
        with _showing(type(model).__name__, callback) if progress else nullcontext(callback) as report:
            loop.run(checkpoint, report)
    finally:
        empty_cache()
    if patience is None:
        optimiser.adopt_average()
    else:
        model.load_state_dict(loop.best)
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
    if not model.parameters():
        raise ValueError("fit: the model has no parameters, or all are frozen (requires_grad is False)")
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
            show(progress)
            if callback is not None:
                callback(progress)

        yield report


def _check_functions(augment: Any, callback: Any, rng: np.random.Generator | None) -> None:
    for name, function in (("augment", augment), ("callback", callback)):
        if function is not None and not callable(function):
            raise TypeError(f"fit: {name} must be a function; got {function!r:.40}")
    if augment is not None and rng is None:
        raise ValueError("fit: augment needs a random generator; give rng")


def _check_run_id(run_id: Any) -> dict[str, Any]:
    """Return the entries of ``run_id``, which must be equal when they are read from a file."""
    if run_id is not None and not isinstance(run_id, Mapping):
        raise TypeError(f'fit: run_id must be a mapping, such as {{"lesson": "3"}}; got {run_id!r:.40}')
    own = dict(run_id or {})
    try:
        json.dumps(own, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"fit: run_id must be serialisable as JSON, without NaN; {error}") from error
    return own


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
    if clip_norm is None:
        return
    check_real("fit: clip_norm", clip_norm)
    if not clip_norm > 0:
        raise ValueError(f"fit: clip_norm must be greater than 0; got {clip_norm}")
