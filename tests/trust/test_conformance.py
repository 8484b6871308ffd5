"""Behaviour where libraries differ: one test for each decision in conformance.py."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.evidence import conformance
from tests.support.tensors import variable
from tests.support.threads import run_in_threads
from tinygrad_cifar import (
    NonFiniteError,
    Tensor,
    count_kinks,
    from_numpy,
    grad,
    is_recording,
    models,
    nn,
    no_grad,
    optim,
    schedules,
    trace_nonfinite,
    training,
)
from tinygrad_cifar import functional as F
from tinygrad_cifar.course.evaluation import evaluate


def gradient_at(f, *numbers):
    """Return the gradient of the sum of ``f`` at one leaf."""
    x = variable(list(numbers))
    return grad(f(x).sum(), x).data.tolist()


# -- the table -------------------------------------------------------------------------------------------------------


def test_page_is_up_to_date():
    assert conformance.PAGE.read_text() == conformance.format_page(), "run: python -m tests.evidence.conformance"


@pytest.mark.parametrize("row", conformance.DECISIONS, ids=lambda row: row.name)
def test_every_decision_has_a_test(row):
    assert callable(globals()[row.test])
    assert all(row)


def test_decisions_are_unique():
    assert len({row.name for row in conformance.DECISIONS}) == len(conformance.DECISIONS)
    assert len({row.test for row in conformance.DECISIONS}) == len(conformance.DECISIONS)


# -- dtypes -----------------------------------------------------------------------------------------------------------


def test_float32_stays_float32():
    x = variable([1.0, 2.0], np.float32)
    y = tg.where(x > 0, 2 * x + 0.5, 0.0) ** 2 / 3
    assert y.dtype == np.float32
    assert (x * np.float64(2)).dtype == np.float64


def test_dtype_of_a_gradient():
    x, y = variable([1.0], np.float32), variable([2.0])
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_gradients_of_integers():
    with pytest.raises(TypeError, match=r"int64 values have no gradient; convert them"):
        Tensor(np.array([1, 2], np.int64), requires_grad=True)


@pytest.mark.parametrize("other", [1j, np.array([1j]), np.array([None]), "text", None], ids=repr)
def test_complex_and_object_operands(other):
    with pytest.raises(TypeError, match="add: cannot combine a tensor with"):
        variable([1.0]) + other


# -- NumPy's functions -----------------------------------------------------------------------------------------------


def test_array_times_tensor():
    x = variable([1.0, 2.0])
    for y in (np.array([3.0, 4.0]) * x, x * np.array([3.0, 4.0])):
        assert isinstance(y, Tensor)
        assert grad(y.sum(), x).data.tolist() == [3.0, 4.0]


def test_numpy_functions():
    x = variable([1.0, 2.0])
    for y in (np.exp(x), np.sum(x), np.concatenate([x, x])):
        assert isinstance(y, Tensor)
        assert y.requires_grad
    for function in (np.linalg.pinv, np.sinc, np.unique):
        with pytest.raises(TypeError, match=rf"np\.(linalg\.)?{function.__name__} does not support tensors"):
            function(*[x] * function.nin) if isinstance(function, np.ufunc) else function(x)


def test_conversion_to_an_array():
    with pytest.raises(TypeError, match=r"use t\.data to read the values, or detach\(\) it first"):
        np.asarray(variable([1.0]))
    assert not np.asarray(Tensor([1.0])).flags.writeable


# -- backward() ------------------------------------------------------------------------------------------------------


def test_backward_of_several_elements():
    with pytest.raises(
        ValueError,
        match=r"shape \(2,\); only a result with one element .* Reduce it, .* gradient=",
    ):
        variable([1.0, 2.0]).backward()


def test_backward_of_a_constant():
    with pytest.raises(ValueError, match="computed under no_grad, or from detached tensors"):
        Tensor(1.0).backward()


def test_second_backward():
    x = variable([1.0])
    shared = x * x
    y = shared.sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"the graph behind sum has been freed .* retain_graph=True"):
        y.backward()
    with pytest.raises(RuntimeError, match="the graph behind multiply has been freed"):
        grad((shared * 2).sum(), x)


# -- changes in place, by every way to write to an array ---------------------------------------------------------------


def set_flag(array: np.ndarray) -> None:
    array.flags.writeable = True
    array[...] = 1


def set_flag_by_method(array: np.ndarray) -> None:
    array.setflags(write=True)
    array[...] = 1


def write_through_an_iterator(array: np.ndarray) -> None:
    with np.nditer(array, op_flags=["readwrite"]) as elements:
        for element in elements:
            element[...] = 1


def write_through_the_interface(array: np.ndarray) -> None:
    class Interface:
        __array_interface__ = array.__array_interface__

    np.asarray(Interface())[...] = 1


WRITES = {
    "assignment": lambda a: a.__setitem__(..., 1),
    "an operator": lambda a: a.__iadd__(1),
    "fill": lambda a: a.fill(1),
    "put": lambda a: a.put(0, 1),
    "copyto": lambda a: np.copyto(a, 1),
    "putmask": lambda a: np.putmask(a, True, 1),
    "out=": lambda a: np.add(a, 1, out=a),
    "at": lambda a: np.add.at(a, ..., 1),
    "byteswap": lambda a: a.byteswap(inplace=True),
    "shuffle": lambda a: np.random.default_rng(0).shuffle(a.reshape(-1)),
    "sort": lambda a: a[::-1].sort(axis=None) if a.ndim == 1 else a.sort(),
    "memoryview": lambda a: memoryview(a).cast("B").__setitem__(0, 1),
    "readinto": lambda a: io.BytesIO(b"\1" * a.nbytes).readinto(a),
    "frombuffer": lambda a: np.frombuffer(a, np.uint8).fill(1),
    "a view": lambda a: a.view().__setitem__(..., 1),
    "a view of bytes": lambda a: a.view(np.uint8).fill(1),
    "the transpose": lambda a: a.T.fill(1),
    "strides": lambda a: np.lib.stride_tricks.as_strided(a, writeable=True).fill(1),
    "the base": lambda a: (a if a.base is None else a.base).fill(1),
    "the flag": set_flag,
    "setflags": set_flag_by_method,
    "an iterator": write_through_an_iterator,
    "the array interface": write_through_the_interface,
    "a part": lambda a: a.reshape(-1)[:1].fill(1),
}


def try_to_write(write: Any, array: np.ndarray) -> None:
    """Write to an array unless that raises an error."""
    with contextlib.suppress(ValueError, TypeError, BufferError, AttributeError):
        write(array)


NUMBERS = np.array([[2.0, 3.0], [5.0, 7.0]])
LAYOUTS = {
    "C": NUMBERS.copy,
    "Fortran": lambda: np.asfortranarray(NUMBERS),
    "strided": lambda: np.repeat(NUMBERS, 2, axis=0)[::2],
    "0-d": lambda: np.array(3.0),
    "one axis": lambda: np.array([5.0, 2.0]),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writing_to_the_data_of_a_tensor(write, layout):
    def gradients(write_to_data):
        p = variable(layout())
        h = tg.exp(p * 0.1)
        view = tg.transpose(p)
        y = (p * p * h).sum() + (view * view).sum()
        shown = [p.data, h.data, view.data, p.detach().data, np.asarray(p.detach())]
        for array in shown if write_to_data else ():
            try_to_write(write, array)
        y.backward()
        if write_to_data:
            try_to_write(write, p.grad.data)
        return p.grad.data.tolist(), p.data.tolist()

    assert gradients(write_to_data=True) == gradients(write_to_data=False)


def scale_by(x, factors, pair):
    return _scale_by(x, factors, pair)


_scale_by = tg.primitive(
    "of_test_conformance_scale",
    lambda x, factors, pair: x * factors * pair[0],
    x=lambda g, factors, pair: g * factors * pair[0],
)


# Operations on a (2, 2) array and a recorded (2, 2) tensor; int64 and bool where the operation requires them.
USES: dict[str, tuple[type, Any]] = {
    "multiply": (float, lambda x, a: x * a),
    "from the left": (float, lambda x, a: (a + 1.0) / x),
    "divide": (float, lambda x, a: x / a),
    "power": (float, lambda x, a: x**a),
    "matmul": (float, lambda x, a: x @ a),
    "einsum": (float, lambda x, a: tg.einsum("ij,jk->ik", x, a)),
    "maximum": (float, tg.maximum),
    "clip": (float, lambda x, a: tg.clip(x, a, None)),
    "where": (bool, lambda x, a: tg.where(a, x, x * x)),
    "index": (int, lambda x, a: x[a]),
    "index in a tuple": (int, lambda x, a: x[a, 0]),
    "boolean index": (bool, lambda x, a: x[a] * 2),
    "index_update": (int, lambda x, a: tg.index_update(x, (a[0], a[1]), 1.5)),
    "take_along_axis": (int, lambda x, a: tg.take_along_axis(x, a, 0)),
    "concatenate": (float, lambda x, a: tg.concatenate([x, a]) * 2),
    "cross-entropy labels": (int, lambda x, a: F.cross_entropy(x, a.reshape(-1)[:2])),
    "one-hot labels": (float, F.cross_entropy),
    "hinge labels": (int, lambda x, a: F.hinge(x, a.reshape(-1)[:2])),
    "mean squares": (float, F.mse),
    "an argument of a user-defined primitive": (float, lambda x, a: scale_by(x, a, (1.0,))),
    "a tuple as an argument of a user-defined primitive": (float, lambda x, a: scale_by(x, 1.0, (a,))),
    "a list of arrays": (float, lambda x, a: scale_by(x, 1.0, [a])),
}


def constant_array(kind: type) -> np.ndarray:
    """Return zeros and ones; of floats, rows of probabilities, some above and some below the tensor's."""
    return np.array([[1, 0], [0, 1]], dtype=kind) if kind is not float else np.array([[0.25, 0.75], [0.625, 0.375]])


