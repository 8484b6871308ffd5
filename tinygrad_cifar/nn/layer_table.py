"""The layers of a module as a table: the shapes of their results, and their arithmetic for one example."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_cifar.engine.graph import Primitive, Value, format_shape, shape_of
from tinygrad_cifar.engine.modes import Watcher, observe
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import module_text

Module: TypeAlias = Any  # tinygrad_cifar.nn.Module, whose module imports this one

_HEADER = ("name", "layer", "result", "parameters", "multiplications")
_TEXTS = 3  # columns that are aligned on the left


class _Call(NamedTuple):
    """What a layer computed: the shape of its last result, and the multiplications of all its calls."""

    shape: str
    multiplications: int


def layer_table(module: Module, input_shape: tuple[int, ...], dtype: npt.DTypeLike | None = None) -> str:
    """Return one line for each layer that is called, after calling the module with one example of zeros."""
    if dtype is None:
        dtype = next((p.dtype for p in module.parameters()), np.dtype(np.float64))
    layers = dict(_innermost(module))
    calls: dict[int, _Call] = {}
    with module.inference_mode(), ExitStack() as stack:
        for layer in {id(layer): layer for layer in layers.values()}.values():
            stack.enter_context(_noting(layer, calls))
        counter = stack.enter_context(_counting())
        module(Tensor(np.zeros((1, *input_shape)), dtype=dtype))
    cells = [_HEADER]
    for name, layer in layers.items():
        if id(layer) in calls:
            shape, multiplications = calls.pop(id(layer))
            size = sum(p.size for p in layer.parameters())
            cells.append((name, module_text.one_line(layer), shape, _number(size), _number(multiplications)))
    total = sum(p.size for p in module.parameters())
    cells.append(("total", "", "", f"{total:,}", f"{counter.count:,}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if i < _TEXTS else text.rjust(width)
            for i, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        for texts in cells
    ]
    return "\n".join([type(module).__name__, *[f"  {line}".rstrip() for line in lines]])


def _shape(result: Any) -> str:
    """Return the shape of the result for one example."""
    return format_shape(shape_of(result)[1:])


def _number(count: int) -> str:
    return f"{count:,}" if count else ""


def _innermost(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """Yield the modules without others inside, with their names."""
    nested = module._nested()
    if not nested:
        yield prefix.removesuffix("."), module
    for name, child in nested:
        yield from _innermost(child, f"{prefix}{name}.")


@contextmanager
def _noting(layer: Module, calls: dict[int, _Call]) -> Iterator[None]:
    """Note the result of a layer and its multiplications when it is called."""
    own, original = vars(layer).get("forward"), layer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with _counting() as counter:
            result = original(*args, **kwargs)
        shape = ", ".join(map(_shape, result if isinstance(result, (tuple, list)) else [result]))
        earlier = calls.get(id(layer), _Call("", 0))
        calls[id(layer)] = _Call(shape, earlier.multiplications + counter.count)
        return result

    layer.forward = forward
    try:
        yield
    finally:
        if own is None:
            del layer.forward
        else:
            layer.forward = own


@contextmanager
def _counting() -> Iterator[_Multiplications]:
    counter = _Multiplications()
    with observe(counter):
        yield counter


class _Multiplications(Watcher):
    """Counter of the multiplications of matrix products and convolutions."""

    def __init__(self) -> None:
        self.count = 0

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:
        """Add those of an operation."""
        if op.name == "matmul":
            self.count += out._array.size * arguments[0].shape[-1]
        elif op.name == "conv2d":
            self.count += out._array.size * math.prod(arguments[1].shape[:3])
