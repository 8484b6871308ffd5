"""Specifications of the primitives of images and of normalisation; references are loops over elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tinygrad_cifar.engine.blocked.windows import Geometry
from tinygrad_cifar.engine.ops import convolution, gaussian, normalization, pooling
from tinygrad_cifar.testing.cases import Array, Case, Kink, Spec, by_element
from tinygrad_cifar.testing.strategies import Fill, Shape, distinct, elementwise, moderate, seeds

# -- windows -----------------------------------------------------------------------------------------------------------
# The geometry is drawn as plain tuples, (stride, padding, dilation, groups).

Plain = tuple[Any, ...]


@st.composite
def geometries(draw: Any, *, groups: bool = True, pooling: bool = False) -> tuple[Shape, Shape, Plain]:
    """Draw the shape of images, the height and width of windows, and a geometry in which a window fits."""
    one_or_two = st.integers(1, 2)
    window = (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    stride, dilation = (draw(st.integers(1, 3)), draw(one_or_two)), (draw(one_or_two), 1)
    most = (window[0] // 2, window[1] // 2) if pooling else (2, 1)
    padding = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    group_count = draw(st.sampled_from([1, 1, 2])) if groups else 1
    dilation = (1, 1) if pooling else dilation
    image = (draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    n, channels = draw(st.sampled_from([1, 2, 2, 3, 0])), group_count * draw(one_or_two)
    geometry = (stride, padding, dilation, group_count)
    assume(min(Geometry(*geometry).output_size(image, window)) >= 1)
    return (n, *image, channels), window, geometry


def output_shape(images: Shape, window: Shape, geometry: Plain, channels: int) -> Shape:
    return (images[0], *Geometry(*geometry).output_size((images[1], images[2]), (window[0], window[1])), channels)


@st.composite
def convolutions(draw: Any, which: str) -> Case:
    """Draw two of the three operands of a convolution (images x, filters w, results y), and the shape of the third."""
    rng = np.random.default_rng(draw(seeds))
    images, window, geometry = draw(geometries())
    groups = geometry[3]
    filters = groups * draw(st.integers(1, 2))
    x = moderate(rng, images)
    w = moderate(rng, (*window, images[3] // groups, filters))
    y = moderate(rng, output_shape(images, window, geometry, filters))
    operands: dict[str, tuple[tuple[Array, ...], tuple[Any, ...]]] = {
        "y": ((x, w), ()),
        "x": ((y, w), (images[1:3],)),
        "w": ((x, y), (window,)),
    }
    arrays, sizes = operands[which]
    return Case(arrays, (*sizes, geometry))


def _terms(images: Shape, filters: Shape, results: Shape, geometry: Plain) -> Any:
    """Yield the indices (of x, of w, of y) of every term of the trilinear form."""
    (sv, sh), ((top, _), (left, _)), (dv, dh), groups = geometry
    per_group = filters[3] // groups
    for n, i, j, f in np.ndindex(results):
        for a, b, c in np.ndindex(filters[:3]):
            row, column = i * sv + a * dv - top, j * sh + b * dh - left
            if 0 <= row < images[1] and 0 <= column < images[2]:
                yield (n, row, column, f // per_group * filters[2] + c), (a, b, c, f), (n, i, j, f)


def _convolved(x: Array, w: Array, geometry: Plain) -> Array:
    out = np.zeros(output_shape(x.shape, w.shape[:2], geometry, w.shape[3]))
    for of_x, of_w, of_y in _terms(x.shape, w.shape, out.shape, geometry):
        out[of_y] += x[of_x] * w[of_w]
    return out


def _image_gradient(y: Array, w: Array, image: Shape, geometry: Plain) -> Array:
    out = np.zeros((y.shape[0], *image, w.shape[2] * geometry[3]))
    for of_x, of_w, of_y in _terms(out.shape, w.shape, y.shape, geometry):
        out[of_x] += y[of_y] * w[of_w]
    return out


def _filter_gradient(x: Array, y: Array, window: Shape, geometry: Plain) -> Array:
    out = np.zeros((*window, x.shape[3] // geometry[3], y.shape[3]))
    for of_x, of_w, of_y in _terms(x.shape, out.shape, y.shape, geometry):
        out[of_w] += x[of_x] * y[of_y]
    return out


# -- pooling -----------------------------------------------------------------------------------------------------------


@st.composite
def pools(draw: Any, fill: Fill) -> Case:
    rng = np.random.default_rng(draw(seeds))
    images, window, geometry = draw(geometries(groups=False, pooling=True))
    return Case((fill(rng, images),), (window, geometry))


@st.composite
def spreads(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    images, window, geometry = draw(geometries(groups=False, pooling=True))
    y = moderate(rng, output_shape(images, window, geometry, images[3]))
    return Case((y,), (images[1:3], window, geometry))


@st.composite
def located(draw: Any, *, at_windows: bool) -> Case:
    """Draw numbers for the windows, or for the elements, of images with distinct elements."""
    rng = np.random.default_rng(draw(seeds))
    images, window, geometry = draw(geometries(groups=False, pooling=True))
    x = distinct(rng, images)
    largest = _largest(x, window, geometry)
    return Case((moderate(rng, largest.shape if at_windows else images),), (x, largest, window, geometry))


def _elements(shape: Shape, window: Shape, geometry: Plain, at: Any) -> list[tuple[int, ...]]:
    """Return the indices of the elements of one window, in order, without the padding."""
    (sv, sh), ((top, _), (left, _)), _, _ = geometry
    n, i, j, c = at
    places = [(n, i * sv + a - top, j * sh + b - left, c) for a, b in np.ndindex(*window)]
    return [place for place in places if 0 <= place[1] < shape[1] and 0 <= place[2] < shape[2]]


def _by_window(x: Array, window: Shape, geometry: Plain, function: Any) -> Array:
    out = np.zeros(output_shape(x.shape, window, geometry, x.shape[3]))
    for at in np.ndindex(out.shape):
        out[at] = function([x[place] for place in _elements(x.shape, window, geometry, at)])
    return out


def _largest(x: Array, window: Shape, geometry: Plain) -> Array:
    return _by_window(x, window, geometry, max)


def _spread(y: Array, image: Shape, window: Shape, geometry: Plain) -> Array:
    out = np.zeros((y.shape[0], *image, y.shape[3]))
    for at in np.ndindex(y.shape):
        for place in _elements(out.shape, window, geometry, at):
            out[place] += y[at]
    return out


def _first_of_largest(x: Array, window: Shape, geometry: Plain, at: Any) -> tuple[int, ...]:
    return max(_elements(x.shape, window, geometry, at), key=lambda place: x[place])  # the first of equal ones


def _spread_to_maxima(y: Array, x: Array, largest: Array, window: Shape, geometry: Plain) -> Array:  # noqa: ARG001
    out = np.zeros(x.shape)
    for at in np.ndindex(y.shape):
        out[_first_of_largest(x, window, geometry, at)] += y[at]
    return out


def _at_maxima(z: Array, x: Array, largest: Array, window: Shape, geometry: Plain) -> Array:
    out = np.zeros(largest.shape)
    for at in np.ndindex(out.shape):
        out[at] = z[_first_of_largest(x, window, geometry, at)]
    return out


# -- normalisation -----------------------------------------------------------------------------------------------------


@st.composite
def batches(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.sampled_from([(3, 2), (2, 3), (2, 2, 3), (2, 1, 2, 2), (4, 1), (3, 0), (1, 2, 2)]))
    x = distinct(rng, shape)  # not all equal, where the derivative is large
    epsilon = draw(_epsilons(math.prod(shape[:-1])))
    return Case((x, moderate(rng, shape[-1:]), moderate(rng, shape[-1:])), (epsilon,))


def _epsilons(count: int) -> st.SearchStrategy[float]:
    """Draw an epsilon, not a small one for two numbers: they become 1 and -1, and the derivative is nearly 0."""
    return st.sampled_from([1e-5, 0.5] if count > 2 else [0.5])


def _batch_norm(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    out = np.empty(x.shape)
    for c in range(x.shape[-1]):
        numbers = x[..., c].ravel().tolist()
        average = math.fsum(numbers) / len(numbers)
        variance = math.fsum((number - average) ** 2 for number in numbers) / len(numbers)
        out[..., c] = scale[c] * (x[..., c] - average) / math.sqrt(variance + epsilon) + bias[c]
    return out


@st.composite
def layers(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.sampled_from([(2,), (3, 2), (2, 3), (2, 2, 3), (0, 2), (1, 1)]))
    return Case((distinct(rng, shape),), (draw(_epsilons(shape[-1])),))


def _layer_norm(x: Array, epsilon: float) -> Array:
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape[:-1]):
        features = x.shape[-1]
        out[at] = _batch_norm(x[at][:, None], np.ones(1), np.zeros(1), epsilon)[:, 0] if features else x[at]
    return out


# -- GELU --------------------------------------------------------------------------------------------------------------


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_tanh_vjp(g: float, x: float) -> float:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return g * (0.5 * (1 + math.tanh(inner)) + 0.5 * x * slope / math.cosh(inner) ** 2)


def _image(*rows: list[float]) -> Array:
    return np.array(rows)[None, :, :, None]


# -- the table ---------------------------------------------------------------------------------------------------------

IMAGE_SPECS: dict[str, Spec] = {
    "conv2d": Spec(
        lambda x, w, geometry: convolution._conv2d(x, w, Geometry(*geometry)),
        convolutions("y"),
        _convolved,
        affine=True,
    ),
    "conv2d_input": Spec(
        lambda y, w, image, geometry: convolution._conv2d_input(y, w, image, Geometry(*geometry)),
        convolutions("x"),
        _image_gradient,
        affine=True,
    ),
    "conv2d_filters": Spec(
        lambda x, y, window, geometry: convolution._conv2d_filters(x, y, window, Geometry(*geometry)),
        convolutions("w"),
        _filter_gradient,
        affine=True,
    ),
    "max_pool2d": Spec(
        lambda x, window, geometry: pooling._max_pool2d(x, window, Geometry(*geometry)),
        pools(distinct),
        _largest,
        analytic=False,
        kinks=(
            Kink(
                "the first of several maxima",
                Case((_image([2.0, 5.0], [5.0, 5.0]),), ((2, 2), Geometry((2, 2)))),
                np.full((1, 1, 1, 1), 3.0),
                (_image([0.0, 3.0], [0.0, 0.0]),),
            ),
        ),
    ),
    "spread_to_maxima": Spec(
        lambda y, x, largest, window, geometry: pooling._spread_to_maxima(y, x, largest, window, Geometry(*geometry)),
        located(at_windows=True),
        _spread_to_maxima,
        affine=True,
    ),
    "at_maxima": Spec(
        lambda z, x, largest, window, geometry: pooling._at_maxima(z, x, largest, window, Geometry(*geometry)),
        located(at_windows=False),
        _at_maxima,
        affine=True,
    ),
    "sum_pool2d": Spec(
        lambda x, window, geometry: pooling._sum_pool2d(x, window, Geometry(*geometry)),
        pools(moderate),
        lambda x, window, geometry: _by_window(x, window, geometry, math.fsum),
        affine=True,
    ),
    "spread_to_windows": Spec(
        lambda y, image, window, geometry: pooling._spread_to_windows(y, image, window, Geometry(*geometry)),
        spreads(),
        _spread,
        affine=True,
    ),
    "batch_norm": Spec(normalization._batch_norm, batches(), _batch_norm),
    "layer_norm": Spec(normalization._layer_norm, layers(), _layer_norm),
    "erf": Spec(gaussian.erf, elementwise(moderate), by_element(math.erf), analytic=False),
    "erfc": Spec(gaussian.erfc, elementwise(moderate), by_element(math.erfc), analytic=False),
    "gelu_tanh": Spec(gaussian._gelu_tanh, elementwise(moderate), by_element(_gelu_tanh)),
    "gelu_tanh_vjp": Spec(gaussian._gelu_tanh_vjp, elementwise(moderate, moderate), by_element(_gelu_tanh_vjp)),
}
