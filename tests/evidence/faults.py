"""Faults planted in derivative rules and in the engine: whether the ordinary tests catch them is the tests' own test.

    python -m tests.evidence.faults              every fault, on two processes: the score, and each survivor
    python -m tests.evidence.faults --sample     one fault of each kind
    PLANTED_FAULT="negated: multiply.x" python -m pytest -p tests.evidence.faults tests
                                        any tests, with one fault planted

A fault in a rule is caught by the functions of test_primitives.py, called for that primitive with a small, fixed
budget of drawn inputs. A fault in the engine is a sentence of its source replaced by a wrong one, and is caught by
test_engine.py, or by the other files of ENGINE_TESTS, run as they are.

There is no list of exceptions. A planted change is no fault only where that is proved, each time anew: a rule that
hands its cotangent on, whatever that is, cannot be wrong by handing it on (:func:`is_the_identity`); a rule that is
given no array but its cotangent has no other to write into, and a single number is its own mean
(:func:`why_no_fault`). And nothing at all, planted as a control in every rule, must not be caught.
"""

# As a plugin of pytest this is imported before the tests, and must not import them; and what it says, it prints.
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib
import io
import multiprocessing
import os
import re
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cifar as tg
from tinygrad_cifar.engine.graph import Value, unwrap_value
from tinygrad_cifar.engine.primitives import PRIMITIVES

TESTS = Path(__file__).parents[1]

PROGRAMS = "trust/test_programs.py::test_every_program_has_the_naive_engines_values_and_gradients"
ENGINE_TESTS = (
    "engine/test_backprop.py",
    "engine/test_modes.py",
    "engine/test_ownership.py",
    "engine/test_tensor.py",
    "engine/test_application.py",
    "engine/test_indexing.py",
    "engine/test_compositions.py",
    "engine/test_user_primitives.py",
    "engine/test_derivatives.py",
    "trust/test_conformance.py",
    PROGRAMS,
)

# -- faults in rules -------------------------------------------------------------------------------------------------
# Each takes the right rule and what that would be applied to. Like a rule, it must do for arrays and for tensors.

Apply = Callable[..., Any]


def scaled_in_one_element(apply: Apply, g: Any, *arguments: Any) -> Any:
    part = apply(g, *arguments)
    if not np.size(unwrap_value(part)):
        return part
    first = (0,) * part.ndim
    return tg.index_update(tg.reshape(part, part.shape), first, 1.001 * part[first])


def averages_the_cotangent(apply: Apply, g: Any, *arguments: Any) -> Any:
    if np.size(unwrap_value(g)) > 1:
        g = 0 * g + tg.mean(g)
        _acted.add(apply)
    return apply(g, *arguments)


def writes_into_its_cotangent(apply: Apply, g: Any, *arguments: Any) -> Any:
    part = apply(g, *arguments) + 0
    if isinstance(unwrap_value(g), np.ndarray):
        unwrap_value(g)[...] = 0
    return part


def writes_into_an_input(apply: Apply, g: Any, *arguments: Any) -> Any:
    part = apply(g, *arguments) + 0
    for array in arrays_in(arguments):
        array[...] = 0
        _acted.add(apply)
    return part


def arrays_in(arguments: Sequence[Any]) -> list[np.ndarray]:
    """Return the arrays among a rule's arguments, also those in tuples and tensors."""
    found: list[np.ndarray] = []
    for argument in arguments:
        if isinstance(argument, tuple):
            found += arrays_in(argument)
        elif isinstance(unwrap_value(argument), np.ndarray):
            found.append(unwrap_value(argument))
    return found


_acted: set[Apply] = set()  # the rules whose fault had anything to change


def writes_into_what_it_gave_out(apply: Apply, g: Any, *arguments: Any) -> Any:
    """Compute every result in one array, a scratch buffer kept from call to call."""
    part = apply(g, *arguments)
    if isinstance(part, Value):
        return part
    buffers = _buffers.setdefault(apply, {})
    buffer = buffers.setdefault((np.shape(part), part.dtype), np.empty(np.shape(part), part.dtype))
    buffer[...] = part
    return buffer


_buffers: dict[Apply, dict[Any, np.ndarray]] = {}


def detached(part: Any) -> Any:
    return part.detach() if isinstance(part, tg.Tensor) else part


