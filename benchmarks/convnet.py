"""A training step of the network of the records, compared with the same network in PyTorch; its memory and its profile.

A step is the forward pass, the backward pass and the update of a batch that is in memory, in float32 on all cores:
label smoothing of 0.2, Muon for the filters, SGD with Nesterov momentum for biases and the last layer
(``tinygrad_cifar.course.convnet``). Augmentation is not part of it.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from benchmarks import profiling
from benchmarks.implementations import OURS, TORCH
from benchmarks.options import Options
from benchmarks.timing import Spread, ratio, spread, time_interleaved
from benchmarks.workloads import Array
from tinygrad_cifar.course.convnet import ConvNet
from tinygrad_cifar.engine.tensor import wrap_without_copy
from tinygrad_cifar.nn import Conv2d, optim
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.system.blas import usable_cores

LAYOUTS = ("contiguous", "channels last")  # of PyTorch
SMOOTHING = 0.2
MUON_RATE, MUON_MOMENTUM, ITERATIONS = 0.24, 0.6, 3
BIAS_RATE, HEAD_RATE, MOMENTUM, DECAY_PER_IMAGE = 0.053, 0.67 / 256**2, 0.85, 2e-6
_FIRST = 2  # steps whose losses are compared: the second is computed with updated parameters
TOLERANCE = 1e-3  # relative: Muon enlarges the rounding errors of small singular values


class Problem:
    """A batch of images and their labels."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(1)
        self.count = count
        self.X: Array = rng.standard_normal((count, 3072), np.float32)
        self.labels = rng.integers(0, 10, count)

    def model(self) -> ConvNet:
        """Return the network with its initial parameters."""
        model = ConvNet(rng=0)
        model.initialise_from(self.X)
        return model

    @property
    def decay(self) -> float:
        """Weight decay times learning rate, for gradients of the sum of the losses."""
        return DECAY_PER_IMAGE * self.count


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time a step, and measure its memory and the time of each primitive.

    Returns
    -------
    dict
        ``cores``: number of threads; ``images``: of the batch; ``seconds`` of a step in each round, for this library
        and PyTorch (if it is installed); ``layout``: the faster of PyTorch's; ``losses`` of the first steps; ``error``:
        their largest relative difference, None without PyTorch; ``profile``: see :func:`benchmarks.profiling.profile`;
        ``peak``: bytes at the peak of a step; ``activations``: bytes of the arrays of :func:`activation_bytes`.
    """
    problem = Problem(16 if options.quick else 2000)
    result = {"cores": usable_cores(), "images": problem.count, **_measure_memory(problem)}
    steps, losses, layout = {}, {}, None
    if TORCH not in options.without and (make := _find_torch()):
        by_layout = {name: make(problem, name) for name in LAYOUTS}
        taken = {name: [_timed(step) for _ in range(_FIRST)] for name, step in by_layout.items()}
        layout = min(LAYOUTS, key=lambda name: taken[name][-1][0])
        steps[TORCH], losses[TORCH] = by_layout[layout], [loss for _, loss in taken[layout]]
        del by_layout
    steps = {OURS: _Step(problem), **steps}
    losses = {OURS: [steps[OURS]() for _ in range(_FIRST)], **losses}
    times = time_interleaved(list(steps.values()), 2 if options.quick else 5)
    errors = [abs(a / b - 1) for a, b in zip(losses[OURS], losses.get(TORCH, []), strict=False)]
    result |= {
        "seconds": dict(zip(steps, times, strict=True)),
        "layout": layout,
        "losses": losses,
        "error": float(np.max(errors)) if errors else None,  # NaN if one is
        "profile": profiling.profile(steps[OURS].differentiate, steps[OURS].optimiser.step),
    }
    say("\n".join(lines(result)))
    return result


def _find_torch() -> Callable[[Problem, str], Callable[[], float]] | None:
    try:
        from benchmarks.convnet_torch import make_step  # noqa: PLC0415 (optional)
    except ImportError:
        return None
    return make_step


def _timed(step: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of a step and its loss."""
    started = perf_counter()
    loss = step()
    return perf_counter() - started, loss


