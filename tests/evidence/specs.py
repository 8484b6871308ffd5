"""One specification for each primitive: how to draw its inputs, its reference values, and its kinks.

References are computed without the operation, element by element where that is possible. Those of images and of
normalisation are in :mod:`tests.evidence.image_specs`, those of inverses in :mod:`tests.evidence.inverse_specs`.
"""

from __future__ import annotations

import itertools
import math
import operator
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tinygrad_cifar as tg
from tests.evidence.builders import binary, kink, unary
from tests.evidence.image_specs import IMAGE_SPECS
from tests.evidence.inverse_specs import INVERSE_SPECS
from tinygrad_cifar.engine.ops.exponential import _power_log
from tinygrad_cifar.engine.ops.indexing import _scatter, _scatter_all
from tinygrad_cifar.engine.ops.losses import _cross_entropy as cross_entropy
from tinygrad_cifar.engine.ops.piecewise import _step
from tinygrad_cifar.engine.ops.trigonometric import _sech2
from tinygrad_cifar.testing.cases import Array, Case, Kink, Spec, by_element
from tinygrad_cifar.testing.strategies import (
    Fill,
    Shape,
    between,
    broadcastable,
    distinct,
    either_side,
    elementwise,
    moderate,
    mostly,
    off_integers,
    on_grid,
    seeds,
    shapes,
)

# -- powers, bounds, conditions, types ---------------------------------------------------------------------------------


def powers() -> st.SearchStrategy[Case]:
    integral = elementwise(either_side(0.4, 2), parameters=st.sampled_from([(0,), (1,), (2,), (3,), (-1,), (-2.0,)]))
    fractional = elementwise(between(0.3, 3), parameters=st.sampled_from([(0.5,), (-1.5,)]))
    both = elementwise(between(0.3, 3), moderate)
    to_integers = elementwise(
        between(0.3, 3), lambda rng, shape: rng.integers(-2, 3, shape).astype(float)
    )  # including 0
    return st.one_of(both, both, to_integers, integral, fractional)


