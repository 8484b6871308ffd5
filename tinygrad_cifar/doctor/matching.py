"""The gradients of the user in the order and shapes of the parameters, whatever container they are returned in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.engine.graph import Array, Value


class CountError(DiagnosisError):
    """There is not one gradient for each parameter."""


_DECORATION = re.compile(
    r"^(d_?j_?d_?|grad(ients?)?_?(of_)?|d_?j_?|d_|d(?=[A-Zbgfwux]))|(_?grads?|_gradients?)$", re.IGNORECASE
)


def collect_gradients(given: Any, parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Return one gradient per parameter.

    Parameters
    ----------
    given : object
        An array, a sequence in the order of the parameters, or a mapping by name; nested like the parameters.
    parameters : mapping of str to tuple
        The shape of each parameter.

    Raises
    ------
    DiagnosisError
        If the number of gradients or a name is wrong, or a gradient is not an array of finite numbers.
    """
    flat = list(_flatten(given, ""))
    names = list(parameters)
    if any(part is None for _, part in flat):
        flat = [(key, part) for key, part in flat if part is not None]
    if not flat or given is None:
        raise DiagnosisError(
            f"gradients: none were returned; got {given!r:.40}, and one for each of {', '.join(names)} is needed"
        )
    in_order = len(flat) == len(names)
    arrays = [
        (key, as_gradient(_name(key, names[k] if in_order else "", k), part)) for k, (key, part) in enumerate(flat)
    ]
    by_name = _by_name([key for key, _ in arrays], names)
    if by_name is not None:
        missing = [name for name in names if name not in by_name]
        if missing:
            raise CountError(
                f"gradients: no gradient for {', '.join(missing)}; got {', '.join(key for key, _ in arrays)}"
            )
        return {name: arrays[by_name[name]][1] for name in names}
    if len(arrays) != len(names):
        raise CountError(
            f"gradients: must be {len(names)}, one for each of {', '.join(names)}; got {len(arrays)} "
            f"of the shapes {', '.join(str(a.shape) for _, a in arrays) or 'none'}"
        )
    return dict(zip(names, [a for _, a in arrays], strict=True))


def have_names(given: Any, parameters: Iterable[str]) -> bool:
    """Return whether gradients are given by the names of the parameters."""
    return _by_name([key for key, part in _flatten(given, "") if part is not None], list(parameters)) is not None


