"""Mutation testing: faults injected into VJPs and into the engine, which the regular tests must detect.

    python -m tests.evidence.faults              every fault, on two processes: the score, and each survivor
    python -m tests.evidence.faults --sample     one fault of each kind
    INJECTED_FAULT="negated: multiply.x" python -m pytest -p tests.evidence.faults tests
                                        any tests, with one fault injected

A fault in a VJP is detected by the functions of test_primitives.py, called for that primitive with a small, fixed
number of drawn inputs. A fault in the engine replaces one expression or statement of a function, and is detected by the
tests of the engine, the files of ENGINE_TESTS, run unchanged.

No fault is excluded by hand. A change counts as equivalent to the original only if each run proves it
(:mod:`tinygrad_cifar.testing.faults`). As a control, no change at all is injected into every VJP; the tests must pass.
"""

# As a plugin of pytest this is imported before the tests, and must not import them; it prints its results.
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import argparse
import ast
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

from tests.evidence.syntax_patterns import replace_pattern
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.testing.fault_plugin import split_title
from tinygrad_cifar.testing.fault_score import FaultOutcome, score_by_kind
from tinygrad_cifar.testing.faults import (
    NOTHING,
    VJP_FAULTS,
    explain_no_fault,
    forget_effects,
    inject_into_vjp,
    returns_the_cotangent,
)

TESTS = Path(__file__).parents[1]

PROGRAMS = "trust/test_programs.py::test_every_program_has_the_naive_engines_values_and_gradients"
ENGINE_TESTS = (
    "engine/test_backprop.py",
    "engine/test_modes.py",
    "engine/test_saved_arrays.py",
    "engine/test_tensor.py",
    "engine/test_application.py",
    "engine/test_indexing.py",
    "engine/test_compositions.py",
    "engine/test_user_primitives.py",
    "engine/test_derivatives.py",
    "engine/test_numpy_protocols.py",
    "engine/blocked/test_blocks.py",
    "engine/blocked/test_winograd.py",
    "nn/test_images.py",
    "nn/test_optim.py",
    "trust/test_conformance.py",
    PROGRAMS,
)


def all_vjps() -> list[tuple[str, str]]:
    """Return the primitive and the input of every VJP in the table."""
    from tests.evidence.specs import SPECS

    return [(name, input) for name in sorted(SPECS) for input in PRIMITIVES[name].vjps]


# The order in which the properties of a primitive are checked: fast ones first.
ORDER = (
    "vjp_keeps_nothing",
    "vjp_writes_nowhere",
    "vjp_shape_and_dtype",
    "exact_adjoint",
    "differences",
    "step_into_the_complex_plane",
    "duality",
    "vjp_is_linear",
    "vjp_accepts_any_cotangent",
    "gradients_have_the_leafs_dtype",
    "float32_agrees",
    "broadcasting",
    "second_order",
    "layout",
    "value",
)


def tests_of_primitive(name: str) -> list[tuple[str, Callable[[], None]]]:
    """Return the tests of one primitive."""
    from tests.engine import test_primitives
    from tinygrad_cifar.testing import properties

    assert set(ORDER) == set(properties.PROPERTIES), "ORDER must name every property once"
    drawn = [(check, functools.partial(test_primitives.test_property, check, name)) for check in ORDER]
    kinks = [(spec, kink) for spec, kink in test_primitives.KINKS if spec is test_primitives.SPECS[name]]
    at_kinks = [(kink.name, functools.partial(test_primitives.test_kink, spec, kink)) for spec, kink in kinks]
    of_astype = functools.partial(test_primitives.test_vjp_of_astype_has_the_dtype_of_its_cotangent, np.float32)
    return [*drawn, *at_kinks, *([("conversion to float32", of_astype)] if name == "astype" else [])]


def first_failure(name: str) -> str:
    """Run the tests of one primitive; return the name of the first that fails and its error, or nothing."""
    import pytest
    from hypothesis import errors

    for title, test in tests_of_primitive(name):
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


def use_small_budget() -> None:
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
    """A pattern of a function's syntax tree, and its faulty replacement.

    The pattern (:mod:`tests.evidence.syntax_patterns`) must match exactly once in the function, so a fault is found
    again whatever the names and the layout of the source.
    """

    module: str
    function: str
    right: str
    wrong: str


_ADD = "A[B] = C + D"
_ACCUMULATE_GRAD = "A if B is None else B + A"
_FREE = "if not A:\n    B.C = None"
_RETAIN = "A if B is None else B"

