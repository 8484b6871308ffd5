"""Time of each primitive and of each of its VJPs in a training step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value
from tinygrad_cifar.engine.modes import Watcher, observe

_SHOWN = 0.005  # smallest share of a step that has a line of its own


class _Clock(Watcher):
    """Adds up the time of each primitive, and of its VJPs.

    The time of an operation is that since the end of the one before, so it contains the work of Python in between.
    """

    def __init__(self) -> None:
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self._last = perf_counter()
        self._name = ""

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002
        now = perf_counter()
        self.forward[op.name] += now - self._last
        self._last = now

    def on_vjp_start(self, node: Node, vjp: VJP) -> None:
        self._last, self._name = perf_counter(), f"{node.primitive.name}, {vjp.input}"

    def on_vjp_end(self) -> None:
        now = perf_counter()
        self.backward[self._name] += now - self._last
        self._last = now


def profile(differentiate: Callable[[], object], update: Callable[[], object], steps: int = 1) -> dict[str, Any]:
    """Return the seconds of each part of a training step, the mean of several steps.

    Parameters
    ----------
    differentiate : callable
        Makes the forward and the backward pass.
    update : callable
        Updates the parameters.
    steps : int
        Number of steps.

    Returns
    -------
    dict
        ``forward``: the seconds of each primitive; ``backward``: those of each VJP, by the names of its primitive and
        input; ``update``; and ``total``, of the whole step.
    """
    forward: Counter[str] = Counter()
    backward: Counter[str] = Counter()
    updating = 0.0
    started = perf_counter()
    for _ in range(steps):
        clock = _Clock()
        with observe(clock):
            differentiate()
        forward.update(clock.forward)
        backward.update(clock.backward)
        differentiated = perf_counter()
        update()
        updating += perf_counter() - differentiated
    total = perf_counter() - started
    return {
        "forward": {name: taken / steps for name, taken in forward.items()},
        "backward": {name: taken / steps for name, taken in backward.items()},
        "update": updating / steps,
        "total": total / steps,
    }


def parts(result: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the parts of a profile with their seconds, the longest first."""
    found = [
        *((f"{name}, forward", taken) for name, taken in result["forward"].items()),
        *((f"VJP of {name}", taken) for name, taken in result["backward"].items()),
        ("update", result["update"]),
    ]
    return sorted(found, key=lambda part: -part[1])


def lines(result: dict[str, Any]) -> list[str]:
    """Return a profile as lines of text, the longest part first."""
    total = result["total"]
    shown = [part for part in parts(result) if part[1] >= _SHOWN * total]
    shown.append(("everything else", total - sum(taken for _, taken in shown)))
    return [
        f"  time of each primitive, in a step of {1e3 * total:,.2f} ms with the clock",
        *(f"    {name:40} {1e3 * taken:10,.2f} ms {taken / total:>5.0%}" for name, taken in shown),
    ]