RULE_FAULTS: dict[str, Callable[..., Any]] = {
    "zero": lambda apply, *given: 0 * apply(*given),
    "negated": lambda apply, *given: -apply(*given),
    "times 1.001": lambda apply, *given: 1.001 * apply(*given),
    "times 1.001 in one element": scaled_in_one_element,
    "ignores the cotangent": lambda apply, g, *arguments: apply(0 * g + 1, *arguments),
    "averages the cotangent": averages_the_cotangent,
    "reversed": lambda apply, *given: tg.flip(apply(*given)),
    "clipped at 50": lambda apply, *given: tg.clip(apply(*given), -50, 50),
    "always float32": lambda apply, *given: tg.astype(apply(*given), np.float32),
    "always float64": lambda apply, *given: tg.astype(apply(*given), np.float64),
    "hands the cotangent on": lambda apply, g, *arguments: g,  # noqa: ARG005
    "writes into its cotangent": writes_into_its_cotangent,
    "writes into an input": writes_into_an_input,
    "writes into what it gave out": writes_into_what_it_gave_out,
    "is not recorded": lambda apply, *given: detached(apply(*given)),
}
NOTHING = "nothing (a control)"


NOTHING = "nothing, as a control"


@contextlib.contextmanager
def planted_in_rule(kind: str, name: str, input: str) -> Iterator[None]:
    """Replace one rule of the table by a faulty one."""
    rule = PRIMITIVES[name].vjps[input]
    right = rule.apply
    if kind != NOTHING:
        rule.apply = functools.partial(RULE_FAULTS[kind], right)
    try:
        yield
    finally:
        rule.apply = right


def is_the_identity(name: str, input: str) -> bool:
    """Prove that a rule returns its cotangent: given an object that can do nothing, it gives that very object back."""
    thing = object()
    try:
        return PRIMITIVES[name].vjps[input].apply(thing) is thing
    except Exception:  # noqa: BLE001 (it needs more, or tried to do something with it)
        return False


def why_no_fault(kind: str, name: str, input: str) -> str:
    """Prove, after the tests, that what was planted has changed nothing, because there never was anything to change."""
    row = PRIMITIVES[name]
    rule = row.vjps[input]
    if rule.apply in _acted:
        return ""
    if kind == "averages the cotangent":
        return "the result is a single number, the mean of itself"
    if kind == "writes into an input" and not {"out", *row.vjps} & set(rule.names):
        return "the rule is given no array but its cotangent"
    return ""


def rules() -> list[tuple[str, str]]:
    """Return the primitive and the input of every rule in the table."""
    from tests.evidence.specs import SPECS

    return [(name, input) for name in sorted(SPECS) for input in PRIMITIVES[name].vjps]


# The order in which the properties of oracle.py are asked: quick ones first.
ORDER = (
    "rule_keeps_nothing",
    "rule_writes_nowhere",
    "rule_shape_and_dtype",
    "differences",
    "step_into_the_complex_plane",
    "duality",
    "rule_is_linear",
    "rule_takes_any_cotangent",
    "gradients_have_the_leafs_dtype",
    "float32_agrees",
    "second_order",
    "layout",
    "value",
)


def ordinary_tests(name: str) -> list[tuple[str, Callable[[], None]]]:
    """Return the tests of one primitive."""
    from tests.engine import test_primitives
    from tests.evidence import oracle

    assert set(ORDER) == set(oracle.ORACLES), "ORDER must name every oracle once"
    drawn = [(check, functools.partial(test_primitives.test_oracle, check, name)) for check in ORDER]
    kinks = [(spec, kink) for spec, kink in test_primitives.KINKS if spec is test_primitives.SPECS[name]]
    return [*drawn, *[(kink.name, functools.partial(test_primitives.test_kink, spec, kink)) for spec, kink in kinks]]


def first_failure(name: str) -> str:
    """Ask the tests of one primitive; return the name of the first that fails and its error, or nothing."""
    import pytest
    from hypothesis import errors

    for title, test in ordinary_tests(name):
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("error")  # as setup.cfg has it
                test()
        except pytest.skip.Exception:  # noqa: PERF203 (not applicable)
            continue
        except (errors.Unsatisfiable, errors.InvalidArgument, errors.FailedHealthCheck):
            raise
        except Exception as error:  # noqa: BLE001 (whatever makes a test fail)
            return f"{title} ({type(error).__name__})"
    return ""


def small_budget() -> None:
    """Let Hypothesis draw as many inputs as a plain run of the tests does, the same ones every time."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "faults",
        max_examples=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("faults")


# -- faults in the engine ----------------------------------------------------------------------------------------------


class EngineFault(NamedTuple):
    """A passage of a module's source, and a wrong one in its place."""

    module: str
    right: str
    wrong: str


