"""Programs that a machine writes: all agree with the naive engine, and one that would not can be pasted."""

from __future__ import annotations

import code
import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.evidence import faults, naive
from tests.evidence.programs import HEADER, STEPS, DisagreementError, Programs


def write_programs(count, **options):
    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    run_state_machine_as_test(Programs, settings=chosen)


def test_every_program_has_the_naive_engines_values_and_gradients():
    write_programs(5 * settings().max_examples)


# -- the machine with a fault to find ----------------------------------------------------------------------------------

FAULTS = [
    "negated: matmul.y",
    "engine: skips an accumulation: the last path counts",
    "engine: detach() does not",
]
if settings().max_examples >= 300:  # the thorough profile
    FAULTS += [
        "times 1.001: sin.x",
        "zero: broadcast_to.x",
        "is not recorded: multiply.x",
        "engine: accumulates in place, in an array that others may hold",
        "engine: backward() passes over what was used up",
        "engine: grad() passes over what was used up",
        "engine: writes into an array that others hold",
        "engine: takes one operand of many for its neighbour",
    ]


@pytest.fixture(scope="module", params=FAULTS)
def found(request):
    """Return a fault and the program that the machine found for it."""
    options = {"derandomize": True, "database": None, "report_multiple_bugs": False}
    with faults.planted(request.param), pytest.raises(DisagreementError) as caught:
        write_programs(20_000, phases=[Phase.generate, Phase.shrink], **options)
    return request.param, caught.value.program


def test_a_program_that_disagrees_is_short(found):
    _, program = found
    assert program.startswith(HEADER)
    assert len(program.removeprefix(HEADER).splitlines()) <= 12


def test_it_fails_by_itself_while_the_fault_is_there(found):
    fault, program = found
    with faults.planted(fault), pytest.raises((AssertionError, RuntimeError)):
        exec(program, {})


def test_it_does_not_without_the_fault(found):
    exec(found[1], {})


def pasted(program):
    """Return what a Python session says when a program is pasted into it."""
    session = code.InteractiveConsole({})
    with contextlib.redirect_stderr(io.StringIO()) as said:  # some versions of Python say it by themselves
        for line in program.splitlines():
            session.push(line)
    return said.getvalue()


def test_it_can_be_pasted_into_a_session(found):
    fault, program = found
    assert pasted(program) == ""
    with faults.planted(fault):
        said = pasted(program)
    assert "Traceback" in said
    assert "SyntaxError" not in said
    assert "NameError" not in said


def test_the_naive_engine_is_held_against_differences_too(monkeypatch):
    """Were both engines wrong in the same way, the differences would still tell."""
    monkeypatch.setitem(naive.FUNCTIONS, "sin", (np.sin, lambda x: -naive.apply("cos", x)))
    with faults.planted("negated: sin.x"), pytest.raises(RuntimeError, match="the naive engine is wrong"):
        write_programs(2000, derandomize=True, database=None, phases=[Phase.generate])