ENGINE_FAULTS = {
    # the backward pass
    "keeps only the last contribution to a cotangent": EngineFault("engine.backprop", "_follow", _ADD, "A[B] = D"),
    "keeps only the first contribution to a cotangent": EngineFault("engine.backprop", "_follow", _ADD, "A[B] = C"),
    "adds cotangents in place, in an array that may be shared": EngineFault(
        "engine.backprop", "_follow", _ADD, "A[B] = C.__iadd__(D)"
    ),
    "adds large cotangents in place, in an array that may be shared": EngineFault(
        "engine.ownership", "is_local", "A.B(C) <= D", "True"
    ),
    "adds a large cotangent twice": EngineFault("engine.backprop", "_follow", "np.add(A, B, out=B)", "B + B"),
    "drops the parts of a cotangent when a whole contribution follows": EngineFault(
        "engine.backprop", "_follow", "A = A.total()", "A = None"
    ),
    "drops the sum before the first part of a cotangent": EngineFault(
        "engine.backprop", "_collect", "return A(B, C, D)", "return A(B, C)"
    ),
    "drops the last contribution when its sum is computed": EngineFault(
        "engine.parts", "Parts.total", "A.B(C, D, E, F)", "A.B(C, D, E[:-1] or E, F[:-1] or F)"
    ),
    "drops the contributions of an operation before those of another": EngineFault(
        "engine.backprop", "_collect", "A(B, C, D.total())", "A(B, C, D._start)"
    ),
    "visits the oldest node first": EngineFault("engine.backprop", "_next", "A.B(C, (-D.E, D))", "A.B(C, (D.E, D))"),
    "visits a node as soon as it is reached": EngineFault(
        "engine.backprop", "_next", "heapq.heappushpop(A, B)[1]", "B[1]"
    ),
    "does not undo broadcasting": EngineFault("engine.backprop", "_match_input", "A = B(A, C.D)", "pass"),
    "sums any wrong shape": EngineFault("engine.backprop", "_match_input", "not A.B", "False"),
    "does not restore the dtype of an input": EngineFault("engine.backprop", "_match_input", "A if B is C else D", "A"),
    "follows edges that lead to no target": EngineFault(
        "engine.backprop", "_edges_towards", "[A for A in B if C]", "[A for A in B]"
    ),
    "drops the cotangent of a target that is not a leaf": EngineFault(
        "engine.backprop", "propagate", "if A in B:\n    ...", "pass"
    ),
    "finds only paths of one edge": EngineFault(
        "engine.backprop", "_edges_on_paths", "sorted(A, key=B)", "sorted(A, key=B, reverse=True)"
    ),
    # freeing the graph
    "never frees the graph": EngineFault("engine.backprop", "propagate", _FREE, "pass"),
    "always frees the graph": EngineFault("engine.backprop", "propagate", _FREE, "B.C = None"),
    "backward() skips freed nodes": EngineFault(
        "engine.backprop", "propagate", "if A is None:\n    raise B", "if A is None:\n    A = ()"
    ),
    "grad() skips freed nodes": EngineFault("engine.backprop", "_edges_on_paths", "raise A", "continue"),
    "grad(create_graph=True) frees the graph": EngineFault("engine.backprop", "grad", _RETAIN, "bool(B)"),
    "backward(create_graph=True) frees the graph": EngineFault("engine.backprop", "backward", _RETAIN, "bool(B)"),
    # the initial cotangent, the accumulation into .grad
    "starts from 2": EngineFault(
        "engine.backprop", "_initial_cotangent", "np.ones(A, dtype=B)", "np.full(A, 2, dtype=B)"
    ),
    "accepts an initial cotangent of any shape": EngineFault(
        "engine.backprop", "_initial_cotangent", "A != B or C", "C"
    ),
    "shares the caller's initial cotangent": EngineFault(
        "engine.backprop", "_initial_cotangent", "A.astype(B)", "A.astype(B, copy=False)"
    ),
    "does not differentiate the initial cotangent": EngineFault(
        "engine.backprop", "_initial_cotangent", "A if isinstance(B, C) else D", "D"
    ),
    "replaces .grad": EngineFault("engine.backprop", "backward", _ACCUMULATE_GRAD, "A"),
    "adds to .grad in place, in an array that two leaves may share": EngineFault(
        "engine.backprop",
        "backward",
        _ACCUMULATE_GRAD,
        "A if B is None else _wrap(type(A), np.add(B._array, A._array, out=B._array))",
    ),
    "keeps the first .grad": EngineFault("engine.backprop", "backward", _ACCUMULATE_GRAD, "A if B is None else B"),
    "returns zeros of another dtype": EngineFault("engine.backprop", "grad", "np.zeros(A, B)", "np.zeros(A)"),
    # recorded VJPs
    "passes arrays to recorded VJPs": EngineFault(
        "engine.backprop", "propagate", "A if B is None else partial(C, B)", "A"
    ),
    "passes the result as an array to recorded VJPs": EngineFault(
        "engine.backprop", "_as_values", 'A["out"] = B', "pass"
    ),
    "confuses the operands of a variadic primitive": EngineFault(
        "engine.backprop", "_as_values_of_several", "enumerate(A)", "enumerate(A, 1)"
    ),
    "does not record with create_graph=True": EngineFault("engine.backprop", "_run_backward", "if A:\n    ...", "pass"),
    # the graph
    "gives every node the same number": EngineFault("engine.graph", "make_node", "A.B = C()", "A.B = 0"),
    "records under no_grad (one input)": EngineFault(
        "engine.fast_paths", "_of_x_alone", "A is None or (B is not None and not B.C)", "A is None"
    ),
    "records under no_grad (one input and other arguments)": EngineFault(
        "engine.fast_paths", "_with_other_arguments", "A is None or (B is not None and not B.C)", "A is None"
    ),
    "records under no_grad (two inputs)": EngineFault(
        "engine.fast_paths",
        "two_inputs",
        "(A is None and B is None) or (C is not None and not C.D)",
        "A is None and B is None",
    ),
    "records under no_grad (the general form)": EngineFault(
        "engine.application", "apply_with_aux", "A is None or A.B", "True"
    ),
    "does not restore the mode after an exception": EngineFault(
        "engine.modes", "ModeContext.__exit__", "A in B", "A in B and _[0] is None"
    ),
    "leaves the innermost block instead of the given one": EngineFault(
        "engine.modes", "ModeContext.__exit__", "del A[B]", "del A[-1]"
    ),
    "lets user-defined VJPs write to their arguments": EngineFault(
        "engine.primitives", "primitive", "{A: D(B) for A, B in C}", "{A: B for A, B in C}"
    ),
    "keeps a result that something else refers to": EngineFault(
        "engine.ownership", "_copy_if_shared", "A if B else np.array(A)", "A"
    ),
    "writes to repeated positions in memory order": EngineFault(
        "engine.ops.indexing", "_update_array", "if A(B):\n    ...", "pass"
    ),
    "overwrites a tensor that is not a leaf": EngineFault(
        "engine.tensor", "Tensor.overwrite", "if not A.B:\n    ...", "pass"
    ),
    "lets the shape of the array of a tensor be changed": EngineFault(
        "engine.tensor", "wrap_without_copy", "np.asarray(A.data.toreadonly())", "A"
    ),
    "saves a constant that the caller may change": EngineFault(
        "engine.ownership", "copy_arrays", "A if isinstance(B, C) else B", "B"
    ),
    "saves an operand that the caller may change": EngineFault(
        "engine.application", "apply_with_aux", "A if isinstance(B, C) or D not in E else F(A)", "A"
    ),
    "gives both cotangents to the first of two inputs": EngineFault(
        "engine.fast_paths", "two_inputs", "((A, B, C), (D, E, F))", "((A, B, C), (A, E, F))"
    ),
    "saves other arguments that the caller may change": EngineFault(
        "engine.fast_paths", "_with_other_arguments", "[A(B) for B in C]", "[B for B in C]"
    ),
    "saves other arguments of a variadic primitive that the caller may change": EngineFault(
        "engine.application", "apply_with_aux", "map(A, B)", "B"
    ),
    # the tensor
    "writes to an array that something else refers to": EngineFault(
        "engine.ownership", "is_shared", "A > B or C", "False"
    ),
    "copies an array that nothing else refers to": EngineFault("engine.ownership", "is_shared", "A > B or C", "True"),
    "assigns the caller's array to .data": EngineFault(
        "engine.tensor", "Tensor.data", "np.array(A, dtype=B)", "np.asarray(A, dtype=B)"
    ),
    "shares the caller's array": EngineFault(
        "engine.tensor", "Tensor.__init__", "np.array(A, dtype=B, subok=C)", "np.asarray(A, dtype=B)"
    ),
    "returns a writeable array as .data": EngineFault("engine.tensor", "Tensor.data", "A(B)\n", "pass"),
    "detach() keeps the node": EngineFault("engine.tensor", "Tensor.detach", "A.B = None", "A.B = self.B"),
    "drops the gradient of a copy": EngineFault("engine.tensor", "_rebuild", "if A is not None:\n    ...", "pass"),
    "forgets the node of a frozen leaf": EngineFault(
        "engine.tensor", "Tensor._leaf_node", "return getattr(self, A, None)", "return None"
    ),
    "accumulates the gradient of a frozen leaf": EngineFault(
        "engine.backprop", "backward", "if not A.frozen:\n    ...", "if True:\n    ..."
    ),
    "gives a sum of gradients the byte order of the machine": EngineFault(
        "engine.backprop", "_with_dtype_of", "A if A.dtype is B.dtype else C", "A"
    ),
    "assigns a recorded tensor to an element of an array": EngineFault(
        "engine.numpy_protocol", "is_item_assignment", "A == B", "False"
    ),
    "takes every conversion to a number for an assignment": EngineFault(
        "engine.numpy_protocol", "is_item_assignment", "A == B", "True"
    ),
    "drops the mask of a masked array": EngineFault("engine.graph", "refuse_masked_array", "if A:\n    ...", "pass"),
    "makes a copy of a subclass a plain tensor": EngineFault(
        "engine.tensor", "_rebuild", "object.__new__(A)", "object.__new__(Tensor)"
    ),
    "drops the attributes of a copy": EngineFault("engine.tensor", "Tensor.__reduce__", "A is B", "A is not None"),
    # user-defined primitives
    "takes one name of a VJP for another": EngineFault("engine.graph", "_check_names", "if A:\n    ...", "pass"),
    "stacks two results": EngineFault("engine.ownership", "require_results", "A is None and B", "False"),
    "unpacks one result into two": EngineFault("engine.ownership", "require_results", "A is not None and B", "False"),
    "confuses an argument given by name with a missing one": EngineFault(
        "engine.application", "bind_arguments", "if A and B is C:\n    ...", "pass"
    ),
    # the optimiser
    "interrupts a step": EngineFault(
        "system.interrupts", "deferred_interrupt", "if A or B:\n    ...", "if True:\n    ..."
    ),
    "updates a frozen parameter": EngineFault(
        "nn.optim.base", "Optimiser.step", "A is not None and B.requires_grad", "A is not None"
    ),
    # images, in blocks
    "does not turn filters round": EngineFault("engine.blocked.convolution", "_turned", "A[::-1, ::-1]", "A"),
    "takes the padding after an image for that before it": EngineFault(
        "engine.blocked.convolution", "_reversed", "A.B[C][0]", "A.B[C][1]"
    ),
    "adds only the last terms of the gradient of filters": EngineFault(
        "engine.blocked.partial_sums", "partial_sums", "A += B", "A[...] = B"
    ),
    "takes one part of the gradient of filters": EngineFault(
        "engine.blocked.convolution", "_add_parts", "A += B[C]", "pass"
    ),
    "subtracts the pixels of a tile in the other order": EngineFault(
        "engine.blocked.winograd",
        "_combine_pixels",
        "np.subtract(A[2], A[1], out=B[2])",
        "np.subtract(A[1], A[2], out=B[2])",
    ),
    "uses the numbers of one channel for all": EngineFault(
        "engine.blocked.depthwise",
        "convolve",
        "np.multiply(A, B[C, D, 0], out=E)",
        "np.multiply(A, B[C, D, 0, 0], out=E)",
    ),
    "keeps the last product of a depthwise convolution only": EngineFault(
        "engine.blocked.depthwise", "convolve", "A += B", "np.copyto(A, B)"
    ),
    "adds to the first element of every window only": EngineFault(
        "engine.blocked.windows",
        "PaddedSums.add_terms",
        "element_of_windows(A, B, C, D)",
        "element_of_windows(0, 0, C, D)",
    ),
    "takes one part of a depthwise gradient": EngineFault(
        "engine.blocked.depthwise", "filter_gradient", "np.add.reduce(A)", "A[0]"
    ),
    "forgets a product of a tile": EngineFault("engine.blocked.winograd", "_add_products", "A += B[2]", "pass"),
    "takes one part of the products of tiles": EngineFault(
        "engine.blocked.winograd", "filter_gradient", "for A in B:\n    C += A", "pass"
    ),
    "pads with 0 below a maximum": EngineFault(
        "engine.blocked.pooling", "max_of_windows", "_reduce(A, B, C, D, fill=-np.inf)", "_reduce(A, B, C, D)"
    ),
    "takes the padding for a maximum": EngineFault(
        "engine.blocked.pooling", "_first_maxima", "np.logical_and(A, B, out=A)", "None"
    ),
    "counts equal maxima twice": EngineFault("engine.blocked.pooling", "_first_maxima", "A &= B", "pass"),
    "forgets the distance of the means of two blocks": EngineFault(
        "engine.blocked.normalization", "channel_statistics", "A += B + C * C * (D * E / (D + E))", "A += B"
    ),
    "processes the first block only": EngineFault("engine.blocked.threads", "run", "for A in B:\n    C(A)", "C(B[0])"),
    "saves the variance of the batch as that of all images": EngineFault(
        "nn.normalization", "BatchNorm.forward", "A * (B / (B - 1))", "A"
    ),
    "updates running statistics in evaluation mode": EngineFault(
        "nn.normalization", "BatchNorm.forward", "not self.training", "False"
    ),
    # products with the Jacobian and the Hessian
    "does not record derivatives of derivatives under no_grad": EngineFault(
        "engine.modes", "enable_grad", "A(B=True)", "A()"
    ),
    "uses only the first tangent": EngineFault(
        "engine.derivatives", "inner_product", "(A * B).sum()", "(A * directions[0]).sum()"
    ),
    "transposes the Jacobian": EngineFault("engine.derivatives", "_jacobian", "(*C.D, *E.D[F:])", "(*E.D[F:], *C.D)"),
    "does not record what else a derivative depends on": EngineFault(
        "engine.derivatives", "_depends_on_others", "bool(A)", "False"
    ),
    "does not connect a derivative to its recorded input": EngineFault(
        "engine.derivatives", "_variables", "isinstance(A, B) and A.C", "False"
    ),
}


