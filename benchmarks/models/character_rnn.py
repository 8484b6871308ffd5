"""A recurrent network that predicts the next character (the course's assignment 4), in two forms.

One text: the characters are one-hot rows, and the cross-entropy is computed at each step, as in the course. A batch of
texts: the characters are rows of a matrix, and the scores of all steps are one product. The programs derived by hand
have the same forward pass; both compute the gradients of the weights of all steps by one product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library, Thunk
from benchmarks.models.model import ARRAYS, TINY, Array, Case, Inputs, Model, gradients_of, softmax_loss


def draw(rng: np.random.Generator, steps: int, batch: int, hidden: int = 100, vocabulary: int = 80) -> Inputs:
    """Return parameters, and texts with the next characters."""
    text = rng.integers(0, vocabulary, (steps + 1, batch))
    return {
        "parameters": (
            rng.normal(size=(hidden, hidden)) / np.sqrt(hidden),
            rng.normal(size=(vocabulary, hidden)),
            rng.normal(size=(hidden, vocabulary)) / np.sqrt(hidden),
            rng.normal(size=hidden),
            rng.normal(size=vocabulary),
        ),
        "characters": text[:-1],
        "one_hot": np.eye(vocabulary)[text[:-1]],
        "next": text[1:],
        "start": np.zeros((batch, hidden)),
        "zero": np.zeros(()),
    }


def loss_by_step(library: Library, inputs: Inputs) -> Any:
    """Return the loss as a function of the parameters and, optionally, of the one-hot rows."""
    np, start, zero = library.np, library.array(inputs["start"]), library.array(inputs["zero"])
    texts, following = library.array(inputs["one_hot"]), library.indices(inputs["next"])
    steps = len(inputs["next"])

    def loss(W: Any, U: Any, V: Any, b: Any, c: Any, x: Any = texts) -> Any:
        def step(state: Any, pair: Any) -> Any:
            total, h = state
            character, label = pair
            h = np.tanh(h @ W + character @ U + b)
            return total + library.cross_entropy(h @ V + c, label), h

        return library.fold(step, (zero, start), (x, following))[0] / steps

    return loss


def _loss_at_once(library: Library, inputs: Inputs) -> Any:
    np, start = library.np, library.array(inputs["start"])
    characters, following = library.indices(inputs["characters"]), library.indices(inputs["next"].ravel())

    def loss(W: Any, U: Any, V: Any, b: Any, c: Any) -> Any:
        def step(h: Any, character: Any) -> Any:
            h = np.tanh(h @ W + library.embedding(U, character) + b)
            return h, h

        _, states = library.scan(step, start, characters)
        return library.cross_entropy(states.reshape(-1, len(W)) @ V + c, following)

    return loss


def _by_hand_by_step(inputs: Inputs) -> Thunk:
    W, U, V, b, c = inputs["parameters"]
    characters, following, one_hot = inputs["characters"][:, 0], inputs["next"][:, 0], inputs["one_hot"][:, 0]
    steps = len(following)

    def loss_and_gradients() -> Any:
        H, P = np.empty((steps + 1, len(W)), W.dtype), np.empty((steps, len(c)), W.dtype)
        H[0] = inputs["start"][0]
        loss = 0.0
        for t in range(steps):
            h, p = H[t + 1], P[t]
            np.matmul(H[t], W, out=h)
            h += U[characters[t]]
            h += b
            np.tanh(h, out=h)
            np.matmul(h, V, out=p)
            p += c
            p -= p.max()
            np.exp(p, out=p)
            p /= p.sum()
            loss -= np.log(p[following[t]])
        P[np.arange(steps), following] -= 1
        P /= steps

        d_H = P @ V.T
        slopes = 1 - H[1:] ** 2
        for t in reversed(range(steps)):
            d_H[t] *= slopes[t]  # now the gradient before the tanh
            if t > 0:
                d_H[t - 1] += W @ d_H[t]
        return loss / steps, (H[:-1].T @ d_H, one_hot.T @ d_H, H[1:].T @ P, d_H.sum(axis=0), P.sum(axis=0))

    return loss_and_gradients


def by_hand_at_once(inputs: Inputs) -> Thunk:
    """Return the function that computes the loss and its gradients, with the scores of all steps in one product."""
    W, U, V, b, c = inputs["parameters"]
    characters, following, one_hot = inputs["characters"], inputs["next"].ravel(), inputs["one_hot"]
    steps, batch = characters.shape

    def flat(x: Array) -> Array:
        return x.reshape(steps * batch, -1)

    def loss_and_gradients() -> Any:
        H = np.empty((steps + 1, batch, len(W)), W.dtype)
        H[0] = inputs["start"]
        U_and_b = U + b
        for t in range(steps):
            h = H[t + 1]
            np.matmul(H[t], W, out=h)
            h += U_and_b[characters[t]]
            np.tanh(h, out=h)
        states = flat(H[1:])
        scores = states @ V
        scores += c
        loss, G = softmax_loss(scores, following)

        d_H = (G @ V.T).reshape(steps, batch, -1)
        slopes = H[1:] ** 2
        np.subtract(1, slopes, out=slopes)
        for t in reversed(range(steps)):
            d_H[t] *= slopes[t]  # now the gradient before the tanh
            if t > 0:
                d_H[t - 1] += d_H[t] @ W.T
        D = flat(d_H)
        return loss, (flat(H[:-1]).T @ D, flat(one_hot).T @ D, states.T @ G, D.sum(axis=0), G.sum(axis=0))

    return loss_and_gradients


ONE_TEXT = Model(
    draw,
    cases=(Case("character RNN, 25 steps, batch 1", TINY, {"steps": 25, "batch": 1}),),
    small=({"steps": 4, "batch": 1, "hidden": 5, "vocabulary": 3},),
    make=gradients_of(loss_by_step),
    by_hand=_by_hand_by_step,
)
MANY_TEXTS = Model(
    draw,
    cases=(Case("character RNN, 100 steps, batch 32", ARRAYS, {"steps": 100, "batch": 32}),),
    small=({"steps": 4, "batch": 3, "hidden": 5, "vocabulary": 3},),
    make=gradients_of(_loss_at_once),
    by_hand=by_hand_at_once,
)