READ_ONLY = "a read-only view whose base changes"


@pytest.mark.parametrize("way", [*WRITES, READ_ONLY])
@pytest.mark.parametrize("use", USES)
def test_constant_array_changed_between_forward_and_backward(use, way):
    kind, operation = USES[use]

    def gradient(is_changed):
        x, array = variable([[0.5, 0.6], [0.3, 0.9]]), constant_array(kind)
        given = array
        if way == READ_ONLY:
            given = array.view()
            given.flags.writeable = False
        y = operation(x, given)
        if is_changed and way == READ_ONLY:
            array[...] = 1 - array
        elif is_changed:
            try_to_write(WRITES[way], given)
        return grad(y.sum(), x).data.tolist()

    assert gradient(is_changed=True) == gradient(is_changed=False)


CHANGES = {
    "overwrite": lambda p: p.overwrite(lambda array: array.fill(100)),
    "data =": lambda p: setattr(p, "data", np.full(p.shape, 100.0)),
    "an optimiser's step": lambda p: make_step(optim.SGD([p], 0.1), p),
    "Adam's step": lambda p: make_step(optim.Adam([p], 0.1), p),
    "momentum's step": lambda p: make_step(optim.SGD([p], 0.1, momentum=0.9), p),
    "weight decay": lambda p: make_step(optim.SGD([p], 0.1, weight_decay=0.5), p),
    "load_state_dict": lambda p: Holder(p).load_state_dict({"p": np.full(p.shape, 100.0)}),
    "a pickled copy": lambda p: pickle.loads(pickle.dumps(p)).overwrite(lambda array: array.fill(100)),
    "a deep copy": lambda p: copy.deepcopy(p).overwrite(lambda array: array.fill(100)),
    "a detached twin": lambda p: p.detach().overwrite(lambda array: array.fill(100)),
    "another thread": lambda p: run_in_threads(lambda _: p.overwrite(lambda array: array.fill(100)), 1),
    "the array of its state": lambda p: Holder(p).state_dict()["p"].fill(100),
    "numpy()": lambda p: p.numpy().fill(100),
}