# -- injection ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def inject_into_engine(name: str) -> Iterator[None]:
    """Give every function of a module the code that it would have if the module contained the fault.

    Functions keep their identity, so functions that other modules have imported are faulty as well.
    """
    fault = ENGINE_FAULTS[name]
    module = importlib.import_module(f"tinygrad_cifar.{fault.module}")
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    right = codes(compile(tree, module.__file__, "exec"))
    wrong = codes(compile(replace_pattern(tree, *fault[1:]), module.__file__, "exec"))
    changed = {_key(a): b for a, b in zip(right, wrong, strict=True) if a != b}
    functions = [thing for thing in gc.get_objects() if type(thing) is types.FunctionType]
    own = [function for function in functions if function.__code__.co_filename == module.__file__]
    alive = [function for function in own if _key(function.__code__) in changed]
    if not alive:
        raise LookupError(f"no function in memory has the code of {fault.module}.{fault.function}:\n{fault.right}")
    before = [(function, function.__code__) for function in alive]
    for function, code in before:
        function.__code__ = changed[_key(code)]
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code


def _key(code: types.CodeType) -> tuple[Any, ...]:
    """Identify code by its position and instructions; CPython's own comparison changes once it has been run."""
    return code.co_firstlineno, code.co_name, code.co_code, code.co_names, code.co_varnames


