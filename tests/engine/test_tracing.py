"""trace_nonfinite and count_kinks: which operations they report, and their messages."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import re
import threading
import tracemalloc

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.evidence.specs import SPECS
from tinygrad_cifar import (
    NonFiniteError,
    Tensor,
    count_kinks,
    evaluation,
    from_numpy,
    grad,
    models,
    nn,
    optim,
    trace_nonfinite,
)
from tinygrad_cifar import training as fitting
from tinygrad_cifar.engine.modes import active_watchers
from tinygrad_cifar.engine.primitives import PRIMITIVES


def variable(*numbers, dtype=float):
    return Tensor(list(numbers), requires_grad=True, dtype=dtype)


def report_of(run) -> str:
    """Return the error message of ``run`` under trace_nonfinite, or an empty string."""
    try:
        with trace_nonfinite():
            run()
    except NonFiniteError as error:
        return str(error)
    return ""


def line_of(function, text: str) -> str:
    """Return ``file:line`` of the line of a function that contains the text."""
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


# -- forward -----------------------------------------------------------------------------------------------------------

FORWARD = {
    "log": lambda: tg.log(variable(1, 0)),
    "sqrt": lambda: tg.sqrt(variable(1, -1)),
    "divide": lambda: variable(1, 2) / np.array([1.0, 0.0]),
    "exp": lambda: tg.exp(variable(1, 1000)),
    "power": lambda: variable(1, 0) ** -1,
    "multiply": lambda: variable(1, 1e200) * 1e200,
    "matmul": lambda: variable(1e200, 1) @ variable(1e200, 1),
    "sum": lambda: variable(1.5e308, 1.5e308).sum(),
    "norm": lambda: tg.norm(variable(1.7e308, 1.7e308)),
    "prod": lambda: variable(1e200, 1e200).prod(),
    "cosh": lambda: tg.cosh(variable(1000.0)),
    "einsum": lambda: tg.einsum("i,i", variable(1e200, 1), variable(1e200, 1)),
    "astype": lambda: tg.astype(variable(1e300, 1), np.float32),
}


@pytest.mark.parametrize("name", FORWARD)
def test_error_names_the_operation_and_a_rewrite(name):
    message = report_of(FORWARD[name])
    assert re.match(rf"{name}, at .*, computed (-?inf|nan)", message)
    assert "Known rewrite: " in message


def test_error_names_the_first_of_several_operations():
    assert report_of(lambda: tg.sqrt(tg.log(variable(0, 1)))).startswith("log,")


NONFINITE_INPUTS = {
    "an infinity goes through": lambda: variable(np.inf, 1) + 1,
    "a NaN goes through": lambda: tg.exp(variable(np.nan, 1)).sum().backward(),
    "an infinity becomes a smaller one": lambda: tg.sqrt(variable(np.inf, 1)),
    "a mask of minus infinity": lambda: tg.softmax(tg.where([True, False], variable(1, 2), -np.inf)).sum().backward(),
    "one of many": lambda: tg.concatenate([variable(1), variable(np.nan)]).sum(),
    "a sum that overflows where no element does": lambda: variable(1.5e308, 1.5e308) * 1.0,
    "float16, whose sums overflow soon": lambda: tg.relu(Tensor(np.full(5000, 100.0, np.float16))),
    "integers": lambda: Tensor([1, 2]) + Tensor([2, 3]),
    "no elements": lambda: variable() * 2,
}


@pytest.mark.parametrize("run", NONFINITE_INPUTS.values(), ids=NONFINITE_INPUTS)
def test_nonfinite_inputs_are_not_reported(run):
    assert report_of(run) == ""


@pytest.mark.parametrize(
    ("name", "run"),
    [("multiply", lambda: variable(np.inf, 1) * 0.0), ("subtract", lambda: variable(np.inf) - variable(np.inf))],
)
def test_nan_computed_from_infinities_is_reported(name, run):
    assert report_of(run).startswith(f"{name},")
    assert "is NaN: " in report_of(run)


def test_operations_on_constants_are_watched():
    assert report_of(lambda: tg.log(Tensor([0.0]))).startswith("log,")


def test_error_states_elements_and_ranges():
    assert re.search(
        r"computed -inf in 2 of 4 elements, first at index \(0, 1\)\. Its inputs: x is float64 of shape \(2, 2\) "
        r"from 0 to 3, 2 of them 0\.",
        report_of(lambda: tg.log(Tensor([[1.0, 0.0], [0.0, 3.0]]))),
    )


def test_error_names_each_input():
    message = report_of(lambda: variable(np.inf, 2) - variable(np.inf, np.nan))
    assert "x is float64 of shape (2,) from 2 to 2, 1 of them infinite" not in message  # the NaN is in the input
    message = report_of(lambda: variable(np.inf, 2) - variable(np.inf, 1))
    assert (
        "x is float64 of shape (2,) from 2 to 2, 1 of them infinite; y is float64 of shape (2,) from 1 to 1" in message
    )


# -- backward ----------------------------------------------------------------------------------------------------------


def test_error_in_a_vjp_has_the_line_of_its_operation():
    def run():
        x = variable(0, 1)
        y = tg.sqrt(x)
        y.sum().backward()

    message = report_of(run)
    assert message.startswith(
        f"the derivative of sqrt for x, computed at {line_of(run, 'tg.sqrt')}, computed inf at index (0,)"
    )
    assert "add an epsilon under it" in message


def test_single_where_error_suggests_a_second():
    def run():
        x = variable(0, 1)
        tg.where(x.data > 0, tg.sqrt(x), 0.0).sum().backward()

    assert "the derivative of sqrt for x" in report_of(run)
    assert "a second where around it" in report_of(run)


def test_double_where_is_not_reported():
    def run():
        x = variable(0, 1)
        positive = x.data > 0
        tg.where(positive, tg.sqrt(tg.where(positive, x, 1.0)), 0.0).sum().backward()

    assert report_of(run) == ""


def test_error_in_a_vjp_of_an_operation_before_the_block():
    y = tg.sqrt(variable(0.0)).sum()
    assert report_of(y.backward).startswith(
        "the derivative of sqrt for x, computed outside any trace_nonfinite block, computed inf"
    )


def test_operation_of_an_earlier_block_keeps_its_line():
    def forward():
        return tg.sqrt(variable(0.0)).sum()

    with trace_nonfinite():
        y = forward()
    assert line_of(forward, "tg.sqrt") in report_of(y.backward)


def test_overflow_in_a_sum_of_cotangents_is_reported():
    def run():
        x = variable(1.0, dtype=np.float32)
        x = x * 1.0
        (x + x).backward(gradient=np.array([3e38], np.float32))

    assert report_of(run).startswith("the sum of cotangents, after the derivative of add for y, computed at ")


def test_overflow_in_undoing_broadcasting_is_reported():
    x = variable(1.0, dtype=np.float32)
    y = x * np.full(10, 3e38, np.float32)
    assert "the sum of cotangents, after the derivative of multiply for x" in report_of(lambda: y.backward(np.ones(10)))


def test_second_derivative_is_watched():
    def run():
        x = variable(0, 1)
        (derivative,) = grad((x**1.5).sum(), [x], create_graph=True)
        derivative.sum().backward()

    assert "computed inf" in report_of(run)


def test_error_inside_a_recorded_vjp_names_the_vjp():
    def run():
        x = variable(0, 1)
        grad(tg.sqrt(x).sum(), x, create_graph=True)

    message = report_of(run)
    assert message.startswith(
        f"divide, in the derivative of sqrt for x, computed at {line_of(run, 'tg.sqrt')}, computed inf"
    )
    assert "add an epsilon under it" in message


def test_operations_after_a_failed_vjp_are_reported_as_forward():
    wrong = tg.primitive("of_test_tracing_fails", lambda x: x * 1.0, x=lambda g: g.no_such_thing)

    def run():
        with pytest.raises(AttributeError):
            wrong(variable(1.0)).sum().backward(create_graph=True)
        tg.log(variable(0.0))

    assert report_of(run).startswith("log, at ")


# -- source locations --------------------------------------------------------------------------------------------------


def test_error_inside_a_module_has_the_users_line_and_the_modules():
    layer = nn.Linear(2, 1, rng=np.random.default_rng(0))
    layer.W.data = np.full((2, 1), 1e308)

    def run():
        return layer(np.full((3, 2), 10.0))

    message = report_of(run)
    assert re.match(
        rf"matmul, at {re.escape(line_of(run, 'layer('))} \(through tinygrad_cifar.nn.\w+\.py:\d+\), computed", message
    )


def test_error_in_training_has_the_lines_of_fit_and_of_the_layer():
    rng = np.random.default_rng(0)
    model = models.TwoLayer(4, 3, 2, rng=rng)
    data = rng.normal(size=(20, 4)), rng.integers(0, 2, 20)

    def run():
        fitting.fit(model, optim.SGD(model.parameters(), 1e200), data, epochs=3, batch_size=5)

    message = report_of(run)
    assert re.match(
        rf"matmul, at {re.escape(line_of(run, 'fit('))} \(through tinygrad_cifar.course.models\.py:\d+\)", message
    )


def test_folder_with_the_package_name_as_a_prefix_is_the_users():
    code = compile("def f(x):\n    return tg.log(x)\n", tg.__path__[0] + "_of_mine/own.py", "exec")
    names = {"tg": tg}
    exec(code, names)
    assert "tinygrad_cifar_of_mine/own.py:2, computed" in report_of(lambda: names["f"](variable(0.0)))


# -- the block ---------------------------------------------------------------------------------------------------------


def test_nothing_is_raised_outside_the_block():
    with np.errstate(all="ignore"):
        assert tg.log(variable(0.0)).data.tolist() == [-np.inf]


def test_the_block_ends_with_the_error():
    report_of(lambda: tg.log(variable(0.0)))
    with np.errstate(all="ignore"):
        tg.log(variable(0.0))


def test_numpy_warnings_are_silenced_inside_the_block():
    report_of(lambda: np.log(np.zeros(1)))
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        np.log(np.zeros(1))


def test_blocks_can_be_nested():
    with trace_nonfinite():
        assert report_of(lambda: tg.log(variable(0.0)))
        with pytest.raises(NonFiniteError):
            tg.log(variable(0.0))


def test_no_grad_inside_the_block_is_watched():
    def run():
        with tg.no_grad():
            tg.log(variable(0.0))

    assert report_of(run).startswith("log,")


def run_in_a_thread(run) -> str:
    message = []
    thread = threading.Thread(target=lambda: message.append(run()))
    thread.start()
    thread.join()
    return message[0]


def log_of_zero():
    with np.errstate(all="ignore"):
        return tg.log(variable(0.0)).item()


def test_other_threads_are_not_watched():
    with trace_nonfinite():
        assert run_in_a_thread(log_of_zero) == -np.inf


def test_thread_can_enter_its_own_block():
    assert run_in_a_thread(lambda: report_of(log_of_zero)).startswith("log,")


def test_thread_in_a_copied_context_is_watched():
    with trace_nonfinite():
        context = contextvars.copy_context()

    def run():
        with pytest.raises(NonFiniteError) as caught:
            context.run(log_of_zero)
        return str(caught.value)

    assert run_in_a_thread(run).startswith("log,")


def test_only_tasks_started_inside_the_block_are_watched():
    async def watched():
        with trace_nonfinite():
            child = asyncio.create_task(unwatched())
            await asyncio.sleep(0)
            with pytest.raises(NonFiniteError):
                await child

    async def unwatched():
        await asyncio.sleep(0)
        return log_of_zero()

    async def both():
        return (await asyncio.gather(watched(), unwatched()))[1]

    assert asyncio.run(both()) == -np.inf


def test_memory_of_a_block_does_not_grow():
    x = variable(1.0, 2.0)

    def steps(count):
        for _ in range(count):
            (x * x).sum().backward()
            x.grad = None

    with trace_nonfinite():
        steps(10)
        gc.collect()
        tracemalloc.start()
        try:
            steps(1000)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 20_000


def test_results_inside_the_block_are_bit_for_bit_identical():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(20, 4)), rng.integers(0, 2, 20)

    def gradients():
        model = models.TwoLayer(4, 3, 2, rng=np.random.default_rng(1))
        model.cost(from_numpy(X.copy()), labels, 0.1).backward()
        return [p.grad.data.tobytes() for p in model.parameters()]

    plain = gradients()
    with trace_nonfinite():
        assert gradients() == plain


# -- kinks -------------------------------------------------------------------------------------------------------------

ON_THE_KINK = {
    "relu": (lambda: tg.relu(variable(0, 1, -0.0)), 2),
    "absolute": (lambda: abs(variable(0, 1)), 1),
    "sign": (lambda: tg.sign(variable(0, 1)), 1),
    "maximum": (lambda: tg.maximum(variable(1, 2), variable(1, 3)), 1),
    "minimum": (lambda: tg.minimum(variable(1, 2), 1.0), 1),
    "clip": (lambda: tg.clip(variable(0, 0.5, 1), 0.0, 1.0), 2),
    "max": (lambda: tg.max(variable(3, 1, 3)), 2),
    "min": (lambda: tg.min(Tensor([[1.0, 1.0], [1.0, 2.0]]), axis=1), 2),
    "norm": (lambda: tg.norm(Tensor([[0.0, 0.0], [1.0, 0.0]]), axis=1), 2),
}


@pytest.mark.parametrize("name", [name for name, op in PRIMITIVES.items() if op.kink and op.vjps and name in SPECS])
def test_the_spec_of_a_primitive_with_a_kink_has_a_case_on_it(name):
    spec = SPECS[name]
    with count_kinks() as kinks:
        for kink in spec.kinks:
            spec.call(*map(Tensor, kink.case.arrays), *kink.case.parameters)
    assert kinks[name] > 0


@pytest.mark.parametrize("name", ON_THE_KINK)
def test_elements_on_a_kink_are_counted(name):
    run, count = ON_THE_KINK[name]
    with count_kinks() as kinks:
        run()
    assert kinks == {name: count}


def test_elements_near_a_kink_are_not_counted():
    with count_kinks() as kinks:
        tg.relu(variable(5e-324, -1)) + abs(variable(1)) + tg.clip(variable(2), 0, None) + tg.maximum(variable(1), 2)
        tg.max(variable(1, 2)), tg.norm(variable(1, 0))
    assert kinks == {}


def test_kinks_of_several_operations_add_up():
    with count_kinks() as kinks:
        for _ in range(3):
            tg.relu(variable(0, 0, 1))
        abs(variable(0))
    assert kinks == {"relu": 6, "absolute": 1}


def test_hinge_at_its_margin_is_counted():
    with count_kinks() as kinks:
        tg.functional.hinge(Tensor([[2.0, 1.0, 0.0]]), [0])
    assert kinks == {"relu": 1}


def test_operations_inside_vjps_are_not_counted():
    """The VJP of absolute computes the sign, which has a kink as well."""
    x = variable(0, 1)
    with count_kinks() as kinks:
        grad(abs(x).sum(), x, create_graph=True)
    assert kinks == {"absolute": 1}


def test_counting_continues_after_a_failed_vjp():
    wrong = tg.primitive("of_test_tracing_fails_too", lambda x: x * 1.0, x=lambda g: g.no_such_thing)
    with count_kinks() as kinks:
        with pytest.raises(AttributeError):
            wrong(variable(1.0)).sum().backward()
        tg.relu(variable(0))
    assert kinks == {"relu": 1}


def test_kinks_of_an_evaluation_are_counted():
    model = models.TwoLayer(3, 4, 2, rng=np.random.default_rng(0))
    data = np.zeros((6, 3)), np.array([0, 1] * 3)
    with count_kinks() as kinks:
        evaluation.evaluate(model, data)
    assert kinks == {"relu": 24}  # six black images, four hidden units, biases of 0


def test_counter_and_trace_are_independent():
    with count_kinks() as kinks, trace_nonfinite():
        tg.relu(variable(0)).sum().backward()
        with pytest.raises(NonFiniteError):
            tg.log(variable(0))
    assert kinks == {"relu": 1}


def test_no_watcher_remains_after_the_blocks():
    report_of(lambda: tg.log(variable(0)))
    with count_kinks() as kinks:
        pass
    tg.relu(variable(0))
    assert kinks == {}
    assert active_watchers() == ()


# -- numbers that were not finite before -------------------------------------------------------------------------------


@pytest.mark.parametrize("cotangent", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [lambda x: 2 * x, lambda x: x * 2 + x * 3, lambda x: tg.exp(x) + tg.sin(x)])
def test_derivatives_of_a_cotangent_that_is_not_finite_are_not_reported(function, cotangent):
    def run():
        x = variable(1, 2)
        function(x).backward(np.array([cotangent, 1.0]))
        gradients.append(x.grad.numpy())

    gradients = []
    assert report_of(run) == ""
    assert not np.isfinite(gradients[0][0])
    assert np.isfinite(gradients[0][1])


def test_nan_summed_from_infinite_cotangents_is_reported():
    def run():
        x = variable(1, 2)
        (x * 2 - x * 3).backward(np.array([np.inf, 1.0]))

    assert report_of(run).startswith("the sum of cotangents")


# -- the ranges in a message -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "inputs"),
    [
        (lambda: tg.log(variable(0, 3)), "x is float64 of shape (2,) from 0 to 3, 1 of them 0"),
        (lambda: tg.log(Tensor(0.0)), "x is 0"),
        (lambda: tg.log(Tensor([0.0])), "x is 0"),
        (lambda: variable(1, 2) / 0.0, "x is float64 of shape (2,) from 1 to 2; y is 0"),
        (
            lambda: variable(1, 2) / np.array([0, 5]),
            ("x is float64 of shape (2,) from 1 to 2; y is int64 of shape (2,) from 0 to 5, 1 of them 0"),
        ),
        (lambda: tg.sum(variable(1.5e308, 1.5e308), 0), "x is float64 of shape (2,) from 1.5e+308 to 1.5e+308"),
        (
            lambda: variable(np.inf, np.inf) - variable(np.inf, 1),
            (
                "x is float64 of shape (2,), 2 of them infinite; "
                "y is float64 of shape (2,) from 1 to 1, 1 of them infinite"
            ),
        ),
    ],
)
def test_a_message_describes_every_input_and_no_axis(run, inputs):
    message = report_of(run)
    assert message.split("Its inputs: ")[1].split(". Known rewrite")[0] == inputs


@pytest.mark.parametrize(("bad", "found"), [(1, "at index (1,)"), (2, "in 2 of 3 elements, first at index (1,)")])
def test_a_message_counts_the_elements(bad, found):
    numbers = [1.0, 0.0, 0.0][: 1 + bad] + [1.0] * (2 - bad)
    assert f"computed -inf {found}." in report_of(lambda: tg.log(variable(*numbers)))


def test_a_message_about_a_scalar_has_no_index():
    assert "computed -inf. Its inputs" in report_of(lambda: tg.log(Tensor(0.0)))
