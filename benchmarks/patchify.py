"""A training step of the network of the course's assignment 3, compared with PyTorch.

Its first layer is a convolution whose stride is the width of its filters. The patches of all images are computed once,
before training, so the layer is a matrix product (``patches``). PyTorch is measured with the same products, and with
its ``conv2d``. A step gathers a batch, and makes the forward pass, the backward pass with the gradient of the L2 term,
and the update, in float32 on all cores. This library's matrix products run on the threads of BLAS: on one or on as many
as there are cores, whichever is faster for the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks import profiling
from benchmarks.implementations import OURS, TORCH
from benchmarks.options import Options
from benchmarks.threads import blas_threads
from benchmarks.timing import fastest, ratio, spread, time_interleaved
from benchmarks.workloads import Array
from tinygrad_cifar.course.models import Patchify
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.nn import optim
from tinygrad_cifar.system.blas import usable_cores

PEERS = CONV2D, MATRIX = f"{TORCH}, conv2d", f"{TORCH}, patches"
_GROUP = 0.04  # seconds of consecutive steps of one implementation
_PAUSE = 0.05  # seconds in which the threads of BLAS stop spinning
_FIRST = 5  # steps whose losses are compared
TOLERANCE = 1e-4  # relative
_BATCH, _ETA, _LAMBDA = 100, 0.01, 0.003


class Net(NamedTuple):
    """A network of assignment 3.

    Attributes
    ----------
    size : int
        Height and width of a filter, f.
    filters : int
        Number of filters, nf.
    hidden : int
        Units of the hidden layer, nh.
    """

    size: int
    filters: int
    hidden: int

    def __str__(self) -> str:
        return f"f={self.size}, nf={self.filters}, nh={self.hidden}"

    @property
    def count(self) -> int:
        """Patches of an image."""
        return int((32 // self.size) ** 2)


NETS = (Net(4, 10, 50), Net(8, 40, 50), Net(4, 40, 300))


class _Problem:
    """Images, labels, parameters and the order of the batches, the same for all implementations."""

    def __init__(self, net: Net, images: int) -> None:
        rng = np.random.default_rng(1)
        self.net = net
        self.X = rng.standard_normal((images, 32, 32, 3), np.float32)
        self.labels = rng.integers(0, 10, images)
        sizes = (net.size**2 * 3, net.filters), (net.count * net.filters, net.hidden), (net.hidden, 10)
        self.weights = [
            (np.sqrt(2 / fan_in) * rng.standard_normal((fan_in, fan_out))).astype(np.float32)
            for fan_in, fan_out in sizes
        ]
        self.batches = rng.permutation(images).reshape(-1, min(_BATCH, images))

    def patches(self) -> Array:
        """Return the patches of all images, of the shape (images, patches * elements)."""
        size, n = self.net.size, 32 // self.net.size
        windows = self.X.reshape(-1, n, size, n, size, 3).transpose(0, 1, 3, 2, 4, 5)
        return np.ascontiguousarray(windows).reshape(len(self.X), -1)


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time a step of the three networks of the course.

    Returns
    -------
    dict
        ``cores``: number of threads. ``rows``: for each ``net``, the ``seconds`` of a step in each round for each
        implementation; the ``error``, the largest relative difference of the first losses, None without PyTorch; and
        ``blas_threads``, the number of threads of BLAS with which this library is faster; and the ``profile`` of its
        step (:func:`benchmarks.profiling.profile`).
    """
    result: dict[str, Any] = {"cores": usable_cores(), "rows": []}
    make_torch = None if TORCH in options.without else _find_torch()
    for net in NETS:
        problem = _Problem(net, 200 if options.quick else 5000)
        by_threads = {count: _Step(problem, count) for count in sorted({1, usable_cores()})}
        count = fastest(by_threads, group=_GROUP)
        ours = _Step(problem, count)
        steps: dict[str, Callable[[], Any]] = {OURS: ours}
        if make_torch:
            steps |= {name: make_torch(problem, on_patches=name == MATRIX) for name in PEERS}
        losses = [[float(step()) for _ in range(_FIRST)] for step in steps.values()]
        error = float(np.max(np.abs(np.divide(losses[1:], losses[:1]) - 1))) if make_torch else None
        rounds, group, pause = (2, 0.0, 0.0) if options.quick else (15, _GROUP, _PAUSE)
        times = time_interleaved(list(steps.values()), rounds, group=group, warm=2, pause=pause)
        row = {
            "net": list(net),
            "seconds": dict(zip(steps, times, strict=True)),
            "error": error,
            "blas_threads": count,
            "profile": profiling.profile(ours.differentiate, ours.update, 2 if options.quick else 200),
        }
        result["rows"].append(row)
        say("\n".join(_block(row, result["cores"])))
    return result


