"""The derivative table: convolutions of images, channels last.

Images have the shape ``(n, height, width, channels)``. A convolution, the gradient of its input and the gradient of its
filters are the three derivatives of one trilinear form, so the VJPs of each are the other two, and derivatives of
every order use only these three primitives.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cifar.engine.blocked import convolution as blocked
from tinygrad_cifar.engine.blocked.windows import Geometry
from tinygrad_cifar.engine.documentation import Doc
from tinygrad_cifar.engine.graph import shape_of
from tinygrad_cifar.engine.operations import TensorLike, operation
from tinygrad_cifar.engine.ops.elementwise import _as_floats, astype
from tinygrad_cifar.engine.ops.shapes import _transpose, transpose
from tinygrad_cifar.engine.ops.window_arguments import Padding, Size, as_positive, make_geometry, require_images
from tinygrad_cifar.engine.primitives import primitive

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
        wide = np.result_type(dtype, np.float32)
        return astype(_conv2d(astype(x, wide), astype(filters, wide), geometry), dtype)
    return _conv2d(x, filters, geometry)


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
    require_images("channels_last", shape_of(x))
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
    require_images("channels_first", shape_of(x))
    return transpose(x, (0, 3, 1, 2))


def _geometry_of_filters(
    x: tuple[int, ...], filters: tuple[int, ...], stride: Size, padding: Padding, dilation: Size, groups: int
) -> Geometry:
    require_images("conv2d", x)
    if len(filters) != 4 or 0 in filters[:2]:
        raise ValueError(
            f"conv2d: filters must have the shape (height, width, channels / groups, filters); it is {filters}"
        )
    groups = as_positive("conv2d", "groups", groups)
    if x[3] % groups or filters[3] % groups:
        raise ValueError(f"conv2d: groups={groups} must divide the {x[3]} channels and the {filters[3]} filters")
    if filters[2] * groups != x[3]:
        of_groups = f" / {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"conv2d: the filters are for {filters[2]} channels; the images have {x[3]}{of_groups}: images must have "
            "the shape (n, height, width, channels), as channels_last returns them"
        )
    return make_geometry("conv2d", x, (filters[0], filters[1]), stride, padding, dilation, groups)