class _Step:
    """A step of this library; calling it returns the mean loss."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.model = problem, problem.model()
        biases = [p for p in self.model.parameters() if p.ndim == 1 and p.requires_grad]
        groups = [
            {"parameters": parameters, "eta": rate, "weight_decay": problem.decay / rate}
            for parameters, rate in ((biases, BIAS_RATE), ([self.model.head], HEAD_RATE))
        ]
        self.optimiser = optim.Combined(
            optim.Muon(
                [module.W for module in self.model.modules() if isinstance(module, Conv2d)],
                MUON_RATE,
                momentum=MUON_MOMENTUM,
                iterations=ITERATIONS,
                rescale=True,
            ),
            optim.SGD(groups, BIAS_RATE, momentum=MOMENTUM, nesterov=True),
        )

    def __call__(self) -> float:
        loss = self.differentiate()
        self.optimiser.step()
        return loss

    def differentiate(self) -> float:
        """Compute the gradients, and return the mean loss."""
        self.optimiser.zero_grad()
        scores = self.model(wrap_without_copy(self.problem.X))
        loss = F.cross_entropy(scores, self.problem.labels, label_smoothing=SMOOTHING) * self.problem.count
        loss.backward()
        return loss.item() / self.problem.count


# -- memory ------------------------------------------------------------------------------------------------------------


def activation_bytes(model: ConvNet, count: int) -> int:
    """Return the bytes of the activations that reverse-mode differentiation must keep, unless it repeats layers.

    They are the arrays that the VJPs need: the inputs of the convolutions whose filters are trained, of the GELUs, the
    batch normalisations and the poolings, and of the last layer, once each. They are also the results of these layers,
    except for that of the last pooling, and that of the first convolution plus its bias. Parameters and gradients,
    the images, statistics, labels and scores do not count.
    """
    layers = [model.activation, *(layer for block in model.blocks for layer in block.layers), model.pool]
    elements = 0
    with model.inference_mode():
        x = tg.conv2d(np.zeros((1, 32, 32, 3), np.float32), model.whitening)
        for layer in layers:
            elements += x.size
            x = layer(x)
    return int((elements + x.size) * count * x.dtype.itemsize)


def _measure_memory(problem: Problem) -> dict[str, int]:
    """Return the bytes at the peak of the second step, with everything that is allocated after the images."""
    gc.collect()
    tracemalloc.start()
    step = _Step(problem)
    step()
    tracemalloc.reset_peak()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"peak": peak, "activations": activation_bytes(step.model, problem.count)}


# -- the table ---------------------------------------------------------------------------------------------------------


def time_ratio(result: dict[str, Any]) -> Spread:
    """Return the time of a step, relative to that of PyTorch in the same round."""
    return ratio(result["seconds"][OURS], result["seconds"][TORCH])


def memory_ratio(result: dict[str, Any]) -> float:
    """Return the bytes at the peak, relative to those of the activations that must be kept."""
    return float(result["peak"] / result["activations"])


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result as lines of text."""
    seconds = result["seconds"]
    out = [f"a step of the network of the records, {result['images']:,} images, {result['cores']} threads"]
    for name, times in seconds.items():
        layout = f", {result['layout']}" if name == TORCH else ""
        out.append(f"  {name + layout:40} {spread(times).median:9.3f} s")
    if TORCH in seconds:
        agreement = "agree" if result["error"] <= TOLERANCE else "DIFFER"
        out += [
            f"  ratio to {TORCH}: {time_ratio(result)}",
            f"  the losses of the first {_FIRST} steps {agreement} (relative error {result['error']:.0e})",
        ]
    else:
        out.append(f"  {TORCH} was not measured")
    out.append(
        f"  peak memory {result['peak'] / 1e6:,.0f} MB: {memory_ratio(result):.2f} times the activations to keep,"
        f" {result['activations'] / 1e6:,.0f} MB"
    )
    return [*out, *profiling.lines(result["profile"]), ""]
