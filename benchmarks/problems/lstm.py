"""lstm: the loss of a character model with diagonal weights, and its gradient; from ADBench (not in its paper).

A text is a sequence of c vectors of b bits. There are l layers, whose weights are diagonal, so that a gate of a layer
is ``sigmoid(w * v + b)``, element by element: forget and output gates of the input v, the input gate and the change (a
tanh) of the hidden state. ``cell = cell * forget + ingate * change``; ``hidden = outgate * tanh(cell)``. The input of
the first layer is a bit times a weight, and the prediction the last hidden state times a weight plus a bias. The loss
is the mean over the (c - 1) * b bits of ``-next_bit * (prediction - log(2 + sum(exp(prediction))))``; the 2 is
ADBench's.

Parameters are ``main``, of shape (2 l, 4 b): weights and biases of each layer, and ``extra``, of shape (3, b). Those
and the initial state (hidden and cell of each layer) are uniform in [0, 1), and the bits of the text are random.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Library
from benchmarks.problems.problem import Array, Inputs, Problem, Thunk


def _draw(rng: np.random.Generator, l: int, c: int, b: int = 14) -> Inputs:  # noqa: E741 (the problem's name)
    return {
        "main": rng.random((2 * l, 4 * b)),
        "extra": rng.random((3, b)),
        "state": rng.random((2 * l, b)),
        "text": rng.integers(0, 2, (c, b)).astype(float),
    }


def _loss(library: Library, inputs: Inputs) -> Any:
    np, sigmoid = library.np, library.sigmoid
    layers, bits = len(inputs["state"]) // 2, inputs["text"].shape[1]
    text = inputs["text"]
    pairs = library.array(_pairs(text))  # a character and the next one
    count = (len(text) - 1) * bits
    start = library.array(0.0), tuple(library.array(row) for row in inputs["state"])

    def loss(main: Any, extra: Any) -> Any:
        parameters = main.reshape(layers, 2, 4, bits)
        weights = [[[parameters[layer][i][j] for j in range(4)] for i in range(2)] for layer in range(layers)]
        in_weight, out_weight, out_bias = extra[0], extra[1], extra[2]

        def step(state: Any, pair: Any) -> Any:
            total, memory = state
            v, after = pair[0] * in_weight, []
            for layer in range(layers):
                hidden, cell = memory[2 * layer], memory[2 * layer + 1]
                (w_forget, w_in, w_out, w_change), (b_forget, b_in, b_out, b_change) = weights[layer]
                forget, outgate = sigmoid(v * w_forget + b_forget), sigmoid(v * w_out + b_out)
                ingate, change = sigmoid(hidden * w_in + b_in), np.tanh(hidden * w_change + b_change)
                cell = cell * forget + ingate * change
                v = outgate * np.tanh(cell)
                after += [v, cell]
            prediction = v * out_weight + out_bias
            normalised = prediction - np.log(2 + np.sum(np.exp(prediction)))
            return total - np.sum(pair[1] * normalised), tuple(after)

        return library.fold(step, start, pairs)[0] / count

    return loss


def _pairs(text: Array) -> Array:
    """Return each character with the next one."""
    return np.stack([text[:-1], text[1:]], 1)


def _objective(library: Library, inputs: Inputs) -> Thunk:
    return library.value(_loss(library, inputs), inputs["main"], inputs["extra"])


def _gradient(library: Library, inputs: Inputs) -> Thunk:
    return library.gradient(_loss(library, inputs), inputs["main"], inputs["extra"])


# -- the reference: backpropagation through time by hand ---------------------------------------------------------------


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _by_hand(inputs: Inputs) -> tuple[float, tuple[Array, Array]]:
    """Return the loss, and its gradients."""
    text, extra = inputs["text"], inputs["extra"]
    bits = text.shape[1]
    W = inputs["main"].reshape(-1, 2, 4, bits)
    hidden, cell = inputs["state"][::2].copy(), inputs["state"][1::2].copy()
    saved, loss, count = [], 0.0, (len(text) - 1) * bits
    for t in range(len(text) - 1):
        v, layers = text[t] * extra[0], []
        for i, (w, b) in enumerate(W):
            x = np.array([v, hidden[i], v, hidden[i]])
            gates = _logistic(w * x + b)
            gates[3] = np.tanh(w[3] * x[3] + b[3])
            before, cell[i] = cell[i].copy(), cell[i] * gates[0] + gates[1] * gates[3]
            layers.append((x, gates, before, np.tanh(cell[i])))
            v = hidden[i] = gates[2] * np.tanh(cell[i])
        y = v * extra[1] + extra[2]
        total = 2 + np.exp(y).sum()
        loss -= text[t + 1] @ (y - np.log(total)) / count
        saved.append((layers, v, (text[t + 1].sum() * np.exp(y) / total - text[t + 1]) / count))
    d_W, d_extra = np.zeros_like(W), np.zeros_like(extra)
    d_hidden, d_cell = np.zeros_like(hidden), np.zeros_like(cell)
    for t in reversed(range(len(text) - 1)):
        layers, last, d_y = saved[t]
        d_extra[1] += d_y * last
        d_extra[2] += d_y
        d_v = d_y * extra[1]
        for i in reversed(range(len(W))):
            x, (forget, ingate, outgate, change), before, tanh = layers[i]
            d_h = d_hidden[i] + d_v
            d_c = d_cell[i] + d_h * outgate * (1 - tanh**2)
            d_gates = np.array(
                [
                    d_c * before * forget * (1 - forget),
                    d_c * change * ingate * (1 - ingate),
                    d_h * tanh * outgate * (1 - outgate),
                    d_c * ingate * (1 - change**2),
                ]
            )
            d_W[i] += [d_gates * x, d_gates]
            d_x = d_gates * W[i, 0]
            d_v, d_hidden[i], d_cell[i] = d_x[0] + d_x[2], d_x[1] + d_x[3], d_c * forget
        d_extra[0] += d_v * text[t]
    return float(loss), (d_W.reshape(inputs["main"].shape), d_extra)


PROBLEM = Problem(
    "lstm",
    _draw,
    sizes=({"l": 2, "c": 1024},),
    small=({"l": 1, "c": 4, "b": 3}, {"l": 2, "c": 9, "b": 5}),
    functions={"objective": _objective, "jacobian": _gradient},
    reference={"objective": lambda inputs: _by_hand(inputs)[0], "jacobian": lambda inputs: _by_hand(inputs)[1]},
)