def codes(code: types.CodeType) -> list[types.CodeType]:
    """Return the code of a module and of all functions in it, in the order of the source."""
    return [code, *[inner for part in code.co_consts if isinstance(part, types.CodeType) for inner in codes(part)]]


def inject(title: str) -> contextlib.AbstractContextManager[None]:
    """Inject a fault by its title: ``"engine: <name>"`` or ``"<kind>: <primitive>.<input>"``."""
    kind, _, place = title.partition(": ")
    return inject_into_engine(place) if kind == "engine" else inject_into_vjp(*split_title(title))


def pytest_configure(config: Any) -> None:
    """Inject the fault named by INJECTED_FAULT for all tests, if pytest is run with ``-p tests.evidence.faults``."""
    if title := os.environ.get("INJECTED_FAULT"):
        fault = inject(title)
        fault.__enter__()
        config.add_cleanup(lambda: fault.__exit__(None, None, None))


# -- the score ---------------------------------------------------------------------------------------------------------


def try_vjp_fault(kind: str, name: str, input: str) -> FaultOutcome:
    place = f"{name}.{input}"
    if kind == "returns the cotangent" and returns_the_cotangent(name, input):
        return FaultOutcome(kind, place, "", "the VJP does nothing else")
    forget_effects()
    with inject_into_vjp(kind, name, input):
        test = first_failure(name)
    if kind == NOTHING and test:
        raise RuntimeError(f"the tests fail without a fault: {name}, {test}")
    return FaultOutcome(kind, place, test, "" if test else explain_no_fault(kind, name, input))


