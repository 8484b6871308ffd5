"""The check that the activations of a batch fit into memory, before a training that the system would stop."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.course.models import Classifier
from tinygrad_cifar.course.settings import SettingsError
from tinygrad_cifar.inspection.view import graph
from tinygrad_cifar.system.memory import available_bytes

Array = np.ndarray[Any, np.dtype[Any]]

_EXAMPLES = 4
_MARGIN = 1.5  # cotangents and blocks, beside the saved arrays


def require_memory(model: Classifier, X: Array, labels: Array, batch_size: int) -> None:
    """Raise SettingsError if a training step of ``batch_size`` images needs more memory than is available.

    The need of an image is the difference between recorded steps of four and of two images, and half as much again for
    the backward pass. On systems that do not report the available memory, nothing is raised.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.course.convnet import ConvNet
    >>> from tinygrad_cifar.course.memory_check import require_memory
    >>> X, labels = np.random.default_rng(0).normal(size=(4, 3072)).astype(np.float32), np.zeros(4, int)
    >>> require_memory(ConvNet([4], rng=0), X, labels, batch_size=100)
    """
    available = available_bytes()
    if available is None:
        return
    state = model.state_dict()  # a step in training mode changes running statistics
    many = min(_EXAMPLES, len(X))
    few = many // 2 if many > 3 else 0  # noqa: PLR2004 (batch normalisation needs two images)
    saved = _saved_bytes(model, X[:many], labels[:many]) - (_saved_bytes(model, X[:few], labels[:few]) if few else 0)
    per_image = _MARGIN * saved / (many - few)
    model.load_state_dict(state)
    if per_image * batch_size > available:
        most = int(available / per_image)
        remedy = f"a batch of {most} would fit" if most else "use a smaller network"
        raise SettingsError(
            f"<batch_size> {batch_size} needs about {per_image * batch_size / 1e9:.1f} GB of memory, and "
            f"{available / 1e9:.1f} GB are available; {remedy}"
        )


def _saved_bytes(model: Classifier, X: Array, labels: Array) -> int:
    """Return the size of what a recorded step saves, with the parameters that it refers to."""
    loss = model.loss(X, labels)  # the graph is not kept by its view
    return graph(loss).nbytes
