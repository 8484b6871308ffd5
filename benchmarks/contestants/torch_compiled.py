"""PyTorch with the network and its loss compiled, forward and backward; needs a C++ compiler."""

from __future__ import annotations

import torch

from benchmarks.contestants.torch_eager import train_with
from benchmarks.works import AfterStep, Problem


def train(problem: Problem, after_step: AfterStep) -> None:
    """Train until ``after_step`` does not return."""
    torch.compiler.reset()  # what was compiled for another problem
    train_with(problem, after_step, torch.compile)