_ACCUMULATE = "cotangents[parent] = cotangents[parent] + part"
_DEPOSIT = "node.grad = g if node.grad is None else node.grad + g"
_PUSH = "heapq.heappush(queue, (-parent.number, parent))"

ENGINE_FAULTS = {
    # the walk
    "skips an accumulation: the last path counts": EngineFault(
        "engine.backprop", _ACCUMULATE, "cotangents[parent] = part"
    ),
    "visits the oldest value first": EngineFault(
        "engine.backprop", _PUSH, "heapq.heappush(queue, (parent.number, parent))"
    ),
    "skips an accumulation: the first path counts": EngineFault("engine.backprop", _ACCUMULATE, "pass"),
    "accumulates in place, in an array that others may hold": EngineFault(
        "engine.backprop", _ACCUMULATE, "cotangents[parent] += part"
    ),
    "visits a value as soon as it is reached": EngineFault(
        "engine.backprop", "_, node = heapq.heappop(queue)", "_, node = queue.pop()"
    ),
    "forgets to undo broadcasting": EngineFault("engine.backprop", "part = sum_to(part, parent.shape)", "pass"),
    "sums any wrong shape away": EngineFault("engine.backprop", "if not row.broadcasts:", "if False:"),
    "forgets the leaf's dtype": EngineFault(
        "engine.backprop", "return part if part.dtype is parent.dtype else astype(part, parent.dtype)", "return part"
    ),
    "goes on where nobody asked": EngineFault(
        "engine.backprop", "if along is not None and parent not in along:", "if False:"
    ),
    "loses the cotangent of a target on the way": EngineFault(
        "engine.backprop",
        "g = cotangents[node] if targets and node in targets else cotangents.pop(node)",
        "g = cotangents.pop(node)",
    ),
    "finds no path longer than one step": EngineFault(
        "engine.backprop", "key=lambda node: node.number)", "key=lambda node: -node.number)"
    ),
    # using the graph up
    "never uses the graph up": EngineFault("engine.backprop", "if not keep:", "if False:"),
    "always uses the graph up": EngineFault("engine.backprop", "if not keep:", "if True:"),
    "backward() passes over what was used up": EngineFault("engine.backprop", "raise _used_up(row)", "continue"),
    "grad() passes over what was used up": EngineFault("engine.backprop", "raise _used_up(node.primitive)", "continue"),
    "create_graph does not keep the graph": EngineFault(
        "engine.backprop",
        "keep = create_graph if retain_graph is None else retain_graph\n    found = _walk_for(out, seed, keep=keep, "
        "create_graph=create_graph, targets=set(nodes))",
        "keep = bool(retain_graph)\n    found = _walk_for(out, seed, keep=keep, "
        "create_graph=create_graph, targets=set(nodes))",
    ),
    "backward(create_graph=True) does not keep the graph": EngineFault(
        "engine.backprop",
        "keep = create_graph if retain_graph is None else retain_graph\n    found = _walk_for(out, seed, keep=keep, "
        "create_graph=create_graph, targets=None)",
        "keep = bool(retain_graph)\n    found = _walk_for(out, seed, keep=keep, "
        "create_graph=create_graph, targets=None)",
    ),
    # the seed, the deposit
    "starts from 2": EngineFault(
        "engine.backprop",
        "return np.ones(array.shape, dtype=array.dtype)",
        "return np.full(array.shape, 2, array.dtype)",
    ),
    "takes a seed of any shape": EngineFault("engine.backprop", "if seed.shape != array.shape or", "if"),
    "shares the caller's seed": EngineFault(
        "engine.backprop", "else seed.astype(array.dtype)", "else seed.astype(array.dtype, copy=False)"
    ),
    "forgets that the seed is recorded": EngineFault(
        "engine.backprop",
        "return astype(gradient, array.dtype) if isinstance(gradient, Value) else",
        "return",
    ),
    "deposits over what is there": EngineFault("engine.backprop", _DEPOSIT, "node.grad = g"),
    "deposits in place, in a buffer that two leaves may share": EngineFault(
        "engine.backprop",
        _DEPOSIT,
        "node.grad = g if node.grad is None else "
        "_wrapped(type(g), np.add(node.grad._array, g._array, out=node.grad._array))",
    ),
    "keeps the first deposit": EngineFault("engine.backprop", _DEPOSIT, "node.grad = node.grad or g"),
    "gives zeros of another dtype": EngineFault("engine.backprop", "np.zeros(n.shape, n.dtype)", "np.zeros(n.shape)"),
    # recording derivatives
    "drops the remembered arguments' places under create_graph": EngineFault(
        "engine.backprop",
        "arguments = remembered if kind is None else _recorded(node, edges, rule, remembered, kind)",
        "arguments = remembered",
    ),
    "forgets the result's place under create_graph": EngineFault(
        "engine.backprop", 'nodes: dict[Any, Node] = {"out": node}', "nodes: dict[Any, Node] = {}"
    ),
    "takes one operand of many for its neighbour": EngineFault(
        "engine.backprop", "for i, array in enumerate(argument))", "for i, array in enumerate(argument, 1))"
    ),
    "does not record under create_graph": EngineFault(
        "engine.backprop", "if create_graph:  # asked", "if False:  # asked"
    ),
    # the graph
    "numbers every node alike": EngineFault(
        "engine.graph",
        "node.edges = edges\n    node.number = _next_number()",
        "node.edges = edges\n    node.number = 0",
    ),
    "records one input under no_grad": EngineFault(
        "engine.primitives",
        "        parent = x._node\n        mode = current()\n"
        "        if parent is None or (mode is not None and not mode.recording):",
        "        parent = x._node\n        mode = current()\n        if parent is None:",
    ),
    "records two inputs under no_grad": EngineFault(
        "engine.primitives",
        "if (x_node is None and y_node is None) or (mode is not None and not mode.recording):",
        "if x_node is None and y_node is None:",
    ),
    "leaves no_grad on after an exception": EngineFault(
        "engine.modes", "if self in blocks:", "if self in blocks and _[0] is None:"
    ),
    "ends the innermost block, whichever is left": EngineFault(
        "engine.modes", "del blocks[len(blocks) - 1 - blocks[::-1].index(self)]", "del blocks[-1]"
    ),
    "lets a user's rules write to what they are given": EngineFault(
        "engine.primitives", "{input: guarded(rule) for input, rule", "{input: rule for input, rule"
    ),
    "keeps a result that somebody else holds": EngineFault(
        "engine.ownership", "result if is_fresh and type(result) is np.ndarray else np.array(result)", "result"
    ),
    "writes to repeated places in the order of the layout": EngineFault(
        "engine.ops.indexing", "if _may_repeat(index):  # which", "if False:  # which"
    ),
    "writes over what was computed": EngineFault(
        "engine.tensor",
        '        if not self.is_leaf:\n            raise ValueError("overwrite',
        '        if False:\n            raise ValueError("overwrite',
    ),
    "lets the shape of what it is made of be changed": EngineFault(
        "engine.tensor", "return borrowed(array.view())", "return borrowed(array)"
    ),
    "remembers a constant that its owner may change": EngineFault(
        "engine.ownership",
        "return np.array(operand) if isinstance(operand, np.ndarray) else operand",
        "return operand",
    ),
    "remembers one of many that its owner may change": EngineFault(
        "engine.primitives", "a if isinstance(x, Value) else owned(a) for a, x", "a for a, x"
    ),
    "gives both cotangents to the first of two inputs": EngineFault(
        "engine.primitives",
        "                    (y_node, y_rule, () if y_pick is None else y_pick(values)),\n",
        "                    (x_node, y_rule, () if y_pick is None else y_pick(values)),\n",
    ),
    "remembers the caller's arguments": EngineFault(
        "engine.primitives",
        "tuple([owned(argument) for argument in arguments])",
        "tuple([argument for argument in arguments])",
    ),
    "remembers the caller's arguments to one of many": EngineFault(
        "engine.primitives", "arrays, *map(owned, arguments)), strict", "arrays, *arguments), strict"
    ),
    # the tensor
    "writes into an array that others hold": EngineFault(
        "engine.tensor",
        "return sys.getrefcount(self._array) > _REFERENCES_TO_AN_OWN_ARRAY or self._array.base is not None",
        "return False",
    ),
    "copies an array that nobody else holds": EngineFault(
        "engine.tensor",
        "return sys.getrefcount(self._array) > _REFERENCES_TO_AN_OWN_ARRAY or self._array.base is not None",
        "return True",
    ),
    "assigns the caller's array": EngineFault(
        "engine.tensor",
        "array = np.array(given, dtype=self._array.dtype)",
        "array = np.asarray(given, dtype=self._array.dtype)",
    ),
    "is made of the caller's array": EngineFault(
        "engine.tensor", "array = np.array(data, dtype=dtype, subok=False)", "array = np.asarray(data, dtype=dtype)"
    ),
    "lets its data be written to": EngineFault(
        "engine.tensor", "        _lock(array)\n        return array.view()", "        return array.view()"
    ),
    "detach() does not": EngineFault(
        "engine.tensor",
        "out._array = self._array\n        out._node = None",
        "out._array = self._array\n        out._node = self._node",
    ),
    "forgets the gradient when it is copied": EngineFault(
        "engine.tensor", "    if grad is not None:\n        out.grad = grad", "    if False:\n        out.grad = grad"
    ),
    # products with the Jacobian and the Hessian
    "does not record the derivatives of derivatives under no_grad": EngineFault(
        "engine.modes", "return Block(recording=True)", "return Block()"
    ),
    "moves along the first tangent alone": EngineFault(
        "engine.derivatives", "total + (gradient * direction).sum()", "total + (gradient * directions[0]).sum()"
    ),
    "lays the Jacobian out in columns": EngineFault(
        "engine.derivatives", "reshape((*out.shape, *variable.shape))", "reshape((*variable.shape, *out.shape))"
    ),
    "forgets what else a derivative depends on": EngineFault(
        "engine.derivatives", "return bool(others)", "return False"
    ),
    "forgets that a derivative's input was recorded": EngineFault(
        "engine.derivatives", "if isinstance(x, Tensor) and x.requires_grad", "if isinstance(x, Tensor) and False"
    ),
}


