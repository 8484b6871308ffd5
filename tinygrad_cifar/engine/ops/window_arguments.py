"""Arguments of convolutions and poolings: stride, padding and dilation, as a geometry of windows."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.engine.blocked.windows import Geometry, Pair

Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int] | Sequence[Sequence[int]]


def require_images(name: str, shape: tuple[int, ...]) -> None:
    """Raise a ValueError for a shape that is not that of images."""
    if len(shape) != 4:
        raise ValueError(f"{name}: x must be images with four axes; its shape is {shape}")


def make_geometry(
    name: str, x: tuple[int, ...], window: Pair, stride: Size, padding: Padding, dilation: Size, groups: int
) -> Geometry:
    """Return the geometry of a window on images of the shape ``x``; a ValueError if none fits."""
    image = (x[1], x[2])
    strides, dilations = as_pair(name, "stride", stride), as_pair(name, "dilation", dilation)
    geometry = Geometry(strides, _paddings(name, padding, image, window, strides, dilations), dilations, groups)
    if min(geometry.output_size(image, window)) < 1:
        extent = tuple([d * (size - 1) + 1 for d, size in zip(dilations, window, strict=True)])
        padded = tuple([size + sum(p) for size, p in zip(image, geometry.padding, strict=True)])
        raise ValueError(
            f"{name}: a window of {extent[0]} x {extent[1]} does not fit into an image of {padded[0]} x {padded[1]} "
            "(with padding)"
        )
    return geometry


def _paddings(
    name: str, padding: Padding, image: Pair, window: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    given = as_padding(name, padding)
    if given is not None:
        return given
    pairs = []
    for size, length, s, d in zip(image, window, stride, dilation, strict=True):
        total = max(0, (-(-size // s) - 1) * s + d * (length - 1) + 1 - size)
        pairs.append((total // 2, total - total // 2))
    return pairs[0], pairs[1]


def as_padding(name: str, padding: Padding) -> tuple[Pair, Pair] | None:
    """Return the padding of rows and columns; None for "same", which depends on the image."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f'{name}: padding must be "same", "valid" or numbers; got {padding!r}')
        return ((0, 0), (0, 0)) if padding == "valid" else None
    given = _as_integers(padding)
    if given is None or given.shape not in ((), (2,), (2, 2)) or given.min() < 0:
        raise ValueError(
            f'{name}: padding must be "same", "valid", a non-negative integer, a pair of them, or two pairs; got '
            f"{padding!r}"
        )
    (top, bottom), (left, right) = np.broadcast_to(given[:, None] if given.ndim == 1 else given, (2, 2)).tolist()
    return (top, bottom), (left, right)


def refuse_much_padding(name: str, padding: tuple[Pair, Pair], window: Pair) -> None:
    """Raise a ValueError for padding of more than half a window, since a window could then lie outside the image."""
    for sides, size in zip(padding, window, strict=True):
        if 2 * max(sides) > size:
            raise ValueError(f"{name}: padding must be at most half the window; got {max(sides)} for {size}")


def _as_integers(given: Any) -> Any:
    """Return an array of integers; None if these are not numbers or lists of equal lengths."""
    try:
        array = np.asarray(given)
    except ValueError:
        return None
    return array if array.dtype.kind in "iu" else None


def as_pair(name: str, what: str, size: Size) -> Pair:
    """Return one positive integer twice, or a pair of them; the error begins with ``name``."""
    parts: Any = tuple(size) if isinstance(size, (tuple, list)) or np.ndim(size) else (size, size)  # type: ignore[arg-type]
    if len(parts) != 2:
        raise ValueError(f"{name}: {what} must be one integer or a pair; got {size!r}")
    return as_positive(name, what, parts[0]), as_positive(name, what, parts[1])


def as_positive(name: str, what: str, number: Any) -> int:
    """Return a positive integer; the error begins with ``name``."""
    try:
        found = index(number)
    except TypeError:
        found = 0
    if found < 1:
        raise ValueError(f"{name}: {what} must be a positive integer; got {number!r}")
    return found
