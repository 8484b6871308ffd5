"""Threads and tasks: correct gradients, and independent modes; copies and pickles.

The counts depend on the Hypothesis profile: with ``thorough``, eight threads compute 10,000 gradients each.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import tinygrad_cifar as tg
from tests.support.threads import THREADS, run_in_threads
from tinygrad_cifar import (
    NonFiniteError,
    Tensor,
    count_kinks,
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
from tinygrad_cifar.engine.modes import active_watchers

LARGE = 200_000  # large enough that NumPy releases the GIL for some time
EACH = 10_000 if settings.default.max_examples >= 300 else 250
PASSES = EACH // 10


@pytest.fixture(autouse=True)
def switch_threads_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


# -- gradients ---------------------------------------------------------------------------------------------------------
# Each gradient is a small integer, so it is exact.

W = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)


def of_a_leaf(k: float) -> bool:
    x = Tensor([k, 2.0], requires_grad=True)
    (x * x + 3 * x).sum().backward()
    return x.grad.data.tolist() == [2 * k + 3, 7.0]


def of_a_shared_leaf(k: float) -> bool:
    x = Tensor([[k, 1.0]], requires_grad=True)
    by_x, by_w = grad((x @ W).sum(), [x, W])
    return by_x.data.tolist() == [[3.0, 7.0]] and by_w.data.tolist() == [[k, k], [1.0, 1.0]]


def nested(k: float) -> bool:
    x = Tensor(k, requires_grad=True)
    first = grad(x**3, x, create_graph=True)
    second = grad(first * x, x, create_graph=True)
    return grad(second, x).item() == 18 * k


def inside_a_function(k: float) -> bool:
    """Compute one derivative while another computation is being recorded."""

    def inner(t: float) -> float:
        y = Tensor(t, requires_grad=True)
        return grad(y * y, y).item()

    x = Tensor(k, requires_grad=True)
    return grad(x * inner(k) * x, x).item() == 4 * k * k


def with_a_pause(k: float) -> bool:
    x = Tensor([k, k], requires_grad=True)
    y = x * x
    with no_grad():
        hidden = x * 100
    return not hidden.requires_grad and grad((y * hidden).sum(), x).data.tolist() == [200 * k * k] * 2


def after_a_step(k: float) -> bool:
    x = Tensor([k], requires_grad=True)
    optimiser = optim.SGD([x], 1.0)
    y = (x * x).sum()
    (x * 4).sum().backward()
    optimiser.step()
    return x.data.tolist() == [k - 4] and grad(y, x).data.tolist() == [2 * k]


KINDS = [of_a_leaf, of_a_shared_leaf, nested, inside_a_function, with_a_pause, after_a_step]


def test_eight_threads_compute_correct_gradients():
    def work(number: int) -> int:
        return sum(not KINDS[(number + i) % len(KINDS)](float(1 + i % 100)) for i in range(EACH))

    assert run_in_threads(work) == [0] * THREADS


def test_threads_traverse_one_retained_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (tg.exp(x * 0) * x * x).sum()

    def work(_: int) -> set[str]:
        return {str(grad(y, x, retain_graph=True).data.tolist()) for _ in range(EACH // 10)}

    assert run_in_threads(work) == [{"[2.0, 4.0]"}] * THREADS


def test_graph_freed_by_one_thread_raises_in_the_others():
    def work_on(x: Tensor, y: Tensor) -> Callable[[int], Any]:
        def work(_: int) -> Any:
            try:
                return grad(y, x).data.tolist()
            except RuntimeError as error:
                return "has been freed by an earlier backward pass" in str(error) or str(error)

        return work

    for _ in range(EACH // 25):
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x
        for _ in range(5):
            y = y * 2
        outcomes = run_in_threads(work_on(x, y.sum()), 4)
        assert all(outcome in ([32.0, 32.0], True) for outcome in outcomes), outcomes


def test_threads_accumulate_into_one_leaf():
    x = Tensor(np.ones(LARGE), requires_grad=True)

    def work(number: int) -> None:
        for _ in range(PASSES):
            (x * float(number + 1)).sum().backward()

    run_in_threads(work)
    assert set(x.grad.data.tolist()) == {PASSES * 36.0}


def test_threads_accumulate_into_several_leaves():
    a, b = Tensor(np.ones(LARGE), requires_grad=True), Tensor(np.ones(LARGE), requires_grad=True)

    def work(number: int) -> None:
        for _ in range(PASSES):
            ((a + b) if number % 2 else (b * 2 + a)).sum().backward()

    run_in_threads(work)
    assert (set(a.grad.data.tolist()), set(b.grad.data.tolist())) == ({PASSES * 8.0}, {PASSES * 12.0})


def test_models_trained_in_parallel_equal_those_trained_alone():
    def trained(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        model = models.Perceptron([4, 5, 2], rng=rng, dropout=0.3)
        data = rng.normal(size=(40, 4)), rng.integers(0, 2, 40)
        optimiser = optim.Adam(model.parameters(), 0.01)
        training.fit(model, optimiser, data, epochs=3, batch_size=4, rng=rng)
        return b"".join(p.data.tobytes() for p in model.parameters())

    assert run_in_threads(trained) == [trained(seed) for seed in range(THREADS)]


# -- state -------------------------------------------------------------------------------------------------------------


class Interruption(Exception):  # noqa: N818
    pass


def raise_at_random(rng: random.Random) -> None:
    if rng.random() < 0.3:
        raise Interruption


def nest_blocks_at_random(rng: random.Random, depth: int = 0) -> None:
    """Enter and leave blocks at random, also by exceptions, and check the mode at every step."""
    recording, watching = is_recording(), active_watchers()
    assert (Tensor(1.0, requires_grad=True) * 2).requires_grad == recording
    if depth < 4:
        for _ in range(2):
            block = rng.choice([no_grad, trace_nonfinite, count_kinks])
            with contextlib.suppress(Interruption), block():
                assert is_recording() == (recording and block is not no_grad)
                assert len(active_watchers()) == len(watching) + (block is not no_grad)
                nest_blocks_at_random(rng, depth + 1)
                raise_at_random(rng)
            assert is_recording() == recording
            assert active_watchers() == watching


def test_modes_of_threads_are_independent():
    def work(number: int) -> None:
        for i in range(EACH // 100):
            nest_blocks_at_random(random.Random(1000 * number + i))

    run_in_threads(work)


def test_modes_of_tasks_are_independent():
    async def nest_blocks(rng: random.Random, depth: int = 0) -> None:
        recording, watching = is_recording(), active_watchers()
        for _ in range(2 * (depth < 4)):
            block = rng.choice([no_grad, trace_nonfinite, count_kinks])
            with contextlib.suppress(Interruption), block():
                await asyncio.sleep(0)
                assert is_recording() == (recording and block is not no_grad)
                await nest_blocks(rng, depth + 1)
                raise_at_random(rng)
            await asyncio.sleep(0)
            assert (is_recording(), active_watchers()) == (recording, watching)

    async def all_tasks() -> None:
        await asyncio.gather(*[nest_blocks(random.Random(i)) for i in range(20)])

    asyncio.run(all_tasks())


def test_kinks_are_counted_per_thread():
    def work(number: int) -> dict[str, int]:
        with count_kinks() as kinks:
            for _ in range(50):
                tg.relu(Tensor(np.zeros(number + 1)))
        return dict(kinks)

    assert run_in_threads(work) == [{"relu": 50 * (number + 1)} for number in range(THREADS)]


def test_trace_applies_to_its_thread_only():
    def work(number: int) -> bool:
        if number % 2:
            with trace_nonfinite(), pytest.raises(NonFiniteError):
                tg.log(Tensor(0.0))
            return True
        with np.errstate(all="ignore"):
            return all(tg.log(Tensor(0.0)).item() == -np.inf for _ in range(50))

    assert all(run_in_threads(work))


def test_numpy_error_state_is_restored_after_a_trace_error():
    before = np.geterr()
    with pytest.raises(NonFiniteError), trace_nonfinite():
        tg.log(Tensor(0.0))
    assert np.geterr() == before


def test_no_grad_in_a_suspended_generator_applies_to_the_caller():
    """As with every context variable. Closing the generator restores the mode."""

    def paused() -> Iterator[None]:
        with no_grad():
            yield

    pause = paused()
    next(pause)
    assert not is_recording()
    pause.close()
    assert is_recording()


def test_blocks_may_be_left_in_the_order_of_entering():
    def paused() -> Iterator[None]:
        with no_grad():
            yield

    first, second = paused(), paused()
    next(first), next(second)
    first.close()
    assert not is_recording()
    second.close()
    assert is_recording()


def test_generator_may_be_closed_in_another_context():
    def paused() -> Iterator[None]:
        with no_grad():
            yield

    pause = paused()
    contextvars.copy_context().run(next, pause)
    pause.close()
    assert is_recording()


def test_block_may_be_entered_twice():
    block = no_grad()
    with block:
        with block:
            pass
        assert not is_recording()
    assert is_recording()


@no_grad()
def _a_function() -> bool:
    return is_recording()


@no_grad()
async def _a_coroutine() -> bool:
    await asyncio.sleep(0)
    return is_recording()


@no_grad()
def _a_generator() -> Iterator[bool]:
    with contextlib.suppress(KeyError):
        while True:
            yield is_recording()
    yield is_recording()


def test_decorated_function_does_not_record():
    assert not _a_function()
    assert not asyncio.run(_a_coroutine())
    assert is_recording()


def test_decorated_generator_does_not_affect_the_caller():
    generator = _a_generator()
    assert [next(generator), is_recording(), generator.send(None), is_recording()] == [False, True, False, True]
    assert generator.throw(KeyError()) is False
    generator.close()
    assert is_recording()


def test_decorated_generator_returns_its_value():
    @no_grad()
    def counted() -> Iterator[int]:
        got = yield 1
        return got

    def delegated() -> Iterator[int]:
        assert (yield from counted()) == 5

    generator = delegated()
    assert next(generator) == 1
    with pytest.raises(StopIteration):
        generator.send(5)


def test_asynchronous_generator_cannot_be_decorated():
    with pytest.raises(TypeError, match="write 'with no_grad"):

        @no_grad()
        async def numbers() -> Any:
            yield 1


# -- copies ------------------------------------------------------------------------------------------------------------

COPIES = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy}


class Activated(nn.Module):
    """A user-defined module with functions and settings among its attributes."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2, rng=np.random.default_rng(0))
        self.activation = tg.relu
        self.reduce = tg.sum
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        return self.reduce(self.activation(self.layer(x))) * self.scale


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_module_with_operations_as_attributes_can_be_copied(duplicate):
    model = Activated()
    twin = duplicate(model)
    assert twin(np.ones((1, 2))).item() == model(np.ones((1, 2))).item()
    assert twin.activation is tg.relu