# -- planting ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def planted_in_engine(name: str) -> Iterator[None]:
    """Give every living function of a module the code that it would have, had the module been written with the fault.

    Functions keep their identity, so whoever imported one has the faulty one.
    """
    fault = ENGINE_FAULTS[name]
    module = importlib.import_module(f"tinygrad_cifar.{fault.module}")
    source = Path(module.__file__).read_text(encoding="utf-8")
    if source.count(fault.right) != 1:
        raise LookupError(f"{fault.module}.py must have this once, to plant a fault there:\n{fault.right}")
    right = codes(compile(source, module.__file__, "exec"))
    wrong = codes(compile(source.replace(fault.right, fault.wrong), module.__file__, "exec"))
    changed = {_key(a): b for a, b in zip(right, wrong, strict=True) if a != b}
    functions = [thing for thing in gc.get_objects() if type(thing) is types.FunctionType]
    own = [function for function in functions if function.__code__.co_filename == module.__file__]
    alive = [function for function in own if _key(function.__code__) in changed]
    if not alive:
        raise LookupError(f"no living function has the code to be changed in {fault.module}.py:\n{fault.right}")
    before = [(function, function.__code__) for function in alive]
    for function, code in before:
        function.__code__ = changed[_key(code)]
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code


def _key(code: types.CodeType) -> tuple[Any, ...]:
    """Tell code by its place and its instructions; CPython's own comparison is disturbed once they have been run."""
    return code.co_firstlineno, code.co_name, code.co_code, code.co_names, code.co_varnames


