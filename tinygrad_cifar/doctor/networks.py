"""The networks of the course's assignments: their costs, in columns and in rows, and small problems for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import unwrap_value

# Numbers that are added to the variance in batch normalisation. The first does not change a gradient measurably.
EPSILONS = (1e-16, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
N, D, K = 6, 5, 4  # images, features and classes of the problems


@dataclass(frozen=True)
class Layout:
    """How images and biases are stored.

    Attributes
    ----------
    columns : bool
        Whether each image is a column, as in the course; otherwise each is a row.
    bias : str
        ``"matrix"``: biases have two axes; ``"vector"``: one.
    """

    columns: bool
    bias: str = "matrix"

    @property
    def title(self) -> str:
        """The layout in words."""
        images = "images as columns, W of outputs x inputs" if self.columns else "images as rows, W of inputs x outputs"
        return f"{images}, biases as {'vectors' if self.bias == 'vector' else 'columns' if self.columns else 'rows'}"

    def weights(self, inputs: int, outputs: int) -> tuple[int, int]:
        """Return the shape of the weights of a layer."""
        return (outputs, inputs) if self.columns else (inputs, outputs)

    def biases(self, outputs: int) -> tuple[int, ...]:
        """Return the shape of the biases of a layer."""
        return (outputs,) if self.bias == "vector" else (outputs, 1) if self.columns else (1, outputs)

    def matrix(self, features: int, images: int) -> tuple[int, int]:
        """Return the shape of an array with one image per column, or row."""
        return (features, images) if self.columns else (images, features)

    def apply(self, W: Any, X: Any, b: Any) -> Any:
        """Return the output of a linear layer."""
        return ops.add(ops.matmul(W, X) if self.columns else ops.matmul(X, W), b)

    @property
    def classes(self) -> int:
        """The axis of the classes, or features."""
        return 0 if self.columns else 1

    @property
    def images(self) -> int:
        """The axis of the images."""
        return 1 - self.classes


COLUMNS, ROWS, ROWS_AND_VECTORS = Layout(True), Layout(False), Layout(False, "vector")
_ALL = (COLUMNS, ROWS, ROWS_AND_VECTORS)


@dataclass(frozen=True)
class Network:
    """A network of an assignment.

    Attributes
    ----------
    title : str
        Its name.
    names : tuple of str
        The arguments of the cost that are parameters.
    make : callable
        ``make(layout, rng)`` returns a problem.
    values : callable
        ``values(layout, **arguments)`` returns all values of the forward pass by name, with the mean loss as ``loss``.
    penalised : tuple of str
        The parameters in the L2 term.
    layouts : tuple of Layout
        The layouts in which it is tried.
    epsilon : float, optional
        The number that batch normalisation adds to the variance; None without batch normalisation.
    """

    title: str
    names: tuple[str, ...]
    make: Callable[[Layout, np.random.Generator], dict[str, Any]]
    values: Callable[..., dict[str, Any]]
    penalised: tuple[str, ...]
    layouts: tuple[Layout, ...] = _ALL
    epsilon: float | None = None

    def problem(self, layout: Layout, rng: np.random.Generator) -> dict[str, Any]:
        """Return a small problem."""
        return {**self.make(layout, rng), "lam": 0.1}

    def parameters(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the arguments that are parameters."""
        return [name for name in self.names if name in arguments]

    def cost(self, layout: Layout, values: dict[str, Any], /, **arguments: Any) -> tuple[Any, Any]:
        """Return the mean loss and the sum of squared weights; ``values`` receives those of the forward pass."""
        penalty: Any = 0.0
        for name in self.penalised:
            for W in arguments[name] if isinstance(arguments[name], list) else [arguments[name]]:
                penalty = penalty + ops.sum(ops.square(W))
        values.update(self._compute(layout, **arguments))
        return values["loss"], penalty

    def _compute(self, layout: Layout, **arguments: Any) -> dict[str, Any]:
        own = {} if self.epsilon is None else {"epsilon": self.epsilon}
        return self.values(layout, **arguments, **own)

    def forward(self, layout: Layout, **arguments: Any) -> dict[str, Any]:
        """Return the values of the forward pass as arrays."""
        plain = {
            key: [unwrap_value(part) for part in value] if isinstance(value, list) else unwrap_value(value)
            for key, value in arguments.items()
        }
        return {
            key: [np.asarray(part) for part in value] if isinstance(value, list) else np.asarray(value)
            for key, value in self._compute(layout, **plain).items()
        }


