"""PyTorch as in its tutorials, with its fastest update (``fused``) and gather (``index_select``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.threads import count
from benchmarks.workloads import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""
    train_with(problem, after_step, lambda loss_of: loss_of)


def train_with(problem: Problem, after_step: AfterStep, transform: Callable[[Any], Any]) -> None:
    """Train with the loss function that ``transform`` returns for the plain one."""
    torch.set_num_threads(count())
    workload = problem.workload
    net = _network(problem)
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    optimiser = torch.optim.SGD(
        [{"params": weights, "weight_decay": 2 * workload.lam}, {"params": biases}], lr=workload.eta, fused=True
    )
    loss_of = transform(lambda X, labels: nn.functional.cross_entropy(net(X), labels))
    images, classes = torch.from_numpy(problem.X), torch.from_numpy(problem.labels)
    rng = problem.generator()
    while True:
        order = torch.from_numpy(rng.permutation(len(images)))
        for batch in order.split(workload.batch):
            # Faster than images[batch].
            loss = loss_of(torch.index_select(images, 0, batch), torch.index_select(classes, 0, batch))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            after_step(loss.detach())


def _network(problem: Problem) -> nn.Module:
    layers: list[nn.Module] = []
    for W, b in zip(problem.weights, problem.biases, strict=True):
        layer = nn.Linear(*W.shape)
        layer.weight = nn.Parameter(torch.from_numpy(W.T.copy()))
        layer.bias = nn.Parameter(torch.from_numpy(b.copy()))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