def codes(code: types.CodeType) -> list[types.CodeType]:
    """Return the code of a module and of all functions in it, in the order of the source."""
    return [code, *[inner for part in code.co_consts if isinstance(part, types.CodeType) for inner in codes(part)]]


def planted(title: str) -> contextlib.AbstractContextManager[None]:
    """Plant a fault by its title: ``"engine: <name>"`` or ``"<kind>: <primitive>.<input>"``."""
    kind, _, place = title.partition(": ")
    return planted_in_engine(place) if kind == "engine" else planted_in_rule(kind, *place.split("."))


def pytest_configure(config: Any) -> None:
    """Plant the fault named by PLANTED_FAULT for all tests, where pytest is run with ``-p tests.evidence.faults``."""
    if title := os.environ.get("PLANTED_FAULT"):
        fault = planted(title)
        fault.__enter__()
        config.add_cleanup(lambda: fault.__exit__(None, None, None))


# -- the score ---------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What became of one fault: the test that caught it (or nothing), and why it was none, if it was none."""

    kind: str
    place: str
    caught_by: str
    no_fault: str = ""

    @property
    def survived(self) -> bool:
        return not self.caught_by and not self.no_fault and self.kind != NOTHING


def try_in_rule(kind: str, name: str, input: str) -> Outcome:
    place = f"{name}.{input}"
    if kind == "hands the cotangent on" and is_the_identity(name, input):
        return Outcome(kind, place, "", "the rule does nothing else")
    _acted.clear()
    with planted_in_rule(kind, name, input):
        test = first_failure(name)
    if kind == NOTHING and test:
        raise RuntimeError(f"the tests fail without a fault: {name}, {test}")
    return Outcome(kind, place, test, "" if test else why_no_fault(kind, name, input))


