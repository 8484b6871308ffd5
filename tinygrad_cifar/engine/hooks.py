"""Hooks on tensors: functions that a backward pass calls with the gradient of a tensor, and that may replace it.

A hook belongs to a node and lives as long as it. A pass asks once whether there are any hooks at all, so programs
without hooks are not slower.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet, ref

import numpy as np

from tinygrad_cifar.engine.graph import Node, Value, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.modes import ModeContext, enable_grad

Hook = Callable[[Any], Any]

hooked_nodes: WeakSet[Node] = WeakSet()
_lock = threading.Lock()  # of changes: each replaces the dictionary, which a pass may be reading
_next_key = itertools.count().__next__


class HookHandle:
    """A hook that can be removed; see :meth:`Tensor.register_hook` for an example."""

    def __init__(self, node: Node, key: int) -> None:
        self._node = ref(node)
        self._key = key

    def remove(self) -> None:
        """Remove the hook; nothing happens if it has been removed before."""
        node = self._node()
        if node is not None:
            with _lock:
                node.hooks = {key: hook for key, hook in node.hooks.items() if key != self._key}
                if not node.hooks:
                    hooked_nodes.discard(node)


def add_hook(node: Node, value_type: type[Value], hook: Hook) -> HookHandle:
    """Add a hook to a node; it receives its gradient as a value of the given type."""
    key = _next_key()
    with _lock:
        node.hooks = {**getattr(node, "hooks", {}), key: (value_type, hook)}
        hooked_nodes.add(node)
    return HookHandle(node, key)


def run_hooks(node: Node, gradient: Any) -> Any:
    """Return the gradient of a node after its hooks: a value if it was one, and otherwise an array."""
    is_recorded = isinstance(gradient, Value)
    for value_type, hook in list(node.hooks.values()):
        with enable_grad() if is_recorded else ModeContext(recording=False):
            result = hook(gradient if is_recorded else _constant(value_type, gradient))
        if result is not None:
            gradient = _check(node, value_type, result, is_recorded=is_recorded)
    return gradient


def _check(node: Node, value_type: type[Value], result: Any, *, is_recorded: bool) -> Any:
    refuse_masked_array("register_hook", result)
    array = np.asarray(unwrap_value(result))
    if array.shape != node.shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"register_hook: the hook must return None, or a gradient of real numbers of shape {node.shape}; got "
            f"{array.dtype} of shape {array.shape}"
        )
    if isinstance(result, Value) and (is_recorded or array.dtype == node.dtype):
        return result if is_recorded else array
    copy = np.array(array, dtype=node.dtype)
    return _constant(value_type, copy) if is_recorded else copy


def _constant(value_type: type[Value], array: Any) -> Value:
    out = object.__new__(value_type)
    out._array = np.asarray(array)
    out._node = None
    return out
