"""The backward walk with changes: VJPs of edges, cotangents of nodes, and gradients of parameters that are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.ops.shapes import sum_to

_OF_GRADIENTS = frozenset(("updated_weights", "gradient_for_factor"))  # changes that use a gradient of weights


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of the backward walk.

    Attributes
    ----------
    kind : str
        Identifier of the kind of mistake.
    site : tuple
        Where: ``("edge", node, edge)``, ``("node", node)`` or ``("parameter", name)``; ``("argument", "")`` for a
        mistake of the forward pass or of an argument.
    value : callable
        ``value(walk, g)`` is the array that the change uses, given the right contribution, cotangent or gradient.
    mode : str
        ``"replace"``: the array replaces the right one. ``"add"``: a multiple of it is added to the right one.
    cost : float
        How far-fetched the change is; simpler explanations are preferred.
    detail : dict
        Texts for the sentence.
    """

    kind: str
    site: tuple[Any, ...]
    value: Callable[[Walk, Array], Any]
    mode: str = "replace"
    cost: float = 1.0
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def at(self) -> Any:
        """The node, or the name of the parameter, at which the walk changes."""
        return self.site[1]


@dataclass(frozen=True, eq=False)
class Applied:
    """An edit with the size of its change: the multiple that is added (1 for a replacement)."""

    edit: Edit
    amount: float = 1.0


class NotApplicableError(ValueError):
    """An edit does not apply to a problem, although it applies to another one."""