def try_engine_fault(name: str) -> FaultOutcome:
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
    environment = os.environ | {"INJECTED_FAULT": f"engine: {name}" if name != NOTHING else "", "CI": "true"}
    settings = {"cwd": TESTS.parent, "env": environment, "capture_output": True, "text": True, "timeout": 600}
    try:
        run = subprocess.run([*command, *tests], **settings, check=False)
    except subprocess.TimeoutExpired:
        if name == NOTHING:
            raise RuntimeError("the tests do not end without a fault") from None
        return FaultOutcome("engine", name, "the tests do not end")
    if run.returncode not in (0, 1):  # passed, failed
        raise RuntimeError(f"pytest could not run with the fault {name!r}:\n{run.stdout}{run.stderr}")
    failed = re.search(r"^FAILED \S+?::(?:\w+::)*(\w+)", run.stdout, re.MULTILINE)
    if name == NOTHING and run.returncode:
        raise RuntimeError(f"the tests fail without a fault:\n{run.stdout[-2000:]}")
    return FaultOutcome("engine" if name != NOTHING else NOTHING, name, failed[1] if failed else "")


def attempt(task: tuple[str, ...]) -> FaultOutcome:
    use_small_budget()
    return try_engine_fault(*task[1:]) if task[0] == "engine" else try_vjp_fault(*task)