@st.composite
def clips(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    low, high = map(np.asarray, np.sort(rng.integers(-4, 4, (2, *shape)) / 2, axis=0))
    bounds = [(-1.0, 1.5), (None, 0.5), (-0.5, None), (-1, 1), (low, high), (None, high)]
    return Case((on_grid(0.25)(rng, shape),), draw(st.sampled_from(bounds)))


@st.composite
def wheres(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    condition, x, y = draw(broadcastable(3))
    condition = rng.random(condition) < 0.5
    if draw(mostly):
        return Case((moderate(rng, x), moderate(rng, y)), (condition,))
    return Case((moderate(rng, x),), (1.5, condition))


# -- reductions ------------------------------------------------------------------------------------------------------


@st.composite
def reductions(draw: Any, fill: Fill, *, of_nothing: bool = True) -> Case:
    """Draw an axis in each of its forms; ``of_nothing`` is whether reductions of no elements are allowed."""
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    every = npst.valid_tuple_axes(len(shape), min_size=0)
    one = st.integers(-len(shape), len(shape) - 1) if shape else st.none()
    axis = draw(st.one_of(one, one.map(lambda axis: axis), every, st.none()))
    if not of_nothing:
        assume(all(shape[i] for i in _axes(axis, len(shape))))
    return Case((fill(rng, shape),), (axis, draw(st.booleans())))


def _axes(axis: Any, ndim: int) -> list[int]:
    if axis is None:
        return list(range(ndim))
    return [i % ndim for i in ((axis,) if isinstance(axis, int) else axis)]


def reduced(function: Callable[[list[float]], float]) -> Callable[..., Array]:
    """Return a function of a list of numbers as a reduction of arrays."""

    def reference(x: Array, axis: Any, keepdims: bool) -> Array:
        axes = _axes(axis, x.ndim)
        kept = [i for i in range(x.ndim) if i not in axes]
        moved = x.transpose(kept + axes)
        out = np.empty([x.shape[i] for i in kept])
        for at in np.ndindex(out.shape):
            out[at] = function(moved[at].ravel().tolist())
        return np.expand_dims(out, tuple(axes)) if keepdims else out

    return reference


def reduction(
    call: Callable[..., Any], function: Callable[[list[float]], float], fill: Fill, *kinks: Kink, **options: Any
) -> Spec:
    analytic, affine = options.pop("analytic", True), options.pop("affine", False)
    return Spec(call, reductions(fill, **options), reduced(function), analytic=analytic, affine=affine, kinks=kinks)


def _log_of_sum(numbers: list[float]) -> float:
    return math.log(math.fsum(map(math.exp, numbers)))


@st.composite
def cumulations(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes(min_dims=1))
    return Case((moderate(rng, shape),), (draw(st.integers(-len(shape), len(shape) - 1)),))


def _cumulated(x: Array, axis: int) -> Array:
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        before = list(at)
        before[axis] = slice(at[axis] + 1)
        out[at] = math.fsum(x[tuple(before)].tolist())
    return out


@st.composite
def softmaxes(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    assume(shape[axis])
    return Case((moderate(rng, shape),), (axis,))


def _softmax(x: Array, axis: int) -> Array:
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        line = list(at)
        line[axis] = slice(None)
        out[at] = math.exp(x[at] - _log_of_sum(x[tuple(line)].tolist()))
    return out


@st.composite
def classifications(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    batch, classes = draw(st.sampled_from([(2, 3), (3, 2), (4, 4), (1, 3), (1, 1)]))
    smoothing = draw(st.sampled_from([0.0, 0.0, 0.2]))
    return Case((moderate(rng, (batch, classes)),), (rng.integers(0, classes, batch), smoothing))


def _cross_entropy(scores: Array, labels: Array, smoothing: float) -> Any:
    terms = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        for i, score in enumerate(row):
            terms.append((_log_of_sum(row) - score) * ((1 - smoothing) * (i == label) + smoothing / len(row)))
    return math.fsum(terms) / len(labels)


# -- products --------------------------------------------------------------------------------------------------------


@st.composite
def products(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    sides = draw(st.sampled_from([(2, 3), (2, 3), (0, 2)]))
    drawn = npst.mutually_broadcastable_shapes(
        signature=np.matmul.signature, max_dims=3, min_side=sides[0], max_side=sides[1]
    )
    return Case(tuple(moderate(rng, shape) for shape in draw(drawn).input_shapes))


def _product(x: Array, y: Array) -> Array:
    rows = x if x.ndim > 1 else x[None, :]
    columns = y if y.ndim > 1 else y[:, None]
    out = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    out = out if y.ndim > 1 else out[..., 0]
    return out if x.ndim > 1 else (out[..., 0, :] if y.ndim > 1 else out[..., 0])


# As a user writes them, and in explicit form.
SUBSCRIPTS = {
    "ij,jk->ik": "ij,jk->ik",
    "ij,jk": "ij,jk->ik",
    "ij , jk -> ki": "ij,jk->ki",
    "i,i->": "i,i->",
    "i,j->ij": "i,j->ij",
    "ij->ji": "ij->ji",
    "ji": "ji->ij",
    "ij->j": "ij->j",
    "i->": "i->",
    "->": "->",
    ",i->i": ",i->i",
    "ii->": "ii->",
    "ii->i": "ii->i",
    "ii,i->i": "ii,i->i",
    "iij->j": "iij->j",
    "ij,i->": "ij,i->",
    "ij,k->ik": "ij,k->ik",
    "ij,ij->ij": "ij,ij->ij",
    "bij,bjk->bik": "bij,bjk->bik",
    "ij,jk,ki->": "ij,jk,ki->",
    "i,ij,j->": "i,ij,j->",
    "...ij->...ji": "abij->abji",
    "...i,i->...": "abi,i->ab",
    "...i,...i": "abi,abi->ab",
    "i...,j...->...ij": "ia,ja->aij",
}


@st.composite
def contractions(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    subscripts = draw(st.sampled_from(sorted(SUBSCRIPTS)))
    terms = SUBSCRIPTS[subscripts].split("->")[0].split(",")
    labels = sorted(set("".join(terms)))
    side = st.sampled_from([2, 3, 2, 3, 2, 3, 1, 0])
    sizes = {label: draw(side) for label in labels}
    return Case(tuple(moderate(rng, tuple(sizes[label] for label in term)) for term in terms), (subscripts,))


def _contracted(*arguments: Any) -> Array:
    *xs, subscripts = arguments
    left, right = SUBSCRIPTS[subscripts].split("->")
    terms = left.split(",")
    sizes = {label: size for term, x in zip(terms, xs, strict=True) for label, size in zip(term, x.shape, strict=True)}
    out = np.zeros([sizes[label] for label in right])
    for place in itertools.product(*[range(size) for size in sizes.values()]):
        at = dict(zip(sizes, place, strict=True))
        factors = [float(x[tuple(at[label] for label in term)]) for term, x in zip(terms, xs, strict=True)]
        out[tuple(at[label] for label in right)] += math.prod(factors)
    return out


# -- shapes ----------------------------------------------------------------------------------------------------------


@st.composite
def reshapes(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    size = math.prod(shape)
    targets = [shape[::-1], (1, *shape), (*shape, 1), (size,), size, (-1,), -1, (*shape[::-1], -1) if size else (0,)]
    return Case((moderate(rng, shape),), (draw(st.sampled_from(targets)),))


def _reshaped(x: Array, shape: Any) -> Array:
    shape = [shape] if isinstance(shape, int) else list(shape)
    known = math.prod(size for size in shape if size != -1)
    shape = [x.size // known if size == -1 else size for size in shape]
    out = np.empty(shape)
    for at, number in zip(np.ndindex(*shape), x.ravel().tolist(), strict=True):
        out[at] = number
    return out


@st.composite
def permutations(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    order = draw(st.permutations(range(len(shape))))
    signed = tuple(draw(st.sampled_from([i, i - len(shape)])) for i in order)
    return Case((moderate(rng, shape),), (draw(st.sampled_from([signed, signed, list(signed), None])),))


def _permuted(x: Array, axes: Sequence[int] | None) -> Array:
    axes = range(x.ndim)[::-1] if axes is None else [axis % x.ndim for axis in axes]
    out = np.empty([x.shape[axis] for axis in axes])
    for at in np.ndindex(x.shape):
        out[tuple(at[axis] for axis in axes)] = x[at]
    return out


@st.composite
def stretched(draw: Any, *, narrow: bool) -> Case:
    """Draw a shape and one that it broadcasts to; the array has the smaller shape if ``narrow``."""
    rng = np.random.default_rng(draw(seeds))
    wide = draw(shapes(max_dims=3))
    flattened = tuple(1 if draw(st.booleans()) else size for size in wide)
    small = flattened[draw(st.integers(0, len(wide))) :]
    return Case((moderate(rng, small if narrow else wide),), (wide if narrow else small,))


def _repeated(x: Array, shape: Shape) -> Array:
    out = np.empty(shape)
    for at in np.ndindex(shape):
        place = at[len(shape) - x.ndim :]
        out[at] = x[tuple(0 if size == 1 else i for i, size in zip(place, x.shape, strict=True))]
    return out


def _collected(x: Array, shape: Shape) -> Array:
    out = np.zeros(shape)
    for at in np.ndindex(x.shape):
        place = at[x.ndim - len(shape) :]
        out[tuple(0 if size == 1 else i for i, size in zip(place, shape, strict=True))] += x[at]
    return out


@st.composite
def flips(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    one = st.integers(-len(shape), len(shape) - 1) if shape else st.none()
    axis = draw(st.one_of(one, npst.valid_tuple_axes(len(shape), min_size=0), st.none()))
    return Case((moderate(rng, shape),), (axis,))


def _flipped(x: Array, axis: Any) -> Array:
    axes = _axes(axis, x.ndim)
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        out[tuple(x.shape[i] - 1 - place if i in axes else place for i, place in enumerate(at))] = x[at]
    return out


@st.composite
def pads(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    width = st.integers(0, 2)
    each = st.tuples(*[st.tuples(width, width) for _ in shape]) if shape else width
    widths = draw(st.one_of(each, each.map(lambda widths: widths), width, st.tuples(width, width)))
    return Case((moderate(rng, shape),), (widths, draw(st.sampled_from([0.0, 1.5]))))


@st.composite
def joins(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = [[*shape] for _ in sizes]
    for part, size in zip(parts, sizes, strict=True):
        part[axis] = size
    return Case(tuple(moderate(rng, tuple(part)) for part in parts), (axis,))


def _joined(*arguments: Any) -> Array:
    *xs, axis = arguments
    lines = [line for x in xs for line in np.moveaxis(x, axis, 0)]
    shape = list(xs[0].shape)
    shape[axis] = len(lines)
    out = np.empty(shape)
    for i, line in enumerate(lines):
        np.moveaxis(out, axis, 0)[i] = line
    return out


@st.composite
def stacks(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return Case(tuple(moderate(rng, shape) for _ in range(draw(st.integers(1, 3)))), (axis,))


def _stacked(*arguments: Any) -> Array:
    *xs, axis = arguments
    out = np.empty((len(xs), *xs[0].shape))
    for i, x in enumerate(xs):
        out[i] = x
    return np.moveaxis(out, 0, axis)


# -- indexing --------------------------------------------------------------------------------------------------------


@st.composite
def indices(draw: Any, shape: Shape) -> Any:
    """Draw an index: slices, integers, None and an ellipsis; arrays of integers with repeats; a mask; a mixture."""
    kinds = ["basic", "basic", "mask"]
    if shape and all(shape):
        kinds += ["integers", "integers", "list", "mixed", "table"]
    kind = draw(st.sampled_from(kinds))
    if kind == "basic":
        return draw(npst.basic_indices(shape, allow_newaxis=True, max_dims=4))
    if kind == "mask":
        rng = np.random.default_rng(draw(seeds))
        return rng.random(shape[: draw(st.integers(0, len(shape)))]) < 0.6
    if kind == "table":  # more indices than elements, so that some repeat, in any order
        return np.random.default_rng(draw(seeds)).integers(-shape[0], shape[0], (2, shape[0]))
    first = st.integers(-shape[0], shape[0] - 1)
    if kind == "list":
        return draw(st.lists(first, min_size=1, max_size=4))
    rows = np.array(draw(st.lists(first, min_size=1, max_size=4)))
    if kind == "mixed":
        return (rows, draw(st.sampled_from([..., slice(None, None, -1), None]))) if len(shape) > 1 else rows
    return draw(npst.integer_array_indices(shape, result_shape=npst.array_shapes(max_dims=2, max_side=3)))


@st.composite
def choices(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    return Case((moderate(rng, shape),), (draw(indices(shape)),))


def _flat_indices(shape: Shape, index: Any) -> Array:
    """Return the flat index of each selected element."""
    return np.asarray(np.arange(math.prod(shape)).reshape(shape)[index])


def _chosen(x: Array, index: Any) -> Array:
    numbers = x.ravel().tolist()
    places = _flat_indices(x.shape, index)
    return np.array([numbers[i] for i in places.ravel()], dtype=float).reshape(places.shape)


@st.composite
def scatters(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    index = draw(indices(shape))
    index = np.array(index) if isinstance(index, list) else index
    return Case((moderate(rng, _flat_indices(shape, index).shape),), (index, shape))


def _scattered(x: Array, index: Any, shape: Shape) -> Array:
    out = [0.0] * math.prod(shape)
    for position, number in zip(_flat_indices(shape, index).ravel(), x.ravel().tolist(), strict=True):
        out[position] += number
    return np.array(out).reshape(shape)


@st.composite
def scatters_of_parts(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    chosen = draw(st.lists(st.one_of(st.just(...), indices(shape)), min_size=1, max_size=3))
    chosen = [np.array(index) if isinstance(index, list) else index for index in chosen]
    parts = [moderate(rng, _flat_indices(shape, index).shape) for index in chosen]
    return Case(tuple(parts), (tuple(chosen), shape))


def _scattered_parts(*arguments: Any) -> Array:
    *xs, chosen, shape = arguments
    return sum((_scattered(x, index, shape) for x, index in zip(xs, chosen, strict=True)), np.zeros(shape))


@st.composite
def updates(draw: Any) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(shapes())
    index = draw(indices(shape))
    target = _flat_indices(shape, index).shape
    flat = tuple(1 if draw(st.booleans()) else size for size in target)
    values = [target, target, target, flat, flat[draw(st.integers(0, len(flat))) :], ()]
    if target and not isinstance(index, (np.ndarray, np.bool_)):  # NumPy accepts extra axes for some indices only
        values.append((1, *target))
    value = moderate(rng, draw(st.sampled_from(values)))
    if draw(mostly):
        return Case((moderate(rng, shape), value), (index,))
    return Case((moderate(rng, shape),), (0.5, index))


def _updated(x: Array, value: Any, index: Any) -> Array:
    out = x.ravel().tolist()
    places = _flat_indices(x.shape, index)
    value = np.asarray(value)
    value = value.reshape(value.shape[max(value.ndim - places.ndim, 0) :])
    for place, number in zip(places.ravel(), np.broadcast_to(value, places.shape).ravel().tolist(), strict=True):
        out[place] = number
    return np.array(out).reshape(x.shape)


# -- the table -------------------------------------------------------------------------------------------------------

NOT_ELEMENTWISE = ("matmul", "solve", "index_update")  # although they broadcast

SPECS: dict[str, Spec] = {
    "add": binary(tg.add, operator.add, moderate, moderate, affine=True),
    "subtract": binary(tg.subtract, operator.sub, moderate, moderate, affine=True),
    "multiply": binary(tg.multiply, operator.mul, moderate, moderate, affine=True),
    "divide": binary(tg.divide, operator.truediv, moderate, either_side(0.4, 2)),
    "negative": unary(tg.negative, operator.neg, moderate, affine=True),
    "square": unary(tg.square, lambda x: x * x, moderate),
    "sqrt": unary(tg.sqrt, math.sqrt, between(0.3, 4)),
    "power": Spec(
        tg.power,
        powers(),
        by_element(operator.pow),
        kinks=(
            kink("0 ** 0 does not change with its base", [[0.0]], [[0.0]], 0, cotangent=[3.0]),
            kink("x ** 1 at 0", [[0.0]], [[3.0]], 1, cotangent=[3.0]),
            kink("x ** 2 at 0", [[0.0]], [[0.0]], 2, cotangent=[3.0]),
            kink("0 ** y does not change with its exponent", [[0.0], [2.0]], [[0.0], [0.0]], cotangent=[3.0]),
            kink("NaN ** 0 does not change with its base", [[np.nan]], [[0.0]], 0, cotangent=[3.0]),
        ),
    ),
    "cbrt": unary(tg.cbrt, lambda x: math.copysign(abs(x) ** (1 / 3), x), either_side(0.3, 4), analytic=False),
    "hypot": binary(
        tg.hypot,
        math.hypot,
        either_side(0.3, 2),
        either_side(0.3, 2),
        kink("hypot of two zeros", [[0.0], [0.0]], [[0.0], [0.0]], cotangent=[3.0]),
        analytic=False,
    ),
    "exp2": unary(tg.exp2, lambda x: 2**x, moderate),
    "log2": unary(tg.log2, math.log2, between(0.3, 4)),
    "log10": unary(tg.log10, math.log10, between(0.3, 4)),
    "logaddexp": binary(
        tg.logaddexp,
        lambda x, y: math.log(math.exp(x) + math.exp(y)),
        moderate,
        moderate,
        kink("logaddexp of -inf twice", [[-math.inf], [-math.inf]], [[1.5], [1.5]], cotangent=[3.0]),
        kink("logaddexp of -inf and a number", [[-math.inf], [2.0]], [[0.0], [3.0]], cotangent=[3.0]),
        analytic=False,
    ),
    "power_log": Spec(
        _power_log,
        elementwise(between(0.3, 3), moderate),
        by_element(lambda x, y: x**y * math.log(x)),
        kinks=(kink("x ** y * log(x) at 0", [[0.0], [1.0]], [[3.0], [0.0]], cotangent=[3.0]),),
    ),
    "exp": unary(tg.exp, math.exp, moderate),
    "expm1": unary(tg.expm1, math.expm1, moderate),
    "log": unary(tg.log, math.log, between(0.3, 4)),
    "log1p": unary(tg.log1p, math.log1p, between(-0.7, 3)),
    "sin": unary(tg.sin, math.sin, moderate),
    "cos": unary(tg.cos, math.cos, moderate),
    "tan": unary(tg.tan, math.tan, between(-1.2, 1.2)),
    "arcsin": unary(tg.arcsin, math.asin, between(-0.9, 0.9)),
    "arccos": unary(tg.arccos, math.acos, between(-0.9, 0.9)),
    "arctan2": binary(
        tg.arctan2,
        math.atan2,
        either_side(0.3, 2),
        either_side(0.3, 2),
        kink("the angle of the origin", [[0.0], [0.0]], [[0.0], [0.0]], cotangent=[3.0]),
        analytic=False,
    ),
    "arcsinh": unary(tg.arcsinh, math.asinh, moderate),
    "arccosh": unary(tg.arccosh, math.acosh, between(1.3, 3)),
    "arctanh": unary(tg.arctanh, math.atanh, between(-0.8, 0.8)),
    "arctan": unary(tg.arctan, math.atan, moderate),
    "sinh": unary(tg.sinh, math.sinh, moderate),
    "cosh": unary(tg.cosh, math.cosh, moderate),
    "tanh": unary(tg.tanh, math.tanh, moderate),
    "sech2": unary(_sech2, lambda x: 1 - math.tanh(x) ** 2, moderate),
    "sigmoid": unary(tg.sigmoid, lambda x: 1 / (1 + math.exp(-x)), moderate),
    "softplus": unary(tg.softplus, lambda x: math.log(1 + math.exp(x)), moderate),
    "sign": unary(
        tg.sign,
        lambda x: math.copysign(1, x),
        either_side(0.2, 2),
        analytic=False,
    ),
    "step": Spec(
        _step,
        elementwise(
            off_integers, parameters=st.sampled_from([(None, np.floor), (None, np.ceil), (2.0, np.floor_divide)])
        ),
        lambda x, y, function: by_element(
            {np.floor: math.floor, np.ceil: math.ceil, np.floor_divide: lambda x: x // y}[function]
        )(x),
        analytic=False,
    ),
    "remainder": binary(
        tg.remainder,
        operator.mod,
        off_integers,
        lambda rng, shape: rng.choice([-1.0, 1.0], shape),
        kink("the remainder of a multiple", [[6.0], [2.0]], [[3.0], [-9.0]], cotangent=[3.0]),
        analytic=False,
    ),
    "absolute": unary(
        tg.absolute,
        abs,
        either_side(0.2, 2),
        kink("absolute at 0", [[0.0, -0.0]], [[0.0, 0.0]], cotangent=[3.0, 5.0]),
        analytic=False,
    ),
    "relu": unary(
        tg.relu,
        lambda x: max(x, 0.0),
        either_side(0.2, 2),
        kink("relu at 0", [[0.0, -0.0]], [[0.0, 0.0]], cotangent=[3.0, 5.0]),
        analytic=False,
    ),
    "maximum": binary(
        tg.maximum,
        max,
        on_grid(0),
        on_grid(0.25),
        kink("a tie of maximum", [[1.0], [1.0]], [[1.5], [1.5]], cotangent=[3.0]),
        kink("a tie of maximum with a number", [[1.0]], [[1.5]], 1.0, cotangent=[3.0]),
        analytic=False,
    ),
    "minimum": binary(
        tg.minimum,
        min,
        on_grid(0),
        on_grid(0.25),
        kink("a tie of minimum", [[1.0], [1.0]], [[1.5], [1.5]], cotangent=[3.0]),
        kink("a tie of minimum with a number", [[1.0]], [[1.5]], 1.0, cotangent=[3.0]),
        analytic=False,
    ),
    "clip": Spec(
        tg.clip,
        clips(),
        lambda x, low, high: by_element(lambda x, low, high: min(max(x, low), high))(
            x, -math.inf if low is None else low, math.inf if high is None else high
        ),
        analytic=False,
        kinks=(kink("clip at its ends", [[-1.0, 2.0]], [[3.0, 5.0]], -1, 2, cotangent=[3.0, 5.0]),),
    ),
    "where": Spec(
        lambda x, y, condition: tg.where(condition, x, y),
        wheres(),
        lambda x, y, condition: by_element(lambda c, x, y: x if c else y)(condition, x, y),
        affine=True,
    ),
    "astype": Spec(
        tg.astype,
        elementwise(moderate, parameters=st.just((np.float64,))),
        lambda x, dtype: np.array(x.tolist(), dtype=dtype).reshape(x.shape),
        analytic=False,
        keeps_dtype=False,
        affine=True,
    ),
    "sum": reduction(tg.sum, math.fsum, moderate, affine=True),
    "max": reduction(
        tg.max,
        max,
        distinct,
        kink("a tie of max", [[2.0, 1.0, 2.0, 2.0]], [[1.0, 0.0, 1.0, 1.0]], cotangent=3.0),
        kink("a tie of max in rows", [[[2.0, 2.0], [1.0, 0.0]]], [[[1.5, 1.5], [5.0, 0.0]]], 1, cotangent=[3.0, 5.0]),
        analytic=False,
        of_nothing=False,
    ),
    "min": reduction(
        tg.min,
        min,
        distinct,
        kink("a tie of min", [[2.0, 3.0, 2.0, 2.0]], [[1.0, 0.0, 1.0, 1.0]], cotangent=3.0),
        kink("a tie of min in rows", [[[2.0, 2.0], [1.0, 0.0]]], [[[1.5, 1.5], [0.0, 5.0]]], 1, cotangent=[3.0, 5.0]),
        analytic=False,
        of_nothing=False,
    ),
    "prod": reduction(
        tg.prod,
        math.prod,
        either_side(0.5, 1.8),
        kink("one zero in a product", [[2.0, 0.0, 5.0]], [[0.0, 30.0, 0.0]], cotangent=3.0),
        kink("two zeros in a product", [[2.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]], cotangent=3.0),
    ),
    "logsumexp": reduction(tg.logsumexp, _log_of_sum, moderate, of_nothing=False),
    "norm": reduction(
        tg.norm,
        lambda numbers: math.hypot(*numbers),
        either_side(0.3, 2),
        kink("the norm of 0", [[0.0, 0.0]], [[0.0, 0.0]], cotangent=3.0),
    ),
    "softmax": Spec(tg.softmax, softmaxes(), _softmax),
    "var": reduction(
        lambda x, axis, keepdims: tg.var(x, axis, keepdims=keepdims), statistics.pvariance, moderate, of_nothing=False
    ),
    "cross_entropy": Spec(cross_entropy, classifications(), _cross_entropy),
    "cumsum": Spec(tg.cumsum, cumulations(), _cumulated, affine=True),
    "matmul": Spec(tg.matmul, products(), _product, affine=True),
    "einsum": Spec(
        lambda *arguments: tg.einsum(arguments[-1], *arguments[:-1]), contractions(), _contracted, affine=True
    ),
    "reshape": Spec(tg.reshape, reshapes(), _reshaped, affine=True),
    "transpose": Spec(tg.transpose, permutations(), _permuted, affine=True),
    "broadcast_to": Spec(tg.broadcast_to, stretched(narrow=True), _repeated, affine=True),
    "sum_to": Spec(tg.sum_to, stretched(narrow=False), _collected, affine=True),
    "flip": Spec(tg.flip, flips(), _flipped, affine=True),
    "pad": Spec(
        lambda x, widths, value: tg.pad(x, widths, constant_values=value),
        pads(),
        lambda x, widths, value: np.pad(x, widths, constant_values=value) if x.ndim else x,
        affine=True,
    ),
    "concatenate": Spec(
        lambda *arguments: tg.concatenate(arguments[:-1], arguments[-1]), joins(), _joined, affine=True
    ),
    "stack": Spec(lambda *arguments: tg.stack(arguments[:-1], arguments[-1]), stacks(), _stacked, affine=True),
    "getitem": Spec(tg.getitem, choices(), _chosen, affine=True),
    "scatter": Spec(_scatter, scatters(), _scattered, affine=True),
    "scatter_all": Spec(
        lambda *arguments: _scatter_all(arguments[:-2], *arguments[-2:]),
        scatters_of_parts(),
        _scattered_parts,
        affine=True,
    ),
    "index_update": Spec(
        lambda x, value, index: tg.index_update(x, index, value),
        updates(),
        _updated,
        kinks=(
            kink(
                "the last of several values written to one index stays",
                [[1.0, 2.0], [7.0, 8.0, 9.0]],
                [[0.0, 0.0], [0.0, 3.0, 5.0]],
                [1, 0, 1],
                cotangent=[3.0, 5.0],
            ),
        ),
        affine=True,
    ),
    **IMAGE_SPECS,
    **INVERSE_SPECS,
}