class Walk:
    """A backward walk over a recording with changes.

    Attributes
    ----------
    cotangents : list of ndarray or None
        The cotangent of each node.
    contributions : dict of (int, int) to ndarray
        The contribution of each edge.
    gradients : dict of str to ndarray
        The gradient of each parameter.
    """

    def __init__(self, recording: Recording, applied: Sequence[Applied] = ()) -> None:
        self.recording = recording
        self._applied = applied
        self._before: dict[int, Walk] = {}
        self._by_site: dict[tuple[Any, ...], list[Applied]] = {}
        for change in applied:
            self._by_site.setdefault(change.edit.site, []).append(change)
        self.cotangents: list[Array | None] = [None] * len(recording.steps)
        self._unchanged: dict[int, Array] = {}  # the cotangents of nodes at which there is a change, before it
        self.contributions: dict[tuple[int, int], Array] = {}
        self._fill()
        self.gradients: dict[str, Array] = {}
        for name, at in recording.parameters.items():
            g = self.cotangents[at]
            if g is None:
                g = np.zeros(recording.steps[at].value.shape)
            self.gradients[name] = g
        for name in recording.parameters:
            self.gradients[name] = self._changed(("parameter", name), self.gradients[name])

    def before_update(self, i: int) -> Walk:
        """Return the walk in which only products above node ``i`` are computed with a gradient of weights.

        Such a change at the node itself uses the gradient that has been computed until then.
        """
        kept = [change for change in self._applied if change.edit.kind not in _OF_GRADIENTS or change.edit.at > i]
        if len(kept) == len(self._applied):
            return self
        if i not in self._before:
            self._before[i] = Walk(self.recording, kept)
        return self._before[i]

    def _fill(self) -> None:
        recording = self.recording
        last = len(recording.steps) - 1
        self.cotangents[last] = np.ones_like(recording.steps[last].value)
        for i in range(last, -1, -1):
            g = self.cotangents[i]
            if g is None:
                continue
            if ("node", i) in self._by_site:
                self._unchanged[i] = g
                g = self.cotangents[i] = self._changed(("node", i), g)
            for e, (parent, _) in enumerate(recording.steps[i].edges):
                contribution = self.contribution(i, e, g)
                self.contributions[i, e] = contribution
                before = self.cotangents[parent]
                self.cotangents[parent] = contribution if before is None else before + contribution

    def contribution(self, i: int, e: int, g: Array) -> Array:
        """Return the contribution of an edge, changed if there is a change at it, for a cotangent of its node."""
        right = self.recording.steps[i].edges[e][1].vjp(g)
        if ("edge", i, e) in self._by_site:
            kept = self.cotangents[i]
            self.cotangents[i] = g
            try:
                return self._changed(("edge", i, e), right)
            finally:
                self.cotangents[i] = kept
        return right

    def _changed(self, site: tuple[Any, ...], right: Array) -> Array:
        for change in self._by_site.get(site, ()):
            value = change.edit.value(self, right)
            if value is None:
                raise NotApplicableError("the change does not apply to this problem")
            if site[0] != "parameter":
                value = match(value, right.shape)
            right = right + change.amount * value if change.edit.mode == "add" else value
        return right

    def direction(self, edit: Edit) -> dict[str, Array] | None:
        """Return how the gradients change with an edit: for an addition, per unit of its amount.

        Only parameters whose gradients change are included. None if the edit, or another one of this walk, does not
        apply.
        """
        try:
            return self._direction(edit)
        except NotApplicableError:
            return None

    def _direction(self, edit: Edit) -> dict[str, Array] | None:
        recording = self.recording
        if edit.site[0] == "parameter":
            whole = self.gradients[edit.at]
            value = edit.value(self, whole)
            if value is None or np.shape(value) != whole.shape:
                return None
            return {edit.at: value if edit.mode == "add" else value - whole}
        right: Array | None
        if edit.site[0] == "edge":
            start = recording.steps[edit.site[1]].edges[edit.site[2]][0]
            right = self.contributions.get((edit.site[1], edit.site[2]))
        else:
            start = edit.site[1]
            right = self.cotangents[start]
        if right is None:
            return None
        value = edit.value(self, right)
        if value is None:
            return None
        value = match(value, right.shape)
        return self.push(start, value if edit.mode == "add" else value - right)

    def push(self, start: int, delta: Array) -> dict[str, Array]:
        """Return how the gradients of the parameters change with the cotangent of a node."""
        recording = self.recording
        deltas: list[Array | None] = [None] * len(recording.steps)
        deltas[start] = delta
        for i in recording.below[start]:
            change = deltas[i]
            if change is None:
                continue
            if i != start and ("node", i) in self._by_site:
                change = deltas[i] = self._difference(("node", i), deltas, self._unchanged[i], self.cotangents[i])
            for e, (parent, edge) in enumerate(recording.steps[i].edges):
                site = ("edge", i, e)
                if site in self._by_site:
                    g = self.cotangents[i]
                    right = edge.vjp(change if g is None else g + change)
                    contribution = self._difference(site, deltas, right, self.contributions.get((i, e)))
                else:
                    contribution = edge.vjp(change)
                before = deltas[parent]
                deltas[parent] = contribution if before is None else before + contribution
        found = {}
        for name, at in recording.parameters.items():
            change = deltas[at]
            if change is not None:
                found[name] = change
        return found

    def _difference(
        self, site: tuple[Any, ...], deltas: Sequence[Array | None], right: Array, before: Array | None
    ) -> Array:
        """Return how a changed contribution, or cotangent, differs from that of this walk if cotangents are changed."""
        kept = self.cotangents
        if site[0] == "node":
            own = deltas[site[1]]
            right = right if own is None else right + own
        self.cotangents = [g if d is None else d if g is None else g + d for g, d in zip(kept, deltas, strict=True)]
        try:
            changed = self._changed(site, right)
        finally:
            self.cotangents = kept
        return changed if before is None else changed - before


def match(value: Any, shape: tuple[int, ...]) -> Array:
    """Return an array with the given shape, summed over broadcast axes; it is a float64 array."""
    value = np.asarray(value)
    if value.shape == shape:
        same: Array = value
        return same
    if value.ndim < len(shape) or any(
        n not in (1, m) for n, m in zip(shape, value.shape[-len(shape) :] if shape else (), strict=True)
    ):
        return np.array(np.broadcast_to(value, shape))
    summed: Array = sum_to(value, shape)
    return summed
