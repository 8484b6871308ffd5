"""How fast gradients are checked: elements a second, beside what the formula needs of the function itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from benchmarks.options import Options
from benchmarks.timing import in_turns, spread
from tinygrad_cifar import functional as F
from tinygrad_cifar.engine.gradcheck import check_gradients


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Check the two-layer net of report 003 (20 features, 2 images, 50 hidden units).

    Returns
    -------
    dict
        ``elements`` in a check, the ``seconds`` of one check, and those of ``evaluations``, the two values of the
        function that a centred difference needs for each element.
    """
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(2, 20)), [3, 7]
    shapes = ((20, 50), (50,), (50, 10), (10,))
    parameters = tuple(rng.normal(size=shape) for shape in shapes)

    def cost(W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        H = tg.relu(tg.matmul(X, W1) + b1)
        return F.cross_entropy(tg.matmul(H, W2) + b2, labels) + F.l2_penalty([W1, W2], 0.01)

    elements = sum(array.size for array in parameters)
    checking, evaluating = in_turns(
        [lambda: check_gradients(cost, *parameters), lambda: cost(*parameters)], 1 if options.quick else 9
    )
    result = {
        "elements": elements,
        "seconds": spread(checking).median,
        "evaluations": 2 * elements * spread(evaluating).median,
    }
    say("\n".join(lines(result)))
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """Return what was measured, for a terminal."""
    speed, share = result["elements"] / result["seconds"], result["evaluations"] / result["seconds"]
    return [
        f"checking the {result['elements']:,} gradients of report 003's two layers (20 features, 2 images)",
        f"  {speed:,.0f} elements a second; {share:.0%} of the time in the function's own values",
        "",
    ]
