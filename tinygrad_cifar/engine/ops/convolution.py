"""The derivative table: convolutions and pooling of images, channels last.

Images have the shape ``(n, height, width, channels)``. A convolution, the gradient of its input and the gradient of its
filters are the three derivatives of one trilinear form, so the VJPs of each are the other two, and derivatives of
every order use only these three primitives. Pooling by the mean is linear; pooling by the maximum is linear once the
maxima have been located.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.engine.blocked import convolution as blocked
from tinygrad_cifar.engine.blocked import pooling
from tinygrad_cifar.engine.blocked.windows import Geometry, Pair
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, astype, multiply
from tinygrad_cifar.engine.ops.shapes import _transpose, transpose
from tinygrad_cifar.engine.primitives import primitive

Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int] | Sequence[Sequence[int]]

_conv2d = primitive(
    "conv2d",
    blocked.convolve,
    x=lambda g, filters, x_shape, geometry: _conv2d_input(g, filters, x_shape[1:3], geometry),
    filters=lambda g, x, filters_shape, geometry: _conv2d_filters(x, g, filters_shape[:2], geometry),
    doc=Doc(
        "Convolution of images.",
        "sum over a, b, c of x[n, s i + d a - p, s j + d b - p, c] * filters[a, b, c, f]",
        x="sum over i, j, f of g[n, i, j, f] * filters[a, b, c, f]",
        filters="sum over n, i, j of g[n, i, j, f] * x[n, s i + d a - p, s j + d b - p, c]",
    ),
)
_conv2d_input = primitive(
    "conv2d_input",
    blocked.input_gradient,
    y=lambda g, filters, geometry: _conv2d(g, filters, geometry),
    filters=lambda g, y, filters_shape, geometry: _conv2d_filters(g, y, filters_shape[:2], geometry),
    doc=Doc(
        "Gradient of a convolution with respect to its input.",
        "sum over i, j, f of y[n, i, j, f] * filters[a, b, c, f]",
        y="conv2d(g, filters)",
        filters="the gradient of conv2d with respect to its filters, for the images g and the cotangent y",
    ),
)
_conv2d_filters = primitive(
    "conv2d_filters",
    blocked.filter_gradient,
    x=lambda g, y, x_shape, geometry: _conv2d_input(y, g, x_shape[1:3], geometry),
    y=lambda g, x, geometry: _conv2d(x, g, geometry),
    doc=Doc(
        "Gradient of a convolution with respect to its filters.",
        "sum over n, i, j of y[n, i, j, f] * x[n, s i + d a - p, s j + d b - p, c]",
        x="the gradient of conv2d with respect to its input, for the filters g and the cotangent y",
        y="conv2d(x, g)",
    ),
)

_max_pool2d = primitive(
    "max_pool2d",
    pooling.max_of_windows,
    kink=lambda x, window, geometry: pooling.count_maxima(x, window, geometry) > 1,
    x=lambda g, x, out, window, geometry: _spread_to_maxima(g, unwrap_value(x), unwrap_value(out), window, geometry),
    doc=Doc(
        "Maximum of windows of images.",
        "max over a, b of x[n, s i + d a - p, s j + d b - p, c]",
        x="g at the first largest element of each window, and 0 elsewhere",
        note="Elements that tie for the maximum: the first in the order of rows and columns receives the cotangent. "
        "The others receive the cotangent times 0, which is NaN if it is infinite.",
    ),
)
_spread_to_maxima = primitive(
    "spread_to_maxima",
    pooling.spread_to_maxima,
    y=lambda g, x, largest, window, geometry: _at_maxima(g, x, largest, window, geometry),
    doc=Doc(
        "Numbers placed at the maxima of windows, and added up there.",
        "y at the first largest element of each window of x, and 0 elsewhere",
        y="g at the first largest element of each window of x",
    ),
)
_at_maxima = primitive(
    "at_maxima",
    pooling.at_maxima,
    z=lambda g, x, largest, window, geometry: _spread_to_maxima(g, x, largest, window, geometry),
    doc=Doc(
        "Numbers taken from the maxima of windows.",
        "z at the first largest element of each window of x",
        z="g at the first largest element of each window of x, and 0 elsewhere",
    ),
)
_sum_pool2d = primitive(
    "sum_pool2d",
    pooling.sum_of_windows,
    x=lambda g, x_shape, window, geometry: _spread_to_windows(g, x_shape[1:3], window, geometry),
    doc=Doc(
        "Sum of windows of images.",
        "sum over a, b of x[n, s i + d a - p, s j + d b - p, c]",
        x="g added to every element of each window",
    ),
)
_spread_to_windows = primitive(
    "spread_to_windows",
    pooling.spread_to_windows,
    y=lambda g, window, geometry: _sum_pool2d(g, window, geometry),
    doc=Doc(
        "Numbers added to every element of windows.",
        "y added to every element of each window",
        y="sum of the windows of g",
    ),
)


@operation(
    _conv2d,
    doc=Doc(
        "",
        "sum over a, b, c of x[n, s i + d a - p, s j + d b - p, c] * filters[a, b, c, f]",
        note="This is a cross-correlation: the filters are not flipped, as is usual in deep learning. In float32, "
        "large convolutions with filters of 3 x 3 are computed by Winograd's algorithm, in about half of the "
        "multiplications; its rounding error has the size of that of the direct sum.",
        x="each g[n, i, j, f] times the filter f, added at the place of its window",
        filters="the sum over all windows of g[n, i, j, f] times the window",
    ),
)
def conv2d(
    x: TensorLike,
    filters: TensorLike,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> TensorLike:
    """Compute the convolution of images with filters, channels last.

    In the formula, s is the stride, d the dilation and p the padding above or to the left. ``stride`` and ``dilation``
    are numbers for both axes, or pairs (vertical, horizontal). ``padding`` is a number of rows and columns of zeros on
    each side, a pair (vertical, horizontal), two pairs ((top, bottom), (left, right)), ``"valid"`` for none, or
    ``"same"`` for a result of ``ceil(size / stride)``: the padding is then divided equally, and one more row or column
    comes after the image if it is odd. With ``groups``, the channels and the filters are divided into equal groups, and
    each group of channels is convolved with its own group of filters.

    Raises
    ------
    ValueError
        If the shapes are incompatible, or no window fits into the image.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> image = tg.Tensor(np.arange(9.0).reshape(1, 3, 3, 1))
    >>> differences = np.array([[-1.0, 1.0]]).reshape(1, 2, 1, 1)
    >>> tg.conv2d(image, differences).data[0, :, :, 0]
    array([[1., 1.],
           [1., 1.],
           [1., 1.]])
    """
    x, filters = _as_floats(x), _as_floats(filters)
    geometry = _geometry_of_filters(shape_of(x), shape_of(filters), stride, padding, dilation, groups)
    if np.float16 in (x.dtype, filters.dtype):  # sums of products overflow beyond 65,504
        dtype = np.result_type(x.dtype, filters.dtype)
        return astype(_conv2d(astype(x, np.float32), astype(filters, np.float32), geometry), dtype)
    return _conv2d(x, filters, geometry)


@operation(_max_pool2d)
def max_pool2d(x: TensorLike, window: Size, *, stride: Size | None = None, padding: Padding = 0) -> TensorLike:
    """Compute the maximum of windows of images, channels last.

    ``window`` is a number, or a pair (vertical, horizontal). The distance of the windows is ``stride``, by default the
    size of a window, so that they do not overlap. ``padding`` is as in :func:`conv2d`, at most half a window; it is
    smaller than every number.

    Raises
    ------
    ValueError
        If no window fits into the image, or the padding is too large.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> image = tg.Tensor(np.arange(16.0).reshape(1, 4, 4, 1))
    >>> tg.max_pool2d(image, 2).data[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    x = _as_floats(x)
    window, geometry = _geometry_of_windows("max_pool2d", shape_of(x), window, stride, padding)
    return _max_pool2d(x, window, geometry)


@operation(
    *(_sum_pool2d, multiply),
    doc=Doc("", "mean over a, b of x[n, s i + a - p, s j + b - p, c]", x="g / size of a window, added to its elements"),
)
def avg_pool2d(x: TensorLike, window: Size, *, stride: Size | None = None, padding: Padding = 0) -> TensorLike:
    """Compute the mean of windows of images, channels last.

    The arguments are those of :func:`max_pool2d`. The zeros of the padding count as elements, as in PyTorch.

    Raises
    ------
    ValueError
        If no window fits into the image, or the padding is too large.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> image = tg.Tensor(np.arange(16.0).reshape(1, 4, 4, 1))
    >>> tg.avg_pool2d(image, 2).data[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    x = _as_floats(x)
    window, geometry = _geometry_of_windows("avg_pool2d", shape_of(x), window, stride, padding)
    if x.dtype == np.float16:
        return astype(_mean_of_windows(astype(x, np.float32), window, geometry), np.float16)
    return _mean_of_windows(x, window, geometry)


def _mean_of_windows(x: Any, window: Pair, geometry: Geometry) -> Any:
    return multiply(_sum_pool2d(x, window, geometry), 1.0 / (window[0] * window[1]))


@operation(_transpose, doc=Doc("", "transpose(x, (0, 2, 3, 1))", x="transpose(g, (0, 3, 1, 2))"))
def channels_last(x: TensorLike) -> TensorLike:
    """Convert images from (n, channels, height, width), PyTorch's order, to (n, height, width, channels).

    Filters of PyTorch, (filters, channels, height, width), are converted by ``transpose(filters, (2, 3, 1, 0))``.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> tg.channels_last(np.zeros((10, 3, 32, 32))).shape
    (10, 32, 32, 3)
    """
    _require_images("channels_last", shape_of(x))
    return transpose(x, (0, 2, 3, 1))


@operation(_transpose, doc=Doc("", "transpose(x, (0, 3, 1, 2))", x="transpose(g, (0, 2, 3, 1))"))
def channels_first(x: TensorLike) -> TensorLike:
    """Convert images from (n, height, width, channels) to (n, channels, height, width), PyTorch's order.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> tg.channels_first(np.zeros((10, 32, 32, 3))).shape
    (10, 3, 32, 32)
    """
    _require_images("channels_first", shape_of(x))
    return transpose(x, (0, 3, 1, 2))


# -- arguments ---------------------------------------------------------------------------------------------------------


def _require_images(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        raise ValueError(f"{name}: x must be images with four axes; its shape is {shape}")


def _geometry_of_filters(
    x: tuple[int, ...], filters: tuple[int, ...], stride: Size, padding: Padding, dilation: Size, groups: int
) -> Geometry:
    _require_images("conv2d", x)
    if len(filters) != 4 or 0 in filters[:2]:
        raise ValueError(
            f"conv2d: filters must have the shape (height, width, channels / groups, filters); it is {filters}"
        )
    groups = _positive("conv2d", "groups", groups)
    if x[3] % groups or filters[3] % groups:
        raise ValueError(f"conv2d: groups={groups} must divide the {x[3]} channels and the {filters[3]} filters")
    if filters[2] * groups != x[3]:
        of_groups = f" / {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"conv2d: the filters are for {filters[2]} channels; the images have {x[3]}{of_groups}: images must have "
            "the shape (n, height, width, channels), as channels_last returns them"
        )
    return _geometry("conv2d", x, (filters[0], filters[1]), stride, padding, dilation, groups)


def _geometry_of_windows(
    name: str, x: tuple[int, ...], window: Size, stride: Size | None, padding: Padding
) -> tuple[Pair, Geometry]:
    _require_images(name, x)
    window = as_pair(name, "window", window)
    geometry = _geometry(name, x, window, window if stride is None else stride, padding, 1, 1)
    for (before, after), size in zip(geometry.padding, window, strict=True):
        if 2 * max(before, after) > size:
            raise ValueError(f"{name}: padding must be at most half the window; got {max(before, after)} for {size}")
    return window, geometry


def _geometry(
    name: str, x: tuple[int, ...], window: Pair, stride: Size, padding: Padding, dilation: Size, groups: int
) -> Geometry:
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
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ValueError(f'{name}: padding must be "same", "valid" or numbers; got {padding!r}')
        pairs = []
        for size, length, s, d in zip(image, window, stride, dilation, strict=True):
            total = max(0, (-(-size // s) - 1) * s + d * (length - 1) + 1 - size)
            pairs.append((total // 2, total - total // 2))
        return pairs[0], pairs[1]
    given = _as_integers(padding)
    if given is None or given.shape not in ((), (2,), (2, 2)) or given.min() < 0:
        raise ValueError(
            f'{name}: padding must be "same", "valid", a non-negative integer, a pair of them, or two pairs; got '
            f"{padding!r}"
        )
    (top, bottom), (left, right) = np.broadcast_to(given[:, None] if given.ndim == 1 else given, (2, 2)).tolist()
    return (top, bottom), (left, right)


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
    return _positive(name, what, parts[0]), _positive(name, what, parts[1])


def _positive(name: str, what: str, number: Any) -> int:
    try:
        found = index(number)
    except TypeError:
        found = 0
    if found < 1:
        raise ValueError(f"{name}: {what} must be a positive integer; got {number!r}")
    return found