class _Step:
    """A step of this library, with so many threads of BLAS; calling it returns the loss."""

    def __init__(self, problem: _Problem, thread_count: int) -> None:
        self._labels, self._batches = problem.labels, problem.batches
        self._thread_count, self._place = thread_count, 0
        size, filters, hidden = net = problem.net
        self._patches = problem.patches().reshape(-1, net.count, 3 * size * size)
        self._X = np.empty((problem.batches.shape[1], *self._patches.shape[1:]), np.float32)
        self._model = Patchify(hidden, 10, filter_size=size, filters=filters, dtype=np.float32)
        weights = [self._model.F, self._model.W1, self._model.W2]
        for W, given in zip(weights, problem.weights, strict=True):
            W.data = given
        biases = [self._model.c, self._model.b1, self._model.b2]
        groups = [{"parameters": weights, "weight_decay": 2 * _LAMBDA}, {"parameters": biases}]
        self._optimiser = optim.SGD(groups, _ETA)

    def __call__(self) -> Any:
        loss = self.differentiate()
        self.update()
        return loss

    def differentiate(self) -> Any:
        """Gather a batch, compute the gradients, and return the loss."""
        batch, X = self._batches[self._place % len(self._batches)], self._X
        self._place += 1
        with blas_threads(self._thread_count):
            np.take(self._patches, batch, axis=0, out=X, mode="clip")
            self._optimiser.zero_grad()
            loss = self._model.loss(wrap_without_copy(X), self._labels[batch])
            loss.backward()
        return loss

    def update(self) -> None:
        """Update the parameters, including the gradient of the L2 term."""
        self._optimiser.step()


def _find_torch() -> Callable[..., Callable[[], Any]] | None:
    try:
        import torch  # noqa: F401, PLC0415 (optional)
    except ImportError:
        return None
    return _torch


def _torch(problem: _Problem, *, on_patches: bool) -> Callable[[], Any]:
    import torch  # noqa: PLC0415 (optional)
    from torch import nn  # noqa: PLC0415

    torch.set_num_threads(usable_cores())
    size, filters, _ = net = problem.net
    given = [torch.from_numpy(W) for W in problem.weights]
    layers = [nn.Linear(*W.shape) for W in given]
    for layer, W in zip(layers, given, strict=True):
        layer.weight.data = W.T.clone()
    first: Any = layers[0]
    if on_patches:
        X = torch.from_numpy(problem.patches()).reshape(-1, net.count, size * size * 3)
    else:
        X = torch.from_numpy(problem.X.transpose(0, 3, 1, 2).copy())
        first = nn.Conv2d(3, filters, size, stride=size)
        first.weight.data = given[0].reshape(size, size, 3, filters).permute(3, 2, 0, 1).contiguous()
        # The columns of W1 are in the order (row, column, filter); conv2d returns (filter, row, column).
        W1 = given[1].reshape(net.count, filters, -1).transpose(0, 1).reshape(net.count * filters, -1)
        layers[1].weight.data = W1.T.contiguous()
    model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), layers[1], nn.ReLU(), layers[2])
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    optimiser = torch.optim.SGD(
        [{"params": weights, "weight_decay": 2 * _LAMBDA}, {"params": biases}], lr=_ETA, fused=True
    )
    labels, batches = torch.from_numpy(problem.labels), torch.from_numpy(problem.batches)
    place = [0]

    def step() -> Any:
        batch = batches[place[0] % len(batches)]
        place[0] += 1
        scores = model(torch.index_select(X, 0, batch))
        loss = nn.functional.cross_entropy(scores, torch.index_select(labels, 0, batch))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def lines(result: dict[str, Any]) -> list[str]:
    """Return the tables as lines of text."""
    return [line for row in result["rows"] for line in _block(row, result["cores"])]


def _block(row: dict[str, Any], cores: int) -> list[str]:
    seconds = row["seconds"]
    out = [
        f"a step of the network of assignment 3, {Net(*row['net'])}, batch {_BATCH}, {cores} threads",
        f"  {'':26} {'time to ours':>12} {'quartiles':>16} {'us per step':>13}",
    ]
    for name, times in seconds.items():
        share = ratio(times, seconds[OURS])
        quartiles = f"{share.low:.2f} - {share.high:.2f}"
        out.append(f"  {name:26} {share.median:>12.2f} {quartiles:>16} {1e6 * spread(times).median:>13,.0f}")
    if row["error"] is None:
        out.append(f"  {TORCH} was not measured")
    else:
        agreement = "agree" if row["error"] <= TOLERANCE else "DIFFER"
        out.append(f"  the losses of the first {_FIRST} steps {agreement} (relative error {row['error']:.0e})")
    out.append(f"  threads of BLAS with which {OURS} is faster: {row['blas_threads']}")
    return [*out, *profiling.lines(row["profile"]), ""]
