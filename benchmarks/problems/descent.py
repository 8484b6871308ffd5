"""The gradient descent that the problems saddle and particle prescribe.

The step size starts at 1e-5. It is doubled after ten successful steps in a row, and halved after a step that does not
decrease the function, which is not made. The descent ends where the gradient, or a step, has a norm of at most the
tolerance. It works on the arrays of any library, so that it can itself be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_IN_A_ROW = 10
FIRST_STEP = 1e-5
TOLERANCE = 1e-5


def minimum(
    f: Callable[[Any], Any],
    gradient: Callable[[Any], Any],
    x: Any,
    tolerance: float = TOLERANCE,
    eta: float = FIRST_STEP,
) -> Any:
    """Return the point at which the descent from the vector ``x``, with the first step size ``eta``, ends."""
    fx, gx, successes = f(x), gradient(x), 0
    while gx @ gx > tolerance**2:
        if successes == _IN_A_ROW:
            eta, successes = 2 * eta, 0
            continue
        step = eta * gx
        if step @ step <= tolerance**2:
            break
        new = x - step
        f_new = f(new)
        if f_new < fx:
            x, fx, gx, successes = new, f_new, gradient(new), successes + 1
        else:
            eta, successes = eta / 2, 0
    return x