def try_in_engine(name: str) -> Outcome:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "tests.evidence.faults",
        "-p",
        "no:cacheprovider",
        "--tb=no",
    ]
    tests = [f"{TESTS}/{test}" for test in ENGINE_TESTS]
    environment = os.environ | {"PLANTED_FAULT": f"engine: {name}" if name != NOTHING else "", "CI": "true"}
    settings = {"cwd": TESTS.parent, "env": environment, "capture_output": True, "text": True, "timeout": 600}
    try:
        run = subprocess.run([*command, *tests], **settings, check=False)
    except subprocess.TimeoutExpired:
        return Outcome("engine", name, "the tests do not come to an end")
    if run.returncode not in (0, 1):  # passed, failed
        raise RuntimeError(f"pytest could not run with the fault {name!r}:\n{run.stdout}{run.stderr}")
    failed = re.search(r"^FAILED \S+?::(\w+)", run.stdout, re.MULTILINE)
    if name == NOTHING and failed:
        raise RuntimeError(f"the tests fail without a fault: {failed[1]}")
    return Outcome("engine" if name != NOTHING else NOTHING, name, failed[1] if failed else "")


def attempt(task: tuple[str, ...]) -> Outcome:
    small_budget()
    return try_in_engine(*task[1:]) if task[0] == "engine" else try_in_rule(*task)


def all_tasks() -> list[tuple[str, ...]]:
    engine = [("engine", name) for name in (*ENGINE_FAULTS, NOTHING)]
    return engine + [(kind, name, input) for name, input in rules() for kind in (*RULE_FAULTS, NOTHING)]


def sample_of_tasks() -> list[tuple[str, ...]]:
    """Return one fault of each kind, each in another rule, and two in the engine."""
    every = rules()
    kinds = [*RULE_FAULTS, NOTHING]
    picked = [(kind, *every[i * len(every) // len(kinds)]) for i, kind in enumerate(kinds)]
    return [("engine", name) for name in list(ENGINE_FAULTS)[:2]] + picked


def attempted(tasks: Sequence[tuple[str, ...]], processes: int = 2) -> list[Outcome]:
    """Try every fault, in processes of their own: what a fault leaves behind dies with them."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap(attempt, tasks, chunksize=1))


def score(outcomes: Sequence[Outcome]) -> list[tuple[str, int, int, int]]:
    """Return rows ``(kind, faults, caught, no faults)``, the controls left out."""
    kinds = dict.fromkeys(outcome.kind for outcome in outcomes if outcome.kind != NOTHING)
    rows = []
    for kind in kinds:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        faults = [outcome for outcome in of_kind if not outcome.no_fault]
        caught = [outcome for outcome in faults if outcome.caught_by]
        rows.append((kind, len(faults), len(caught), len(of_kind) - len(faults)))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.evidence.faults", description="Plant faults; see who catches them."
    )
    parser.add_argument("--sample", action="store_true", help="one fault of each kind")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="faults whose title has this in it")
    parser.add_argument("--verbose", action="store_true", help="name the test that caught each")
    options = parser.parse_args()
    tasks = sample_of_tasks() if options.sample else all_tasks()
    tasks = [task for task in tasks if options.only in f"{task[0]}: {'.'.join(task[1:])}"]
    started = time.perf_counter()
    outcomes = attempted(tasks, options.processes)
    if options.verbose:
        for outcome in outcomes:
            print(f"{outcome.kind}: {outcome.place}: {outcome.caught_by or outcome.no_fault or '-'}")
    print(f"{'fault':32}{'planted':>8}{'caught':>8}{'no fault':>10}")
    rows = score(outcomes)
    for kind, faults, caught, others in rows:
        print(f"{kind:32}{faults:8}{caught:8}{others:10}")
    totals = [sum(row[i] for row in rows) for i in (1, 2, 3)]
    print(f"{'all':32}{totals[0]:8}{totals[1]:8}{totals[2]:10}")
    controls = sum(outcome.kind == NOTHING for outcome in outcomes)
    print(f"{controls} controls, none of them caught; {time.perf_counter() - started:.0f} seconds")
    survivors = [outcome for outcome in outcomes if outcome.survived]
    for outcome in survivors:
        print(f"SURVIVED  {outcome.kind}: {outcome.place}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
