"""PyTorch as its tutorials use it, with the fastest of its forms of the update (``fused``) and of the gathering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.threads import count
from benchmarks.works import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` does not return."""
    train_with(problem, after_step, lambda loss_of: loss_of)


def train_with(problem: Problem, after_step: AfterStep, prepared: Callable[[Any], Any]) -> None:
    """Train with the loss that ``prepared`` makes of the plain one."""
    torch.set_num_threads(count())
    work = problem.work
    net = _network(problem)
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    optimiser = torch.optim.SGD(
        [{"params": weights, "weight_decay": 2 * work.lam}, {"params": biases}], lr=work.eta, fused=True
    )
    loss_of = prepared(lambda X, labels: nn.functional.cross_entropy(net(X), labels))
    images, classes = torch.from_numpy(problem.X), torch.from_numpy(problem.labels)
    rng = problem.generator()
    while True:
        order = torch.from_numpy(rng.permutation(len(images)))
        for batch in order.split(work.batch):
            # Faster than images[batch], which is the same.
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