@pytest.mark.parametrize("name", tg.engine.ops.__all__)
def test_every_operation_can_be_pickled(name):
    operation = getattr(tg, name)
    assert pickle.loads(pickle.dumps(operation)) is operation


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copied_model_and_optimiser_continue_bit_for_bit(duplicate):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(20, 3)), rng.integers(0, 2, 20)

    def trained(model: Any, optimiser: Any) -> bytes:
        for _ in range(3):
            optimiser.zero_grad()
            model.loss(X, labels).backward()
            optimiser.step()
        return b"".join(p.data.tobytes() for p in model.parameters())

    model = models.TwoLayer(3, 4, 2, rng=rng)
    optimiser = optim.Adam(model.parameters(), schedules.Triangular(0.0, 0.1, 4))
    trained(model, optimiser)
    twins = duplicate((model, optimiser))
    assert twins[1].parameters[0] is twins[0].W1
    assert trained(*twins) == trained(model, optimiser)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_kink_counter_can_be_copied(duplicate):
    with count_kinks() as kinks:
        tg.relu(Tensor([0.0, 0.0]))
    twin = duplicate(kinks)
    assert twin == kinks == {"relu": 2}


@pytest.mark.parametrize("error", [NonFiniteError("why"), training.TrainingDiverged("why")], ids=type)
def test_errors_can_be_pickled(error):
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin)) == (type(error), "why")


def test_copy_made_before_backward_is_not_part_of_the_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    twin = copy.deepcopy(x)
    twin.overwrite(lambda array: array.fill(50))
    y.backward()
    assert (x.grad.data.tolist(), twin.grad) == ([2.0, 4.0], None)