def find_others(given: Any, parameters: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the arguments that are not parameters, and of which gradients are given by name all the same."""
    keys = [key for key, part in _flatten(given, "") if part is not None]
    used = set((_by_name(keys, list(parameters)) or {}).values())
    left = [key for k, key in enumerate(keys) if k not in used]
    return [name for name in others if _by_name(left, [name]) is not None]


def _name(key: str, parameter: str, k: int) -> str:
    """Return how error messages name a gradient: by its key, or else by the parameter in its place."""
    return key if key and key[0] != "[" else f"the gradient of {parameter}" if parameter else f"number {k + 1}"


def as_gradient(name: str, part: Any) -> Array:
    """Return a gradient as an array; raise an error unless it consists of finite real numbers."""
    array = np.asarray(part._array if isinstance(part, Value) else part)
    if array.dtype.kind not in "fiub":
        raise DiagnosisError(f"gradients: {name} must be an array of real numbers; got {type(part).__name__}")
    if not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        kind = "NaN" if np.isnan(array).any() else "infinite"
        raise DiagnosisError(f"gradients: {name} is {kind} in {np.count_nonzero(bad)} of {array.size} elements")
    return array


def _flatten(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        return [
            item for key, part in tree.items() for item in _flatten(part, f"{prefix}[{key!r}]" if prefix else str(key))
        ]
    if isinstance(tree, (list, tuple)) and not (tree and all(isinstance(x, (int, float)) for x in tree) and prefix):
        fields = getattr(tree, "_fields", None)
        keys = fields or [f"{prefix}[{i}]" for i in range(len(tree))]
        return [item for key, part in zip(keys, tree, strict=True) for item in _flatten(part, key)]
    return [(prefix, tree)]


def plain_name(name: str) -> str:
    """Return the name of a gradient without the letters that say that it is one: ``dW1`` and ``grad_W1`` are ``w1``."""
    plain = name
    for _ in range(2):
        plain = _DECORATION.sub("", plain)
    return re.sub(r"[^a-z0-9]", "", plain.lower()) or name.lower()


def _by_name(keys: Sequence[str], names: Sequence[str]) -> dict[str, int] | None:
    """Return the position of each parameter's gradient by names, if they have names that match most parameters."""
    if not keys or any(not re.match(r"[A-Za-z_]", key) for key in keys):
        return None
    found: dict[str, int] = {}
    plain = [_without_decoration(key) for key in keys]
    for name in names:
        same = [k for k, key in enumerate(keys) if name == key]
        if len(same) == 1:
            found[name] = same[0]
            continue
        for wanted in ({re.sub(r"[^a-z0-9]", "", name.lower())}, _without_decoration(name)):
            hits = [k for k, forms in enumerate(plain) if wanted & forms]
            if len(hits) == 1:
                found[name] = hits[0]
                break
    return found if len(found) * 2 >= len(names) and found else None


def _without_decoration(key: str) -> set[str]:
    parts = re.findall(r"[A-Za-z_]\w*|\d+", key)
    forms = {re.sub(r"[^a-z0-9]", "", key.lower()), plain_name(key)}
    forms.add("".join(plain_name(part) if part[0].isalpha() else part for part in parts))
    forms.add("".join(re.sub(r"(?<=.)s$", "", plain_name(part)) if part[0].isalpha() else part for part in parts))
    if any(part[0].isalpha() for part in parts[1:]):
        forms.add("".join(plain_name(part) if part[0].isalpha() else part for part in parts[1:]))
    return forms


def fit_shape(array: Array, shape: tuple[int, ...]) -> Array:
    """Return a gradient in the shape of its parameter if they differ by axes of size 1 only."""
    if [n for n in array.shape if n != 1] == [n for n in shape if n != 1]:
        return array.reshape(shape)
    return array


def find_order(given: Mapping[str, Array], right: Mapping[str, Array], matches: Any) -> dict[str, str] | None:
    """Return, for each parameter, whose place its gradient has, if the gradients are in another order.

    Parameters
    ----------
    given, right : mapping of str to ndarray
        The gradients as they were assigned, and the right ones.
    matches : callable
        ``matches(a, b)`` says whether two gradients agree.
    """
    names = list(right)
    shapes = {name: right[name].shape for name in names}
    fits = {a: [b for b in names if fit_shape(given[b], shapes[a]).shape == shapes[a]] for a in names}
    if all(name in fits[name] for name in names):  # the shapes are right, so only the values can say
        equal = {a: [b for b in fits[a] if matches(fit_shape(given[b], shapes[a]), right[a])] for a in names}
        order = _assignment(names, equal)
        return order if order and any(a != b for a, b in order.items()) else None
    order = _assignment(names, fits)
    if order is None or not all(_fits_transposed(given[name], shapes[name]) for name in names):
        return order
    # They may also be the transposes of gradients in the right order, so again the values say which.
    moved = [(a, b) for a, b in order.items() if a != b]
    return order if any(matches(fit_shape(given[b], shapes[a]), right[a]) for a, b in moved) else None


def _fits_transposed(array: Array, shape: tuple[int, ...]) -> bool:
    return fit_shape(array, shape).shape in (shape, shape[::-1])


def _assignment(names: Sequence[str], choices: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """Return an assignment of distinct choices, keeping the order of the names if there are several."""
    owners: dict[str, str] = {}

    def assign(name: str, tried: set[str]) -> bool:
        """Assign a choice to a name, moving those that have one to other choices if necessary."""
        for option in sorted(choices[name], key=lambda b: b != name):
            if option not in tried:
                tried.add(option)
                if option not in owners or assign(owners[option], tried):
                    owners[option] = name
                    return True
        return False

    if not all(assign(name, set()) for name in names):
        return None
    chosen = {name: option for option, name in owners.items()}
    return {name: chosen[name] for name in names}