def all_tasks() -> list[tuple[str, ...]]:
    engine = [("engine", name) for name in (*ENGINE_FAULTS, NOTHING)]
    return engine + [(kind, name, input) for name, input in all_vjps() for kind in (*VJP_FAULTS, NOTHING)]


def sample_of_tasks() -> list[tuple[str, ...]]:
    """Return one fault of each kind, each in another VJP, and two in the engine."""
    every = all_vjps()
    kinds = [*VJP_FAULTS, NOTHING]
    picked = [(kind, *every[i * len(every) // len(kinds)]) for i, kind in enumerate(kinds)]
    return [("engine", name) for name in list(ENGINE_FAULTS)[:2]] + picked


def attempted(tasks: Sequence[tuple[str, ...]], processes: int = 2) -> list[FaultOutcome]:
    """Try every fault in separate processes, so that no fault affects another."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap(attempt, tasks, chunksize=1))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.evidence.faults", description="Inject faults and count those that the tests detect."
    )
    parser.add_argument("--sample", action="store_true", help="one fault of each kind")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="only faults whose title contains this text")
    parser.add_argument("--verbose", action="store_true", help="name the test that detected each")
    options = parser.parse_args()
    tasks = sample_of_tasks() if options.sample else all_tasks()
    tasks = [task for task in tasks if options.only in f"{task[0]}: {'.'.join(task[1:])}"]
    started = time.perf_counter()
    outcomes = attempted(tasks, options.processes)
    if options.verbose:
        for outcome in outcomes:
            print(f"{outcome.kind}: {outcome.place}: {outcome.caught_by or outcome.no_fault or '-'}")
    print(f"{'fault':32}{'injected':>9}{'detected':>9}{'no fault':>10}")
    rows = score_by_kind(outcomes)
    for kind, faults, caught, others in rows:
        print(f"{kind:32}{faults:9}{caught:9}{others:10}")
    totals = [sum(row[i] for row in rows) for i in (1, 2, 3)]
    print(f"{'all':32}{totals[0]:9}{totals[1]:9}{totals[2]:10}")
    controls = sum(outcome.kind == NOTHING for outcome in outcomes)
    print(f"{controls} controls, none of them detected; {time.perf_counter() - started:.0f} seconds")
    survivors = [outcome for outcome in outcomes if outcome.survived]
    for outcome in survivors:
        print(f"SURVIVED  {outcome.kind}: {outcome.place}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