def _cross_entropy(layout: Layout, S: Any, Y: Any) -> tuple[Any, Any]:
    P = ops.softmax(S, axis=layout.classes)
    losses = -ops.sum(ops.multiply(Y, ops.log(P)))
    return P, losses / Y.shape[layout.images]


def _normal(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[Any]:
    return [rng.normal(0, 1, shape) for shape in shapes]


def _one_hot(layout: Layout, rng: np.random.Generator, images: int = N, classes: int = K) -> Any:
    rows = np.eye(classes)[rng.permutation(np.arange(images) % classes)]
    return rows.T if layout.columns else rows


def _linear_problem(layout: Layout, rng: np.random.Generator) -> dict[str, Any]:
    X, W, b = _normal(rng, layout.matrix(D, N), layout.weights(D, K), layout.biases(K))
    return {"X": X, "Y": _one_hot(layout, rng), "W": W, "b": b}


def _softmax_values(layout: Layout, X: Any, Y: Any, W: Any, b: Any, lam: float) -> dict[str, Any]:  # noqa: ARG001
    S = layout.apply(W, X, b)
    P, loss = _cross_entropy(layout, S, Y)
    return {"S": S, "P": P, "loss": loss}


def _hinge_values(layout: Layout, X: Any, Y: Any, W: Any, b: Any, lam: float) -> dict[str, Any]:  # noqa: ARG001
    S = layout.apply(W, X, b)
    own = ops.sum(ops.multiply(S, Y), axis=layout.classes, keepdims=True)
    margins = ops.multiply(ops.relu(S - own + 1.0), 1 - Y)
    return {"S": S, "loss": ops.sum(margins) / Y.shape[layout.images]}


def _layers_problem(sizes: Sequence[int], *, normalised: bool, numbered: bool) -> Callable[..., dict[str, Any]]:
    def make(layout: Layout, rng: np.random.Generator) -> dict[str, Any]:
        pairs = list(pairwise(sizes))
        W = [rng.normal(0, 1 / np.sqrt(m), layout.weights(m, n)) * 1.5 for m, n in pairs]
        b = [rng.normal(0, 0.5, layout.biases(n)) for _, n in pairs]
        problem = {"X": rng.normal(0, 1, layout.matrix(sizes[0], N)), "Y": _one_hot(layout, rng, classes=sizes[-1])}
        if numbered:
            for k, (w, c) in enumerate(zip(W, b, strict=True), 1):
                problem |= {f"W{k}": w, f"b{k}": c}
        else:
            problem |= {"W": W, "b": b}
        if normalised:
            problem["gamma"] = [1 + 0.3 * rng.normal(0, 1, layout.biases(n)) for _, n in pairs[:-1]]
            problem["beta"] = [0.5 * rng.normal(0, 1, layout.biases(n)) for _, n in pairs[:-1]]
        return problem

    return make


def _layers_values(
    layout: Layout,
    *,
    X: Any,
    Y: Any,
    lam: float,  # noqa: ARG001
    epsilon: float = 0.0,
    **parameters: Any,
) -> dict[str, Any]:
    count = sum(name[0] == "W" for name in parameters)
    W = parameters["W"] if "W" in parameters else [parameters[f"W{k}"] for k in range(1, count + 1)]
    b = parameters["b"] if "b" in parameters else [parameters[f"b{k}"] for k in range(1, count + 1)]
    gamma, beta = parameters.get("gamma", ()), parameters.get("beta", ())
    values: dict[str, Any] = {"S": [], "H": [], "X": [X]}
    H = X
    for k in range(len(W) - 1):
        S = layout.apply(W[k], H, b[k])
        values["S"].append(S)
        if gamma:
            S = _normalise(layout, S, epsilon, values)
            S = ops.add(ops.multiply(gamma[k], S), beta[k])
        H = ops.relu(S)
        values["H"].append(H)
        values["X"].append(H)
        values |= {f"S{k + 1}": values["S"][-1], f"H{k + 1}": H, f"X{k + 1}": H}
    S = layout.apply(W[-1], H, b[-1])
    P, loss = _cross_entropy(layout, S, Y)
    values["S"].append(S)
    values |= {"P": P, "loss": loss, "scores": S}
    if len(W) == 2:  # noqa: PLR2004 (one hidden layer: its values are not in lists)
        values |= {"H": H, "X": X, "S": S}
    return values


def _normalise(layout: Layout, S: Any, epsilon: float, values: dict[str, Any]) -> Any:
    mu = ops.mean(S, axis=layout.images, keepdims=True)
    var = ops.mean(ops.square(S - mu), axis=layout.images, keepdims=True)
    S_hat = (S - mu) / ops.sqrt(var + epsilon)
    for name, value in (("mu", mu), ("var", var), ("S_hat", S_hat)):
        values.setdefault(name, []).append(value)
    return S_hat


_PATCHES, _LENGTH, _FILTERS, _HIDDEN = 4, 12, 3, 5


def _patches_problem(layout: Layout, rng: np.random.Generator) -> dict[str, Any]:
    W1, W2 = layout.weights(_PATCHES * _FILTERS, _HIDDEN), layout.weights(_HIDDEN, K)
    shape = (_PATCHES, _LENGTH, N) if layout.columns else (N, _PATCHES, _LENGTH)
    return {
        "MX": rng.normal(0, 1, shape),
        "Y": _one_hot(layout, rng),
        "Fs_flat": rng.normal(0, 0.5, (_LENGTH, _FILTERS)),
        "W1": rng.normal(0, 0.5, W1),
        "b1": rng.normal(0, 0.5, layout.biases(_HIDDEN)),
        "W2": rng.normal(0, 1, W2),
        "b2": rng.normal(0, 0.5, layout.biases(K)),
    }


def _patches_values(layout: Layout, *, MX: Any, Y: Any, lam: float, **parameters: Any) -> dict[str, Any]:  # noqa: ARG001
    Fs_flat, W1, b1, W2, b2 = (parameters[name] for name in ("Fs_flat", "W1", "b1", "W2", "b2"))
    patches, filters = MX.shape[0] if layout.columns else MX.shape[1], Fs_flat.shape[1]
    if layout.columns:
        conv = ops.einsum("ijn,jl->iln", MX, Fs_flat)
        H = ops.relu(conv)
        h = ops.reshape(H, (patches * filters, MX.shape[2]))
    else:
        conv = ops.matmul(MX, Fs_flat)
        H = ops.relu(conv)
        h = ops.reshape(H, (MX.shape[0], patches * filters))
    S1 = layout.apply(W1, h, b1)
    X1 = ops.relu(S1)
    S = layout.apply(W2, X1, b2)
    P, loss = _cross_entropy(layout, S, Y)
    return {"conv": conv, "conv_flat": h, "h": h, "S1": S1, "X1": X1, "x1": X1, "S": S, "P": P, "loss": loss}


NETWORKS = (
    Network("softmax regression", ("W", "b"), _linear_problem, _softmax_values, ("W",)),
    Network("SVM", ("W", "b"), _linear_problem, _hinge_values, ("W",)),
    Network(
        "two layers",
        ("W", "b"),
        _layers_problem((D, 7, K), normalised=False, numbered=False),
        _layers_values,
        ("W",),
    ),
    Network(
        "two layers",
        ("W1", "b1", "W2", "b2"),
        _layers_problem((D, 7, K), normalised=False, numbered=True),
        _layers_values,
        ("W1", "W2"),
    ),
    Network(
        "three layers",
        ("W", "b"),
        _layers_problem((D, 7, 3, K), normalised=False, numbered=False),
        _layers_values,
        ("W",),
    ),
    Network(
        "three layers with batch normalisation",
        ("W", "b", "gamma", "beta"),
        _layers_problem((D, 7, 3, K), normalised=True, numbered=False),
        _layers_values,
        ("W",),
        epsilon=EPSILONS[0],
    ),
    Network(
        "patchify network of three layers",
        ("Fs_flat", "W1", "b1", "W2", "b2"),
        _patches_problem,
        _patches_values,
        ("Fs_flat", "W1", "W2"),
    ),
)
