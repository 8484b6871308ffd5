"""Random programs agree with the naive engine, and a program that does not is reported as short runnable text."""

from __future__ import annotations

import code
import contextlib
import io

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.evidence import faults, naive
from tests.evidence.programs import HEADER, STEPS, DisagreementError, Programs


def run_programs(count, **options):
    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    run_state_machine_as_test(Programs, settings=chosen)


def test_every_program_has_the_naive_engines_values_and_gradients():
    run_programs(5 * settings().max_examples)


# -- programs with an injected fault -----------------------------------------------------------------------------------

FAULTS = [
    "negated: matmul.y",
    "engine: keeps only the last contribution to a cotangent",
    "engine: detach() keeps the node",
]
if settings().max_examples >= 300:  # the thorough profile
    FAULTS += [
        "times 1.001: sin.x",
        "zero: broadcast_to.x",
        "is not recorded: multiply.x",
        "engine: adds cotangents in place, in an array that may be shared",
        "engine: backward() skips freed nodes",
        "engine: grad() skips freed nodes",
        "engine: writes to an array that something else refers to",
        "engine: confuses the operands of a variadic primitive",
    ]


@pytest.fixture(scope="module", params=FAULTS)
def fault_and_program(request):
    """Return a fault and the reported program."""
    options = {"derandomize": True, "database": None, "report_multiple_bugs": False}
    with faults.inject(request.param), pytest.raises(DisagreementError) as caught:
        run_programs(20_000, phases=[Phase.generate, Phase.shrink], **options)
    return request.param, caught.value.program


def test_reported_program_is_short(fault_and_program):
    _, program = fault_and_program
    assert program.startswith(HEADER)
    assert len(program.removeprefix(HEADER).splitlines()) <= 12


def test_reported_program_fails_with_the_fault(fault_and_program):
    fault, program = fault_and_program
    with faults.inject(fault), pytest.raises((AssertionError, RuntimeError)):
        exec(program, {})


def test_reported_program_passes_without_the_fault(fault_and_program):
    exec(fault_and_program[1], {})


def run_in_a_session(program):
    """Return the error output of a Python session into which a program is pasted."""
    session = code.InteractiveConsole({})
    with contextlib.redirect_stderr(io.StringIO()) as said:  # some versions of Python print it themselves
        for line in program.splitlines():
            session.push(line)
    return said.getvalue()


def test_reported_program_can_be_pasted_into_a_session(fault_and_program):
    fault, program = fault_and_program
    assert run_in_a_session(program) == ""
    with faults.inject(fault):
        said = run_in_a_session(program)
    assert "Traceback" in said
    assert "SyntaxError" not in said
    assert "NameError" not in said


def test_naive_engine_is_checked_against_differences(monkeypatch):
    """Errors that both engines share are detected by the differences; several make one be found soon."""
    with contextlib.ExitStack() as stack:
        for name in ("arctan", "cos", "exp", "expm1", "sigmoid", "sin", "square", "tanh"):
            function, derivative = naive.FUNCTIONS[name]
            monkeypatch.setitem(naive.FUNCTIONS, name, (function, lambda x, right=derivative: -right(x)))
            stack.enter_context(faults.inject(f"negated: {name}.x"))
        with pytest.raises(RuntimeError, match="the naive engine is wrong"):
            run_programs(2000, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False)
