"""The network of the records in PyTorch, eager: as in the repository cifar10-airbench, with the tanh form of GELU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks import convnet
from tinygrad_cifar.system.blas import usable_cores

_FORMATS = dict(zip(convnet.LAYOUTS, (torch.contiguous_format, torch.channels_last), strict=True))
_COEFFICIENTS = 3.4445, -4.7750, 2.0315


def make_step(problem: convnet.Problem, layout: str) -> Callable[[], float]:
    """Return a function that makes a training step and returns the mean loss.

    Parameters
    ----------
    problem : Problem
        Batch.
    layout : str
        Memory layout of images and filters, one of :data:`benchmarks.convnet.LAYOUTS`.
    """
    torch.set_num_threads(usable_cores())
    memory_format = _FORMATS[layout]
    net = _network(problem).to(memory_format=memory_format)
    filters = [p for p in net.parameters() if p.ndim == 4 and p.requires_grad]  # noqa: PLR2004
    biases = [p for p in net.parameters() if p.ndim == 1 and p.requires_grad]
    head = [p for p in net.parameters() if p.ndim == 2]  # noqa: PLR2004
    muon = _Muon(filters)
    sgd = torch.optim.SGD(
        [
            {"params": parameters, "lr": rate, "weight_decay": problem.decay / rate}
            for parameters, rate in ((biases, convnet.BIAS_RATE), (head, convnet.HEAD_RATE))
        ],
        momentum=convnet.MOMENTUM,
        nesterov=True,
        fused=True,
    )
    images = torch.from_numpy(problem.X).reshape(-1, 3, 32, 32)
    labels = torch.from_numpy(problem.labels)

    def step() -> float:
        scores = net(images.contiguous(memory_format=memory_format))
        loss = nn.functional.cross_entropy(scores, labels, label_smoothing=convnet.SMOOTHING) * len(labels)
        net.zero_grad()
        loss.backward()
        muon.step()
        sgd.step()
        return float(loss.detach()) / len(labels)

    return step


class _Head(nn.Module):
    def __init__(self, weights: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weights.T.copy()))

    def forward(self, x: Any) -> Any:
        return nn.functional.linear(x.flatten(1), self.weight)


def _network(problem: convnet.Problem) -> nn.Sequential:
    """Return the network with the parameters of this library's."""
    model = problem.model()
    layers: list[nn.Module] = [
        _convolution(model.whitening.data, padding=0, bias=model.whitening_bias.data),
        nn.GELU("tanh"),
    ]
    for block in model.blocks:
        for layer in block.layers:
            kind = type(layer).__name__
            if kind == "Conv2d":
                layers.append(_convolution(layer.W.data, padding=1))
            elif kind == "MaxPool2d":
                layers.append(nn.MaxPool2d(2))
            elif kind == "BatchNorm":
                norm = nn.BatchNorm2d(layer.bias.shape[0], eps=layer.epsilon, momentum=layer.momentum)
                norm.weight.requires_grad_(False)
                layers.append(norm)
            else:
                layers.append(nn.GELU("tanh"))
    return nn.Sequential(*layers, nn.MaxPool2d(3), _Head(model.head.data))


def _convolution(filters: Any, *, padding: int, bias: Any = None) -> nn.Conv2d:
    """Return a layer with filters in the layout of this library; with a bias, they are not trained."""
    size, _, channels, count = filters.shape
    layer = nn.Conv2d(channels, count, size, padding=padding, bias=bias is not None)
    layer.weight = nn.Parameter(torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()), requires_grad=bias is None)
    if bias is not None:
        layer.bias = nn.Parameter(torch.from_numpy(bias.copy()))
    return layer


class _Muon:
    """Muon with Nesterov momentum for filters, which are rescaled before each step."""

    def __init__(self, filters: list[Any]) -> None:
        self._filters = filters
        self._velocities = [torch.zeros_like(w) for w in filters]

    @torch.no_grad()
    def step(self) -> None:
        for w, v in zip(self._filters, self._velocities, strict=True):
            v.mul_(convnet.MUON_MOMENTUM).add_(w.grad)
            change = w.grad.add(v, alpha=convnet.MUON_MOMENTUM)
            w.mul_(len(w) ** 0.5 / w.norm())
            w.add_(_orthogonalise(change.reshape(len(w), -1)).view(w.shape), alpha=-convnet.MUON_RATE)


def _orthogonalise(x: Any) -> Any:
    a, b, c = _COEFFICIENTS
    x = x / x.norm()
    is_tall = len(x) > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(convnet.ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
