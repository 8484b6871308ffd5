"""Muon: comparison with its algorithm written for matrices with one row per output, and properties of its steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar import Tensor
from tinygrad_cifar.nn.optim import Muon, orthogonalise
from tinygrad_cifar.nn.schedules import Triangular

seeds = st.integers(0, 2**32 - 1)
SHAPES = {"wide": (3, 7), "tall": (7, 3), "filters": (3, 3, 4, 5), "one column": (4, 1)}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
RATES = Triangular(0.01, 0.2, 3)
STEPS = 7


def reference_orthogonalise(matrix: np.ndarray, iterations: int) -> np.ndarray:
    a, b, c = 3.4445, -4.775, 2.0315
    x = matrix / np.sqrt((matrix**2).sum())
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def reference(w, gradients, *, momentum, nesterov, iterations, rescale, decay):
    """Return the parameter after steps; its outputs are the first axis, as in the published program."""
    outputs = len(w)
    velocity = np.zeros_like(w)
    for t, g in enumerate(gradients):
        velocity = momentum * velocity + g
        direction = g + momentum * velocity if nesterov else velocity
        if rescale:
            w = w * np.sqrt(outputs) / np.linalg.norm(w)
        w = w * (1 - RATES(t) * decay)
        w = w - RATES(t) * reference_orthogonalise(direction.reshape(outputs, -1), iterations).reshape(w.shape)
    return w


def run(optimiser: Muon, gradients) -> np.ndarray:
    (p,) = optimiser.parameters
    for g in gradients:
        p.grad = Tensor(g)
        optimiser.step()
    return p.numpy()


def start_and_gradients(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    w, *gradients = np.random.default_rng(seed).standard_normal((STEPS + 1, *shape))
    return w, np.array(gradients)


@each_shape
@given(
    seeds,
    st.floats(0, 0.99),
    st.booleans(),
    st.integers(1, 6),
    st.sampled_from([(False, 0.0), (False, 0.3), (True, 0.0)]),
    st.data(),
)
def test_muon_is_the_published_algorithm(shape, seed, momentum, nesterov, iterations, rescale_and_decay, data):
    rescale, decay = rescale_and_decay
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    w, gradients = start_and_gradients(seed, shape)
    expected = reference(
        np.moveaxis(w, axis, 0),
        np.moveaxis(gradients, axis if axis < 0 else axis + 1, 1),
        momentum=momentum,
        nesterov=nesterov,
        iterations=iterations,
        rescale=rescale,
        decay=decay,
    )
    optimiser = Muon(
        [Tensor(w, requires_grad=True)],
        RATES,
        momentum=momentum,
        nesterov=nesterov,
        iterations=iterations,
        rescale=rescale,
        axis=axis,
        weight_decay=decay,
    )
    np.testing.assert_allclose(np.moveaxis(run(optimiser, gradients), axis, 0), expected, rtol=1e-9, atol=1e-9)


@given(seeds, st.integers(1, 6), st.sampled_from([1e-200, 1e-30, 1.0, 1e30, 1e200]))
def test_orthogonalise_is_the_iteration_for_any_scale(seed, iterations, scale):
    matrix = np.random.default_rng(seed).standard_normal((4, 6))
    expected = reference_orthogonalise(matrix, iterations)
    np.testing.assert_allclose(orthogonalise(scale * matrix, iterations), expected, rtol=1e-9, atol=1e-9)


@given(seeds, st.sampled_from([(5, 5), (4, 9), (9, 4)]))
def test_orthogonalise_keeps_singular_vectors_and_makes_singular_values_about_1(seed, shape):
    rng = np.random.default_rng(seed)
    u, _, v = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    inside = u.T @ orthogonalise(u * rng.uniform(0.1, 1.0, min(shape)) @ v) @ v.T
    values = np.diag(inside)
    assert np.abs(inside - np.diag(values)).max() < 1e-10
    assert 0.6 < values.min() <= values.max() < 1.3


def test_orthogonalise_of_zeros_is_zeros():
    np.testing.assert_array_equal(orthogonalise(np.zeros((2, 3))), np.zeros((2, 3)))


def test_orthogonalise_does_not_write_to_its_argument():
    matrix = np.eye(3)
    orthogonalise(matrix)
    np.testing.assert_array_equal(matrix, np.eye(3))


@given(seeds)
def test_orthogonalise_of_float32_stays_float32(seed):
    matrix = np.random.default_rng(seed).standard_normal((3, 4))
    found = orthogonalise(matrix.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, orthogonalise(matrix), atol=1e-4)


@each_shape
def test_a_gradient_of_zeros_changes_nothing(shape):
    w = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(run(Muon([Tensor(w, requires_grad=True)]), np.zeros((2, *shape))), w)


@each_shape
@given(seeds)
def test_rescaled_parameters_have_the_square_root_of_the_outputs_as_norm(shape, seed):
    w, gradients = start_and_gradients(seed, shape)
    optimiser = Muon([Tensor(w, requires_grad=True)], 0.0, rescale=True)
    assert np.linalg.norm(run(optimiser, gradients)) == pytest.approx(np.sqrt(shape[-1]))


def test_rescaling_zeros_changes_nothing():
    optimiser = Muon([Tensor(np.zeros((2, 3)), requires_grad=True)], 0.0, rescale=True)
    np.testing.assert_array_equal(run(optimiser, np.ones((1, 2, 3))), np.zeros((2, 3)))


@pytest.mark.parametrize("order", ["C", "F"])
@each_shape
def test_memory_layout_does_not_change_the_values(shape, order):
    w, gradients = start_and_gradients(0, shape)
    plain = run(Muon([Tensor(w, requires_grad=True)]), gradients)
    laid_out = run(
        Muon([Tensor(np.asarray(w, order=order), requires_grad=True)]), [np.asarray(g, order=order) for g in gradients]
    )
    np.testing.assert_allclose(laid_out, plain, rtol=1e-12, atol=1e-14)


@each_shape
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(seeds, st.integers(0, STEPS))
def test_a_restored_muon_continues_bit_for_bit(shape, dtype, seed, pause):
    w, gradients = (array.astype(dtype) for array in start_and_gradients(seed, shape))
    whole = run(Muon([Tensor(w, requires_grad=True)], RATES), gradients)
    first = Muon([Tensor(w, requires_grad=True)], RATES)
    second = Muon([Tensor(run(first, gradients[:pause]), requires_grad=True)], RATES)
    second.load_state_dict(first.state_dict())
    assert run(second, gradients[pause:]).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        ((3,), {}, r"Muon: parameter 0 must have at least two axes; got the shape \(3,\): give vectors to another"),
        ((3, 2), {"axis": 2}, r"Muon: axis 2 is out of range for parameter 0, which has the shape \(3, 2\)"),
        ((3, 2), {"momentum": 1.0}, r"Muon: momentum must be in \[0, 1\); got 1.0"),
        ((3, 2), {"iterations": 0}, "Muon: iterations must be an integer of at least 1; got 0"),
        (
            (3, 2),
            {"rescale": True, "weight_decay": 0.1},
            "Muon: weight_decay has no effect on parameters that are resc",
        ),
        ((3, 2), {"eta": -1.0}, "eta must be finite and at least 0; got -1.0"),
    ],
)
def test_invalid_settings_raise(shape, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Muon([Tensor(np.ones(shape), requires_grad=True)], **options)


def test_orthogonalise_refuses_complex_numbers():
    with pytest.raises(TypeError, match="orthogonalise: matrix must contain real numbers; got complex128"):
        orthogonalise(np.ones((2, 2), complex))


def test_orthogonalise_refuses_a_vector():
    with pytest.raises(ValueError, match=r"orthogonalise: matrix must have two axes; got the shape \(3,\)"):
        orthogonalise(np.ones(3))
