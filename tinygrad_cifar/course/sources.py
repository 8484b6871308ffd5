"""Sources of the batches of a training run: arrays that are split into batches, or batches that the user makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.course.evaluation import Examples, validate_examples
from tinygrad_cifar.data.batches import iterate_batches
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.system.arguments import describe_mismatch

Batch: TypeAlias = "tuple[Any, Any]"
Batches: TypeAlias = "Iterable[Batch] | Callable[[Any], Iterable[Batch]]"


class ArraySource:
    """Arrays, split into batches; with a generator, in a new order for each epoch unless ``shuffle`` is False."""

    def __init__(self, examples: Examples, batch_size: int | None, *, shuffle: bool, drop_last: bool) -> None:
        if batch_size is None:
            raise TypeError("fit: the argument batch_size is missing")
        count = len(examples[1])
        if drop_last and batch_size > count:
            raise ValueError(
                f"fit: batch_size must be at most {count}, the number of images, with drop_last; got {batch_size}"
            )
        self.examples: Examples | None = examples
        self.batch_size = batch_size
        self.steps_per_epoch = count // batch_size if drop_last else -(-count // batch_size)
        self.identity: dict[str, Any] = {"batch_size": batch_size, "number of images": count}
        if drop_last:
            self.identity["drop_last"] = True
        self._buffers: list[Any] = []
        self._arrays = examples
        self._shuffle = shuffle
        self._drop_last = drop_last

    def epoch(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        """Return the batches of one epoch."""
        rng = rng if self._shuffle else None
        return iterate_batches(*self._arrays, self.batch_size, rng, drop_last=self._drop_last, buffers=self._buffers)


class BatchSource:
    """Batches from an iterable, or from a function of the random generator that returns those of one epoch."""

    def __init__(self, batches: Any, steps_per_epoch: int | None, *, restarts: bool) -> None:
        self.examples: Examples | None = None
        self._batches = batches
        if callable(batches) and describe_mismatch("train", batches, (None,), {}) is not None:
            raise TypeError("fit: train must be batches, or a function of the random generator: def batches(rng)")
        self._is_iterator = not callable(batches) and iter(batches) is batches
        if steps_per_epoch is None:
            if not isinstance(batches, Sized):
                raise TypeError(
                    "fit: the argument steps_per_epoch is missing: the number of batches of an epoch, since train has "
                    "no length"
                )
            steps_per_epoch = len(batches)
        if steps_per_epoch < 1:
            raise ValueError(f"fit: an epoch must have at least 1 batch; got {steps_per_epoch}")
        if restarts and self._is_iterator:
            raise TypeError(
                "fit: a run with a checkpoint cannot resume an iterator of batches; give a function of rng that "
                "returns the batches of one epoch"
            )
        self.steps_per_epoch = steps_per_epoch
        self.identity: dict[str, Any] = {"steps_per_epoch": steps_per_epoch}

    def epoch(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        """Return the batches of one epoch, ``steps_per_epoch`` of them."""
        batches = self._call(rng) if callable(self._batches) else self._batches
        count = 0
        for count, batch in enumerate(islice(batches, self.steps_per_epoch), 1):  # noqa: B007 (used below)
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:  # noqa: PLR2004 (inputs and targets)
                raise TypeError(f"fit: a batch must be a pair (inputs, targets); got {describe(batch)}")
            yield batch[0], batch[1]
        if count < self.steps_per_epoch:
            remedy = "; give a list, or a function that returns a new one" if self._is_iterator else ""
            raise ValueError(f"fit: an epoch has {self.steps_per_epoch} batches; train ended after {count}{remedy}")

    def _call(self, rng: np.random.Generator | None) -> Any:
        try:
            return self._batches(rng)
        except AttributeError as error:
            if rng is None and "'NoneType'" in str(error):
                raise ValueError(
                    f"fit: train raised AttributeError, without a generator ({error}); give rng"
                ) from error
            raise


def open_source(
    train: Examples | Batches,
    batch_size: int | None,
    steps_per_epoch: int | None,
    *,
    shuffle: bool = True,
    drop_last: bool = False,
    restarts: bool,
) -> ArraySource | BatchSource:
    """Return the source for the argument ``train`` of :func:`tinygrad_cifar.training.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.sources import open_source
    >>> X, y = np.zeros((5, 2)), np.zeros((5, 1))
    >>> source = open_source(lambda rng: ((X, y) for _ in range(3)), None, 3, restarts=True)
    >>> len(list(source.epoch(None)))
    3
    """
    if is_pair(train):
        if steps_per_epoch is not None:
            raise TypeError("fit: steps_per_epoch is for batches; omit it with arrays, which batch_size splits")
        examples: Any = train
        validate_examples("fit", examples)
        return ArraySource(examples, batch_size, shuffle=shuffle, drop_last=drop_last)
    if isinstance(train, (np.ndarray, Tensor, str)) or not (callable(train) or isinstance(train, Iterable)):
        raise TypeError(
            f"fit: train must be a pair of arrays (inputs, targets), or batches; got {describe(train)}; to reconstruct "
            "the inputs, give (X, X)"
        )
    if batch_size is not None:
        raise TypeError("fit: batch_size is for arrays; omit it, since train consists of batches")
    if drop_last:
        raise TypeError("fit: drop_last is for arrays; omit it, since train consists of batches")
    return BatchSource(train, steps_per_epoch, restarts=restarts)


def is_pair(train: object) -> bool:
    """Return whether an argument is meant as a pair of arrays, and not as a list of batches."""
    if not isinstance(train, (tuple, list)) or len(train) != 2:  # noqa: PLR2004 (inputs and targets)
        return False
    return not all(isinstance(part, tuple) or _is_list_of_arrays(part) for part in train)


def _is_list_of_arrays(part: object) -> bool:
    """Return whether a part is a batch [inputs, targets]."""
    return isinstance(part, list) and len(part) == 2 and all(isinstance(x, (np.ndarray, Tensor)) for x in part)  # noqa: PLR2004


def describe(value: object) -> str:
    """Return a value as part of an error message: its type, and the shape of an array."""
    shape = f" of shape {value.shape}" if isinstance(value, (np.ndarray, Tensor)) else ""
    return f"{type(value).__name__}{shape}"
