"""A small GPT: blocks of causal attention and of two layers with a GELU, both after layer normalisation; tied weights.

The matrix of the characters' vectors also gives the scores of the next character. GELU is the approximation by tanh.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, Array, Case, Inputs, Model, gradients_of, softmax_loss

_PER_BLOCK = 12
_EPSILON = 1e-5


def draw(
    rng: np.random.Generator, batch: int, context: int, width: int, heads: int, blocks: int, vocabulary: int
) -> Inputs:
    """Return parameters, and texts with the next characters."""

    def matrix(rows: int, columns: int) -> Array:
        return rng.normal(size=(rows, columns)) / np.sqrt(rows)

    def norm() -> list[Array]:
        return [rng.uniform(0.5, 1.5, width), 0.1 * rng.normal(size=width)]

    def bias(size: int) -> Array:
        return 0.1 * rng.normal(size=size)

    parameters = [0.3 * rng.normal(size=(vocabulary, width)), 0.3 * rng.normal(size=(context, width))]
    for _ in range(blocks):
        parameters += [*norm(), matrix(width, 3 * width), bias(3 * width), matrix(width, width), bias(width)]
        parameters += [*norm(), matrix(width, 4 * width), bias(4 * width), matrix(4 * width, width), bias(width)]
    text = rng.integers(0, vocabulary, (batch, context + 1))
    return {
        "parameters": (*parameters, *norm()),
        "characters": text[:, :-1],
        "next": text[:, 1:].ravel(),
        "heads": heads,
        "mask": np.triu(np.full((context, context), -np.inf), 1),
        "one_hot": np.eye(vocabulary)[text[:, :-1].ravel()],
    }


def loss(library: Library, inputs: Inputs) -> Any:
    """Return the loss as a function of the parameters."""
    np, heads, mask = library.np, inputs["heads"], library.array(inputs["mask"])
    characters, following = library.indices(inputs["characters"]), library.indices(inputs["next"])
    batch, context = inputs["characters"].shape

    def attention(x: Any, W: Any, b: Any, W_out: Any, b_out: Any) -> Any:
        width = x.shape[-1]
        joint = x @ W + b

        def of_heads(part: int) -> Any:
            x = joint[:, :, part * width : (part + 1) * width].reshape(batch, context, heads, width // heads)
            return np.swapaxes(x, 1, 2)

        q, k, v = of_heads(0), of_heads(1), of_heads(2)
        weights = library.softmax(q @ np.swapaxes(k, 2, 3) * (1 / math.sqrt(width // heads)) + mask)
        return np.swapaxes(weights @ v, 1, 2).reshape(batch, context, width) @ W_out + b_out

    def mean_loss(*parameters: Any) -> Any:
        E, places, *blocks, scale, shift = parameters
        x = library.embedding(E, characters) + places
        for i in range(0, len(blocks), _PER_BLOCK):
            scale_1, shift_1, W, b, W_out, b_out, scale_2, shift_2, V_1, c_1, V_2, c_2 = blocks[i : i + _PER_BLOCK]
            x = x + attention(library.layer_norm(x, scale_1, shift_1), W, b, W_out, b_out)
            x = x + library.gelu(library.layer_norm(x, scale_2, shift_2) @ V_1 + c_1) @ V_2 + c_2
        x = library.layer_norm(x, scale, shift).reshape(batch * context, -1)
        return library.cross_entropy(x @ E.T, following)

    return mean_loss


# -- by hand: functions that return a result with what their gradients need, and the gradients -------------------------


def _layer_norm(x: Array, scale: Array, shift: Array) -> tuple[Array, Any]:
    normalised = x - x.mean(axis=1, keepdims=True)
    factor = np.einsum("ij,ij->i", normalised, normalised)[:, None]
    factor /= x.shape[1]
    factor += _EPSILON
    np.sqrt(factor, out=factor)
    normalised /= factor
    out = normalised * scale
    out += shift
    return out, (normalised, factor)


def _layer_norm_gradients(G: Array, scale: Array, saved: Any) -> tuple[Array, Array, Array]:
    normalised, factor = saved
    d_scale, d_shift = np.einsum("ij,ij->j", G, normalised), G.sum(axis=0)
    d_x = G * scale
    along = np.einsum("ij,ij->i", d_x, normalised)[:, None]
    along /= d_x.shape[1]
    d_x -= d_x.mean(axis=1, keepdims=True)
    normalised *= along
    d_x -= normalised
    d_x /= factor
    return d_x, d_scale, d_shift


_ROOT = math.sqrt(2 / math.pi)


def _gelu(x: Array) -> tuple[Array, Any]:
    """Return ``x (1 + t) / 2`` with ``t = tanh(r (x + a x**3))``."""
    squares = x * x
    t = squares * (_ROOT * 0.044715)
    t += _ROOT
    t *= x
    np.tanh(t, out=t)
    out = t + 1
    out *= x
    out *= 0.5
    return out, (x, squares, t)


def _gelu_gradient(G: Array, saved: Any) -> Array:
    """Return G times ``(1 + t + x (1 - t**2) r (1 + 3 a x**2)) / 2``, in the memory of G."""
    x, squares, t = saved
    squares *= 3 * _ROOT * 0.044715
    squares += _ROOT
    squares *= x
    squares *= 1 - t * t
    squares += t
    squares += 1
    squares *= 0.5
    G *= squares
    return G


def _attention(x: Array, parameters: Any, batch: int, heads: int, mask: Array) -> tuple[Array, Any]:
    W, b, W_out, b_out = parameters
    rows, width = x.shape
    joint = x @ W
    joint += b
    # (batch, context, 3, heads, size) as (3, batch, heads, context, size)
    q, k, v = joint.reshape(batch, rows // batch, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
    A = q @ k.swapaxes(2, 3)
    A *= 1 / math.sqrt(width // heads)
    A += mask
    A -= A.max(axis=-1, keepdims=True)
    np.exp(A, out=A)
    A /= A.sum(axis=-1, keepdims=True)
    mixed = np.empty((batch, rows // batch, heads, width // heads), x.dtype)
    np.matmul(A, v, out=mixed.swapaxes(1, 2))
    mixed = mixed.reshape(rows, width)
    out = mixed @ W_out
    out += b_out
    return out, (x, q, k, v, A, mixed)


def _attention_gradients(G: Array, parameters: Any, saved: Any) -> tuple[Array, list[Array]]:
    W, _, W_out, _ = parameters
    x, q, k, v, A, mixed = saved
    batch, heads, context, size = q.shape
    d_W_out, d_b_out = mixed.T @ G, G.sum(axis=0)
    d_mixed = (G @ W_out.T).reshape(batch, context, heads, size).swapaxes(1, 2)
    d_joint = np.empty((batch, context, 3, heads, size), G.dtype)
    d_q, d_k, d_v = d_joint.transpose(2, 0, 3, 1, 4)
    np.matmul(A.swapaxes(2, 3), d_mixed, out=d_v)
    S = d_mixed @ v.swapaxes(2, 3)
    S -= np.einsum("bhij,bhij->bhi", S, A)[..., None]
    S *= A
    S *= 1 / math.sqrt(size)
    np.matmul(S, k, out=d_q)
    np.matmul(S.swapaxes(2, 3), q, out=d_k)
    D = d_joint.reshape(len(x), -1)
    return D @ W.T, [x.T @ D, D.sum(axis=0), d_W_out, d_b_out]


def _by_hand(inputs: Inputs) -> Thunk:
    E, places, *blocks, scale, shift = inputs["parameters"]
    characters, following, mask, heads = inputs["characters"], inputs["next"], inputs["mask"], inputs["heads"]
    batch, context = characters.shape

    def loss_and_gradients() -> Any:
        x = E[characters]
        x += places
        x = x.reshape(batch * context, -1)
        saved: list[Any] = []
        for i in range(0, len(blocks), _PER_BLOCK):
            first, second = blocks[i : i + 6], blocks[i + 6 : i + _PER_BLOCK]
            normalised, norm_1 = _layer_norm(x, *first[:2])
            out, attended = _attention(normalised, first[2:], batch, heads, mask)
            x += out
            entered, norm_2 = _layer_norm(x, *second[:2])
            z = entered @ second[2]
            z += second[3]
            active, curve = _gelu(z)
            x += active @ second[4]
            x += second[5]
            saved.append((norm_1, attended, norm_2, entered, active, curve))
        last, norm = _layer_norm(x, scale, shift)
        mean_loss, G = softmax_loss(last @ E.T, following)

        d_E = G.T @ last
        d_x, *d_norm = _layer_norm_gradients(G @ E, scale, norm)
        d_blocks: list[Array] = []
        for i in reversed(range(0, len(blocks), _PER_BLOCK)):
            first, second = blocks[i : i + 6], blocks[i + 6 : i + _PER_BLOCK]
            norm_1, attended, norm_2, entered, active, curve = saved.pop()
            d_V_2, d_c_2 = active.T @ d_x, d_x.sum(axis=0)
            d_z = _gelu_gradient(d_x @ second[4].T, curve)
            through, *d_second = _layer_norm_gradients(d_z @ second[2].T, second[0], norm_2)
            d_second += [entered.T @ d_z, d_z.sum(axis=0), d_V_2, d_c_2]
            d_x += through
            into, d_attention = _attention_gradients(d_x, first[2:], attended)
            through, *d_first = _layer_norm_gradients(into, first[0], norm_1)
            d_x += through
            d_blocks = [*d_first, *d_attention, *d_second, *d_blocks]
        d_E += inputs["one_hot"].T @ d_x
        d_places = d_x.reshape(batch, context, -1).sum(axis=0)
        return mean_loss, (d_E, d_places, *d_blocks, *d_norm)

    return loss_and_gradients


SIZE = {"batch": 8, "context": 64, "width": 64, "heads": 4, "blocks": 2, "vocabulary": 80}
SMALL = {"batch": 2, "context": 4, "width": 6, "heads": 2, "blocks": 2, "vocabulary": 5}
MODEL = Model(
    draw,
    cases=(Case("small GPT, tied weights", ARRAYS, SIZE),),
    small=(SMALL,),
    make=gradients_of(loss),
    by_hand=_by_hand,
)
