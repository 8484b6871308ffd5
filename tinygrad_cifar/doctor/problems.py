"""Problems: the arguments of the cost, as the user gave them, and others that are drawn like them.

A drawn problem has other values, and other sizes wherever the cost function accepts them: axes of equal size are
assumed to belong together. One-hot arrays stay one-hot, labels stay labels, masks take the values that they have, and
parameters and data are sampled from normal distributions. Drawn arrays are float64: a function that does not convert
them to another precision is then compared without its rounding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.tensor import Tensor

_FEW = 4  # distinct values of an array that is sampled from, such as a mask
_EPSILON = 1e-5  # numbers below protect a division, and stay as they are
_LARGEST = 8  # sizes above are reduced in drawn problems
_PARAMETER = re.compile(
    r"^(w|b|v|u|f|k|fs|ws|bs|gamma|beta|theta|filters?|kernels?|weights?|bias(es)?)(s?_?\d*|_.*)?$", re.IGNORECASE
)


@dataclass(frozen=True)
class Leaf:
    """An array or number among the arguments.

    Attributes
    ----------
    name : str
        Its name, such as ``W`` or ``layers[0]['W']``.
    value : object
        An array, or a number.
    is_parameter : bool
        Whether the cost is differentiated with respect to it.
    is_tensor : bool
        Whether it was given as a tensor.
    """

    name: str
    value: Any
    is_parameter: bool = False
    is_tensor: bool = False


def leaves_of(tree: Any, prefix: str = "") -> Iterator[Leaf]:
    """Return the arrays and numbers of nested mappings and sequences, with their names."""
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            name = (f"{prefix}[{key!r}]" if prefix else str(key)) if isinstance(key, str) else f"{prefix}[{key}]"
            yield from leaves_of(part, name)
    elif isinstance(tree, (list, tuple)) and any(isinstance(x, (Tensor, np.ndarray, list, tuple, dict)) for x in tree):
        for i, part in enumerate(tree):
            yield from leaves_of(part, f"{prefix}[{i}]")
    elif isinstance(tree, Tensor):
        yield Leaf(prefix, np.asarray(tree._array), is_parameter=tree.requires_grad, is_tensor=True)
    elif isinstance(tree, np.ndarray) or (isinstance(tree, (list, tuple)) and tree and _is_numeric(tree)):
        yield Leaf(prefix, np.asarray(tree))
    elif isinstance(tree, (bool, int, float, np.generic)):
        yield Leaf(prefix, tree)


def _is_numeric(tree: Sequence[Any]) -> bool:
    return all(isinstance(x, (int, float, np.generic)) for x in tree)


def replace_leaves(tree: Any, change: Callable[[str, Any], Any], prefix: str = "") -> Any:
    """Return a copy of nested mappings and sequences in which each array and number has been replaced."""
    if isinstance(tree, Mapping):
        return {
            key: replace_leaves(
                part,
                change,
                (f"{prefix}[{key!r}]" if prefix else str(key)) if isinstance(key, str) else f"{prefix}[{key}]",
            )
            for key, part in tree.items()
        }
    if isinstance(tree, (list, tuple)) and any(isinstance(x, (Tensor, np.ndarray, list, tuple, dict)) for x in tree):
        parts = [replace_leaves(part, change, f"{prefix}[{i}]") for i, part in enumerate(tree)]
        return parts if isinstance(tree, list) else tuple(parts)
    if isinstance(tree, (Tensor, np.ndarray, bool, int, float, np.generic)):
        return change(prefix, tree)
    if isinstance(tree, (list, tuple)) and tree and _is_numeric(tree):
        return change(prefix, np.asarray(tree))
    return tree


def looks_like_parameter(leaf: Leaf) -> bool:
    """Return whether an argument that is not a tensor has the name and type of a parameter."""
    root = re.split(r"[\[.]", leaf.name)[0] if "'" not in leaf.name else leaf.name.rsplit("'", 2)[1]
    return isinstance(leaf.value, np.ndarray) and leaf.value.dtype.kind == "f" and bool(_PARAMETER.match(root))


# -- drawing -----------------------------------------------------------------------------------------------------------


Axis = tuple[str, int]  # the name of an array, and the position of the axis


def draw_problem(
    problem: Mapping[str, Any], leaves: Sequence[Leaf], sizes: Mapping[Axis, int], rng: np.random.Generator
) -> Any:
    """Return a problem like another one, with new values, and with other sizes.

    Parameters
    ----------
    problem : mapping
        The arguments.
    leaves : sequence of Leaf
        Its arrays and numbers.
    sizes : mapping of Axis to int
        The new size of each axis whose size changes.
    rng : numpy.random.Generator
        Samples the values.
    """
    by_name = {leaf.name: leaf for leaf in leaves}
    classes = class_count(leaves)
    axis_of_classes = class_axis(leaves)
    if axis_of_classes is not None:
        classes = sizes.get(axis_of_classes, classes)
    else:  # integer labels: the classes are an axis of a parameter
        of_parameters = [
            (leaf.value.shape[k], n) for (name, k), n in sizes.items() if (leaf := by_name[name]).is_parameter
        ]
        classes = dict(of_parameters).get(classes, classes)

    def change(name: str, old: Any) -> Any:
        leaf = by_name[name]
        value = leaf.value
        if not isinstance(value, np.ndarray):
            return _draw_number(old, rng)
        if not value.ndim and not leaf.is_parameter:
            return np.asarray(_draw_number(value[()], rng))
        shape = tuple(sizes.get((name, k), n) for k, n in enumerate(value.shape))
        array = _draw_array(leaf, shape, rng, classes)
        if isinstance(old, Tensor):
            return Tensor(array, requires_grad=old.requires_grad, dtype=array.dtype)
        return array

    return replace_leaves(problem, change)


def is_labels(leaf: Leaf) -> bool:
    """Return whether an argument is an array of integer labels."""
    array = leaf.value
    return isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "iu" and bool(array.size)


def class_count(leaves: Sequence[Leaf]) -> int:
    """Return the number of classes: the columns of a one-hot array, or the largest label + 1; 0 if there are none."""
    for leaf in leaves:
        axis = one_hot_axis(leaf.value) if isinstance(leaf.value, np.ndarray) else None
        if axis is not None and not leaf.is_parameter:
            return int(leaf.value.shape[axis])
    for leaf in sorted(leaves, key=lambda leaf: not is_labels(leaf)):  # others may be indices
        if isinstance(leaf.value, np.ndarray) and leaf.value.dtype.kind in "iu" and leaf.value.size:
            return int(leaf.value.max()) + 1
    return 0


def one_hot_axis(array: Array) -> int | None:
    """Return the axis along which a matrix has a single 1 and otherwise 0; None if there is none."""
    if array.ndim != 2 or 0 in array.shape or not np.isin(array, (0, 1)).all():  # noqa: PLR2004 (a matrix)
        return None
    for axis in (1, 0):
        if array.shape[axis] > 1 and (array.sum(axis) == 1).all():
            return axis
    return None


def _draw_number(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, (bool, int, np.bool_, np.integer)) or not np.isfinite(value) or value == 0:
        return value
    size = abs(float(value))
    if size < _EPSILON:
        return value
    low, high = (0.05, 0.4) if size < 0.5 else (0.5, 0.9) if size < 1 else (size, 2 * size)  # noqa: PLR2004
    return type(value)(np.sign(value) * rng.uniform(low, high))


def _draw_array(leaf: Leaf, shape: tuple[int, ...], rng: np.random.Generator, classes: int) -> Array:
    old = leaf.value
    dtype = np.dtype(np.float64) if old.dtype.kind == "f" else old.dtype
    if leaf.is_parameter and not old.ndim:
        return np.asarray(rng.normal(), dtype=dtype)
    if leaf.is_parameter:
        return np.asarray(rng.normal(0, 0.7 * min(1, (10 / max(shape)) ** 0.5), shape) + _is_positive(old), dtype=dtype)
    if dtype.kind in "iu" and old.ndim == 1 and classes and old.min(initial=0) >= 0:
        return _draw_labels(rng, shape[0], classes, int(old.min(initial=classes))).astype(dtype)
    hot = _draw_one_hot(old, shape, rng)
    if hot is not None:
        return hot.astype(dtype)
    is_discrete = dtype.kind != "f" or len(np.unique(old)) <= min(_FEW, old.size // 2)
    return (_draw_discrete if is_discrete else _draw_continuous)(old, shape, rng).astype(dtype)


def _draw_one_hot(old: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array | None:
    """Return a one-hot array like another one; None if that is not one-hot."""
    axis = one_hot_axis(old)
    if axis is not None:
        rows = np.eye(shape[axis])[_draw_labels(rng, shape[1 - axis], shape[axis], 0)]
        return rows if axis == 1 else rows.T
    if old.ndim < 3 or not np.isin(old, (0, 1)).all():  # noqa: PLR2004 (others than the labels of images)
        return None
    axes = [k for k in range(old.ndim) if old.shape[k] > 1 and (old.sum(k) == 1).all()]
    if not axes:
        return None
    others = [n for k, n in enumerate(shape) if k != axes[-1]]
    return np.moveaxis(np.eye(shape[axes[-1]])[rng.integers(0, shape[axes[-1]], others)], -1, axes[-1])


def _draw_discrete(old: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    values = np.unique(old)
    drawn = np.asarray(rng.choice(old.ravel() if old.dtype.kind in "iu" else values, shape))
    if drawn.size > 1 and len(values) > 1 and len(np.unique(drawn)) == 1:
        drawn.flat[0] = values[values != drawn.flat[0]][0]  # labels of one class would show too little
    return drawn


def _draw_continuous(old: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    sample = rng.normal(0, 1, shape)
    if not (old >= 0).all():
        return sample
    positive: Array = np.abs(sample) * (np.abs(old).mean() or 1) + 0.1
    summed = [k for k in range(old.ndim) if old.shape[k] > 1 and np.allclose(old.sum(k), 1, atol=1e-6)]
    return positive / positive.sum(summed[-1], keepdims=True) if summed else positive  # probabilities


def _draw_labels(rng: np.random.Generator, count: int, classes: int, least: int) -> Array:
    """Return labels in which, if possible, each class occurs, but not the same number of times."""
    least = min(least, classes - 1)
    labels = np.concatenate([np.arange(least, classes), rng.integers(least, classes, max(count, 1))])[:count]
    return rng.permutation(labels)


def _is_positive(array: Array) -> bool:
    return bool(array.size > 1 and (array > 0).all())


def _are_weights(leaf: Leaf, count: int) -> bool:
    """Return whether an argument may be the weights of the images: one positive number for each."""
    array = leaf.value
    is_array = isinstance(array, np.ndarray) and not leaf.is_parameter and array.dtype.kind == "f"
    return bool(is_array and array.size == max(array.shape, default=0) == count and (array > 0).all())


def class_axis(leaves: Sequence[Leaf]) -> Axis | None:
    """Return the axis of the classes of a one-hot array; None if there is none."""
    for leaf in leaves:
        axis = one_hot_axis(leaf.value) if isinstance(leaf.value, np.ndarray) and not leaf.is_parameter else None
        if axis is not None:
            return leaf.name, axis
    return None


def _image_axis(leaf: Leaf) -> int | None:
    """Return the axis of the images of labels: integers, or one-hot; None for other arrays."""
    if is_labels(leaf):
        return 0
    axis = one_hot_axis(leaf.value)
    return None if axis is None else 1 - axis


def batch_candidates(leaves: Sequence[Leaf]) -> Iterator[frozenset[Axis]]:
    """Yield the sets of axes that may be that of the images: the first, or the last, of the data arrays.

    Those of labels come first: the size of another axis may also be one that the cost does not depend on.
    """
    data = [leaf for leaf in leaves if isinstance(leaf.value, np.ndarray) and leaf.value.ndim and not leaf.is_parameter]
    for leaf in data:
        axis = _image_axis(leaf)
        if axis is not None:
            yield from (
                _axes_of_size(data, position, (leaf.name, axis), leaf.value.shape[axis]) for position in (0, -1)
            )
    for position in (0, -1):
        for leaf in data:
            if (size := leaf.value.shape[position]) > 1:
                yield _axes_of_size(data, position, (leaf.name, position % leaf.value.ndim), size)


def _axes_of_size(data: Sequence[Leaf], position: int, own: Axis, size: int) -> frozenset[Axis]:
    """Return an axis with the first, or last, axes of other arrays that have the same size."""
    others = [
        (leaf.name, position % leaf.value.ndim)
        for leaf in data
        if leaf.name != own[0] and leaf.value.shape[position] == size
    ]
    return frozenset([own, *others])


def axis_groups(leaves: Sequence[Leaf], batch: frozenset[Axis]) -> list[frozenset[Axis]]:
    """Return the groups of axes of the same size, those of the images apart and first."""
    groups: dict[int, set[Axis]] = {}
    for leaf in sorted(leaves, key=lambda leaf: leaf.is_parameter):
        if isinstance(leaf.value, np.ndarray):
            for k, n in enumerate(leaf.value.shape):
                if n > 1 and (leaf.name, k) not in batch:
                    groups.setdefault(n, set()).add((leaf.name, k))
    return [*([batch] if batch else []), *map(frozenset, groups.values())]


def small_size(size: int, taken: set[int], rng: np.random.Generator) -> int:
    """Return a small size that no other axis has."""
    free = [n for n in range(3, _LARGEST + 4) if n not in taken and n != size]
    return int(rng.choice(free)) if free else size


def numbers_of(leaves: Sequence[Leaf], batch: frozenset[Axis], classes: int) -> dict[str, float]:
    """Return the sizes and scalars of a problem by name: N images, K classes, other sizes as ``W.shape[0]``.

    Sizes that are equal have a name each, since they may differ on another problem.
    """
    numbers: dict[str, float] = {}
    shapes = {leaf.name: leaf.value.shape for leaf in leaves if isinstance(leaf.value, np.ndarray)}
    if batch:
        name, k = min(batch)
        numbers["N"] = shapes[name][k]
    for leaf in leaves:
        if not isinstance(leaf.value, (np.ndarray, bool, np.bool_)):
            numbers[leaf.name] = float(leaf.value)
            if 0 < float(leaf.value) < 1:
                numbers[f"(1 - {leaf.name})"] = 1 - float(leaf.value)
    if classes:
        numbers.setdefault("K", classes)
    if batch:
        numbers["(N - 1)"] = numbers["N"] - 1
        numbers["(N + 1)"] = numbers["N"] + 1
        numbers["sqrt(N)"] = numbers["N"] ** 0.5
        for leaf in leaves:
            if _are_weights(leaf, int(numbers["N"])):
                numbers[f"sum({leaf.name})"] = float(leaf.value.sum())
    for name, shape in shapes.items():
        for axis, n in enumerate(shape):
            if n > 1:
                numbers[f"{name}.shape[{axis}]"] = n
    return numbers
