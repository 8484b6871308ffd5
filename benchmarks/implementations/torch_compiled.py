"""PyTorch with the network and its loss compiled by ``torch.compile``; requires a C++ compiler."""

from __future__ import annotations

import torch

from benchmarks.implementations.torch_eager import train_with
from benchmarks.workloads import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` raises an exception."""
    torch.compiler.reset()  # discard code compiled for another problem
    train_with(problem, after_step, torch.compile)
