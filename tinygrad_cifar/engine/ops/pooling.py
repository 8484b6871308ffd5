"""The derivative table: pooling of images, channels last.

Pooling by the mean is linear; pooling by the maximum is linear once the maxima have been located.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.blocked import pooling as blocked
from tinygrad_cifar.engine.blocked.windows import Geometry, Pair
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, astype, multiply
from tinygrad_cifar.engine.ops.window_arguments import (
    Padding,
    Size,
    as_pair,
    make_geometry,
    refuse_much_padding,
    require_images,
)
from tinygrad_cifar.engine.primitives import primitive

_max_pool2d = primitive(
    "max_pool2d",
    blocked.max_of_windows,
    kink=lambda x, window, geometry: blocked.count_maxima(x, window, geometry) > 1,
    x=lambda g, x, out, window, geometry: _spread_to_maxima(g, unwrap_value(x), unwrap_value(out), window, geometry),
    doc=Doc(
        "Maximum of windows of images.",
        "max over a, b of x[n, s i + a - p, s j + b - p, c]",
        x="g at the first largest element of each window, and 0 elsewhere",
        note="Elements that tie for the maximum: the first in the order of rows and columns receives the cotangent. "
        "The others receive the cotangent times 0, which is NaN if it is infinite.",
    ),
)
_spread_to_maxima = primitive(
    "spread_to_maxima",
    blocked.spread_to_maxima,
    y=lambda g, x, largest, window, geometry: _at_maxima(g, x, largest, window, geometry),
    doc=Doc(
        "Numbers placed at the maxima of windows, and added up there.",
        "y at the first largest element of each window of x, and 0 elsewhere",
        y="g at the first largest element of each window of x",
    ),
)
_at_maxima = primitive(
    "at_maxima",
    blocked.at_maxima,
    z=lambda g, x, largest, window, geometry: _spread_to_maxima(g, x, largest, window, geometry),
    doc=Doc(
        "Numbers taken from the maxima of windows.",
        "z at the first largest element of each window of x",
        z="g at the first largest element of each window of x, and 0 elsewhere",
    ),
)
_sum_pool2d = primitive(
    "sum_pool2d",
    blocked.sum_of_windows,
    x=lambda g, x_shape, window, geometry: _spread_to_windows(g, x_shape[1:3], window, geometry),
    doc=Doc(
        "Sum of windows of images.",
        "sum over a, b of x[n, s i + a - p, s j + b - p, c]",
        x="g added to every element of each window",
    ),
)
_spread_to_windows = primitive(
    "spread_to_windows",
    blocked.spread_to_windows,
    y=lambda g, window, geometry: _sum_pool2d(g, window, geometry),
    doc=Doc(
        "Numbers added to every element of windows.",
        "y added to every element of each window",
        y="sum of the windows of g",
    ),
)


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


def _geometry_of_windows(
    name: str, x: tuple[int, ...], window: Size, stride: Size | None, padding: Padding
) -> tuple[Pair, Geometry]:
    require_images(name, x)
    window = as_pair(name, "window", window)
    geometry = make_geometry(name, x, window, window if stride is None else stride, padding, 1, 1)
    refuse_much_padding(name, geometry.padding, window)
    return window, geometry