class Holder(nn.Module):
    def __init__(self, p) -> None:
        self.p = p


def make_step(optimiser, p) -> None:
    before = p.grad
    p.grad = Tensor(np.full(p.shape, 3.0))
    optimiser.step()
    p.grad = before


PROGRAMS = {
    "a product": lambda p: p * p,
    "its own result": lambda p: tg.exp(p * 0.1),
    "a matrix product": lambda p: p @ p,
    "a view": lambda p: (v := p.T) * v,
    "a part": lambda p: p[..., 0] * p[..., 0],
    "a reshaped view of a view": lambda p: (v := p.T.reshape(-1)) * v,
    "an einsum": lambda p: tg.einsum("...i,...i->...", p, p),
    "a broadcast": lambda p: (b := tg.broadcast_to(p, (3, *p.shape))) * b,
    "a detached twin": lambda p: p * p.detach(),
}


@pytest.mark.parametrize("large", [False, True], ids=["small", "larger than a block"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_parameter_changed_between_forward_and_backward(program, change, large):
    def gradient(is_changed):
        p = variable(np.linspace(0, 1, 300 * 300).reshape(300, 300) if large else NUMBERS)
        y = program(p)
        if is_changed:
            change(p)
        y.sum().backward()
        return p.grad.data.tobytes()

    assert gradient(is_changed=True) == gradient(is_changed=False)


def view_of_first_row(a: np.ndarray) -> Any:
    return a[:1]


HOLDERS = {
    "the array": lambda a: a,
    "a view": view_of_first_row,
    "a memoryview": memoryview,
    "a transposed view": lambda a: a.T,
    "an iterator": lambda a: np.nditer(a, op_flags=["readwrite"]),
    "a list": lambda a: [a],
}


def try_to_change(held: Any) -> None:
    """Write to an array, or through a view, memoryview, iterator or list of it, unless that raises an error."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(held, memoryview):
            held.cast("B")[0] = 1
        elif isinstance(held, np.nditer):
            for element in held:
                element[...] = 1
        else:
            np.copyto(held[0] if isinstance(held, list) else held, 1)


@pytest.mark.parametrize("keep", HOLDERS.values(), ids=HOLDERS)
def test_array_passed_by_overwrite(keep):
    p, held = variable(NUMBERS), []
    p.overwrite(lambda array: held.append(keep(array)))
    y = (p * p).sum()
    try_to_change(held[0])
    assert p.data.tolist() == NUMBERS.tolist()
    y.backward()
    assert p.grad.data.tolist() == (2 * NUMBERS).tolist()


def test_tensor_is_usable_after_an_error_in_overwrite():
    p = variable(NUMBERS)

    def fail(array):
        array[0] = 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        p.overwrite(fail)
    p.overwrite(lambda array: array.fill(2))
    assert p.data.tolist() == [[2, 2], [2, 2]]


# Each returns the array passed to from_numpy, and the reference that the caller keeps.
GIVEN = {
    "the array": lambda: ((a := NUMBERS.copy()), a),
    "an array with a view": lambda: ((a := NUMBERS.copy()), a[:]),
    "an array with a view of one element": lambda: ((a := NUMBERS.copy()), a[:1, :1]),
    "an array with a memoryview": lambda: ((a := NUMBERS.copy()), memoryview(a)),
    "a view": lambda: ((a := NUMBERS.copy())[:], a),
    "a read-only view": lambda: (read_only(a := NUMBERS.copy()), a),
    "a reversed view": lambda: ((a := NUMBERS.copy())[::-1], a),
    "a buffer's array": lambda: (np.frombuffer(b := bytearray(NUMBERS.tobytes())).reshape(2, 2), memoryview(b)),
    "an array kept in a list": lambda: ((a := NUMBERS.copy()), [a]),
    "a subclass": lambda: ((a := NUMBERS.copy()).view(np.recarray), a),
    "Fortran order": lambda: ((a := np.asfortranarray(NUMBERS)), a),
}


def read_only(a: np.ndarray) -> np.ndarray:
    view = a.view()
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
def test_batch_given_to_from_numpy(give):
    def gradient(is_changed):
        w = variable(np.eye(2))
        given, kept = give()
        X = from_numpy(given)
        y = (X @ w * w).sum()
        if is_changed:
            try_to_change(kept)
        return grad(y, w).data.tolist()

    assert gradient(is_changed=True) == gradient(is_changed=False)


def test_unshared_batch_is_not_copied():
    X = NUMBERS.copy()
    assert np.shares_memory(from_numpy(X).data, X)
    assert not X.flags.writeable
    assert np.shares_memory((t := from_numpy(np.ones(2))).data, t.data)


def test_training_and_evaluation_leave_arrays_writable():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(6, 3)), np.array([0, 1] * 3)
    model = models.SoftmaxRegression(3, 2, rng=rng)
    training.fit(model, optim.SGD(model.parameters(), 0.1), (X, labels), epochs=1, batch_size=2)
    evaluate(model, (X, labels))
    model.predict(X)
    assert X.flags.writeable
    assert labels.flags.writeable


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_initial_cotangent_of_backward(write):
    x, seed = variable([1.0, 2.0]), np.array([5.0, 2.0])
    (x + 0).backward(gradient=seed)
    try_to_write(write, seed)
    assert x.grad.data.tolist() == [5.0, 2.0]


# -- indices, shapes -------------------------------------------------------------------------------------------------


def test_repeated_index():
    assert gradient_at(lambda x: x[[0, 0, 1]] * [1.0, 10.0, 100.0], 5, 6) == [11.0, 100.0]


def test_item_assignment():
    x = variable([1.0, 2.0])
    with pytest.raises(TypeError, match=r"write x = index_update\(x, index, value\)"):
        x[0] = 3
    assert grad(tg.index_update(x, 0, 3.0).sum(), x).data.tolist() == [0.0, 1.0]


def test_shapes_that_broadcast_in_a_loss():
    with pytest.raises(ValueError, match=r"prediction and target must have the same shape; got \(3,\) and \(3, 1\)"):
        F.mse(variable([1.0, 2.0, 3.0]), np.ones((3, 1)))
    for loss in (F.cross_entropy, F.hinge):
        with pytest.raises(ValueError, match=r"labels must have .* shape"):
            loss(variable(np.ones((3, 2))), np.zeros((3, 1), int))


def test_incompatible_shapes():
    with pytest.raises(ValueError, match=r"matmul\(float64 array of shape \(2, 3\), float64 array of shape \(4, 5\)\)"):
        variable(np.ones((2, 3))) @ np.ones((4, 5))


# -- kinks -----------------------------------------------------------------------------------------------------------


def test_relu_at_0():
    assert gradient_at(tg.relu, 0, -0.0, 1) == [0, 0, 1]


def test_absolute_at_0():
    assert gradient_at(abs, 0, -0.0, -1) == [0, 0, -1]


def test_sign_at_0():
    assert gradient_at(lambda x: tg.sign(x) * x, 0, -1) == [0, -1]


def test_tie_of_maximum_or_minimum():
    for operation in (tg.maximum, tg.minimum):
        x, y = variable(1.0), variable(1.0)
        assert [g.item() for g in grad(operation(x, y), [x, y])] == [0.5, 0.5]
        assert gradient_at(lambda x, operation=operation: operation(x, x), 3) == [1]


def test_tie_of_max_or_min():
    assert gradient_at(tg.max, 3, 1, 3) == [0.5, 0, 0.5]
    assert gradient_at(lambda x: tg.min(x, axis=0), 1, 1, 1) == pytest.approx([1 / 3] * 3)


def test_clip_at_its_bounds():
    assert gradient_at(lambda x: tg.clip(x, 0, 1), 0, 1, -0.1, 1.1) == [1, 1, 0, 0]


def test_hinge_at_its_margin():
    scores = variable([[2.0, 1.0, 0.0]])
    assert grad(F.hinge(scores, [0]), scores).data.tolist() == [[0.0, 0.0, 0.0]]


def test_norm_at_0():
    assert gradient_at(tg.norm, 0, 0) == [0, 0]


def test_counting_kinks():
    with count_kinks() as kinks:
        F.hinge(Tensor([[2.0, 1.0, 0.0]]), [0])
        tg.max(Tensor([1.0, 1.0, 0.0]))
    assert kinks == {"relu": 1, "max": 2}


# -- not finite ------------------------------------------------------------------------------------------------------


def test_source_of_a_nan_or_an_infinity():
    x = variable([0.0, 1.0])
    with trace_nonfinite():
        with pytest.raises(NonFiniteError, match=r"log, at .*test_conformance\.py:\d+, computed -inf .* Known rewrite"):
            tg.log(x)
        with pytest.raises(NonFiniteError, match=r"derivative of sqrt for x, computed at .*\.py:\d+, computed inf"):
            tg.sqrt(x).sum().backward()


def test_single_where_around_a_square_root():
    with np.errstate(all="ignore"):
        assert str(gradient_at(lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), 0, 1)) == "[nan, 0.5]"
    with trace_nonfinite(), pytest.raises(NonFiniteError, match="a second where around it"):
        gradient_at(lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), 0, 1)


# -- threads, state --------------------------------------------------------------------------------------------------


def test_scope_of_no_grad():
    with no_grad():
        seen: list[bool] = []
        run_in_threads(lambda _: seen.append(is_recording()), 2)
        assert not is_recording()
    assert seen == [True, True]
    with contextlib.suppress(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert is_recording()

    async def child() -> bool:
        await asyncio.sleep(0)
        return is_recording()

    async def parent() -> tuple[bool, bool]:
        with no_grad():
            inside = asyncio.create_task(child())
        beside = asyncio.create_task(child())
        return await inside, await beside

    assert asyncio.run(parent()) == (False, True)


def test_generator_under_no_grad():
    def paused():
        with no_grad():
            yield is_recording()

    decorated = no_grad()(lambda: (yield is_recording()))()
    assert (next(decorated), is_recording()) == (False, True)
    first, second = paused(), paused()
    assert (next(first), next(second), is_recording()) == (False, False, False)
    first.close()
    second.close()
    assert is_recording()


def test_nested_derivatives():
    J = tg.jacobian(lambda x: tg.jacobian(lambda y: y**3, x), [1.0, 2.0])
    assert J.data[[0, 1], [0, 1], [0, 1]].tolist() == [6, 12]
    W = variable([1.0, 2.0])
    assert grad(tg.jacobian(lambda x: x * W**2, [1.0, 1.0]).sum(), W).data.tolist() == [2, 4]


def test_tensor_stored_in_a_module():
    class Watched(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2, rng=np.random.default_rng(0))

        def forward(self, X):
            self.h = self.layer(X)
            return self.h

    module = Watched()
    module(np.ones((1, 2)))
    assert [name for name, _ in module.named_parameters()] == list(module.state_dict()) == ["layer.W", "layer.b"]


def test_gradients_in_several_threads():
    shared = variable(np.ones(3))

    def work(_):
        for k in range(50):
            x = variable([1.0 + k, 2.0])
            inner = grad((x**3).sum(), x, create_graph=True)
            assert grad(inner.sum(), x).data.tolist() == [6.0 * (1 + k), 12.0]
            (shared * shared).sum().backward()

    run_in_threads(work)
    assert shared.grad.data.tolist() == [800.0] * 3


def test_pickling_and_copying():
    p = variable([1.0, 2.0])
    (p * p).sum().backward()
    twin = pickle.loads(pickle.dumps(p))
    assert (twin.data.tolist(), twin.grad.data.tolist(), twin.requires_grad) == ([1, 2], [2, 4], True)
    with pytest.raises(TypeError, match=r"use detach\(\)"):
        copy.deepcopy(p * 2)


def test_schedule_is_a_pure_function():
    rate = schedules.WarmUp(schedules.Triangular(0.0, 1.0, 10), 3)
    forwards = [rate(step) for step in range(50)]
    assert [rate(step) for step in reversed(range(50))] == forwards[::-1]
    assert pickle.loads(pickle.dumps(rate)) == rate


def test_update_by_an_operator():
    w = variable([1.0, 2.0])
    (w * w).sum().backward()
    with pytest.raises(TypeError, match=r"write w\.data = w\.data - eta \* w\.grad\.data"):
        w -= 0.1 * w.grad
    with tg.no_grad(), pytest.raises(TypeError, match="use an optimiser"):
        w -= 0.1 * w.grad
    assert w.is_leaf


def test_frozen_leaf():
    w = variable([1.0, 2.0])
    out = (w * w).sum()
    out.backward(retain_graph=True)
    w.requires_grad = False
    out.backward(retain_graph=True)
    assert w.grad.data.tolist() == [2, 4]
    w.requires_grad = True
    out.backward()
    assert w.grad.data.tolist() == [4, 8]


# -- images ------------------------------------------------------------------------------------------------------------


def test_channels_are_last():
    filters = np.ones((1, 1, 3, 5))
    assert tg.conv2d(np.ones((2, 4, 6, 3)), filters).shape == (2, 4, 6, 5)
    with pytest.raises(ValueError, match="the filters are for 3 channels; the images have 6: images must have"):
        tg.conv2d(np.ones((2, 3, 4, 6)), filters)
    assert tg.conv2d(tg.channels_last(np.ones((2, 3, 4, 6))), filters).shape == (2, 4, 6, 5)


def test_same_padding():
    column = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    sums = np.ones((2, 1, 1, 1))
    assert tg.conv2d(column, sums, padding="same").ravel().tolist() == [3.0, 5.0, 7.0, 4.0]
    assert tg.conv2d(column[:, :3], sums, padding="same", stride=(2, 1)).ravel().tolist() == [3.0, 3.0]


def test_equal_maxima_of_a_window():
    equal = Tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
    assert grad(tg.max_pool2d(equal, 2).sum(), equal).data.ravel().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert grad(equal.max((1, 2)).sum(), equal).data.ravel().tolist() == [0.25, 0.25, 0.25, 0.25]


def test_mean_of_a_window_at_the_border():
    assert tg.avg_pool2d(np.full((1, 1, 1, 1), 4.0), 2, padding=1).ravel().tolist() == [1.0]


def test_running_statistics():
    layer = nn.BatchNorm(1)
    out = layer(np.array([[0.0], [2.0]]))
    np.testing.assert_allclose(out.data, [[-1.0], [1.0]], rtol=1e-4)
    np.testing.assert_allclose(layer.running_mean.data, [0.1], rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.data, [0.9 + 0.1 * 2.0], rtol=1e-12)


def test_batch_norm_of_one_number():
    with pytest.raises(ValueError, match="the variance of one is 0"):
        nn.BatchNorm(2)(np.ones((1, 2)))


def test_label_smoothing():
    scores = np.array([[1.0, 2.0, 4.0, 0.0]])
    log_p = scores - np.log(np.exp(scores).sum())
    course = np.array([[0.1 / 3, 0.9, 0.1 / 3, 0.1 / 3]])
    smoothed = F.cross_entropy(scores, [1], label_smoothing=0.1 * 4 / 3)
    assert smoothed == pytest.approx(-(course * log_p).sum(), rel=1e-12)
