"""The time of a training step of the patchify network, beside that of PyTorch if it is installed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from tinygrad_cifar.course.models import Patchify, patches_of
from tinygrad_cifar.data.dataset import COLOURS, SIDE
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.experiments.declaration import TimingJob
from tinygrad_cifar.nn.optim import SGD

Array = np.ndarray[Any, np.dtype[Any]]

_ETA, _LAM = 0.01, 0.003


def time_steps(job: TimingJob, X: Array, labels: Array) -> dict[str, float | None]:
    """Return the milliseconds of a training step, ours and PyTorch's; None without PyTorch.

    The two are timed in turn, so that both are affected when the machine is busy.

    Parameters
    ----------
    job : TimingJob
        Sizes of the network, and number of steps.
    X : ndarray of float32, shape (N, 3072)
        Preprocessed images.
    labels : ndarray of int, shape (N,)
        Their classes, from 0 to 9.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.experiments.declaration import TimingJob
    >>> from tinygrad_cifar.experiments.timing import time_steps
    >>> job = TimingJob(16, 2, 3, batch_size=2, steps=1, rounds=1)
    >>> sorted(time_steps(job, np.ones((2, 3072), np.float32), np.array([0, 1])))
    ['ours', 'torch']
    """
    starts = range(0, len(X) - job.batch_size + 1, job.batch_size)
    steps = {"ours": _our_step(job, X, labels), "torch": _torch_step(job, X, labels)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(job.rounds + 1):
        for name, step in steps.items():
            if step is not None:
                started = time.perf_counter()
                for i in range(job.steps):
                    step(starts[i % len(starts)])
                times[name].append(1000 * (time.perf_counter() - started) / job.steps)
    return {name: statistics.median(found[1:]) if found else None for name, found in times.items()}


def _our_step(job: TimingJob, X: Array, labels: Array) -> Callable[[int], None]:
    model = Patchify(job.hidden, 10, filter_size=job.filter_size, filters=job.filters, rng=0, dtype=np.float32)
    optimiser = SGD(model.parameters(), _ETA, weight_decay=2 * _LAM)
    patches = np.ascontiguousarray(patches_of(X, job.filter_size))

    def step(start: int) -> None:
        rows = slice(start, start + job.batch_size)
        optimiser.zero_grad()
        model.loss(wrap_without_copy(patches[rows]), labels[rows]).backward()
        optimiser.step()

    return step


def _torch_step(job: TimingJob, X: Array, labels: Array) -> Callable[[int], None] | None:
    try:
        torch: Any = import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(1)
    across = SIDE // job.filter_size
    model = torch.nn.Sequential(
        torch.nn.Conv2d(COLOURS, job.filters, job.filter_size, stride=job.filter_size),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(job.filters * across**2, job.hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(job.hidden, 10),
    )
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    optimiser = torch.optim.SGD([{"params": weights, "weight_decay": 2 * _LAM}, {"params": biases}], lr=_ETA)
    images = torch.from_numpy(X.reshape(-1, COLOURS, SIDE, SIDE).copy())
    classes = torch.from_numpy(labels.astype(np.int64))

    def step(start: int) -> None:
        rows = slice(start, start + job.batch_size)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images[rows]), classes[rows]).backward()
        optimiser.step()

    return step
