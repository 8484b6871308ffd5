"""What the gradient checks of several libraries catch: the same faults, injected into the same functions.

    python -m tests.evidence.other_checks         measures, and writes docs/gradient_checks.md

Needs PyTorch, JAX and HIPS autograd (the extra ``peers``); a library that is not installed is left out, and the page is
not written. The functions are a cube, a product of two arrays and a product of matrices; the fault is in the VJP of the
first input. Each check has its default settings, and checks second derivatives if it can.
"""

# ruff: noqa: ARG005, PLC0415, T201 (unused inputs of VJPs; optional libraries; a command)

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from tests.evidence.tables import format_table
from tinygrad_cifar import testing
from tinygrad_cifar.testing.faults import NOTHING, VALUE_FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "gradient_checks.md"
KINDS = (NOTHING, *VALUE_FAULTS)

# Value, VJP of the first input, and VJP of the second, in any library; and the shapes of the inputs.
FUNCTIONS: dict[
    str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any] | None, list[tuple[int, ...]]]
] = {
    "cube": (lambda x: x * x * x, lambda g, x: 3 * g * x * x, None, [(3, 2)]),
    "product": (lambda x, y: x * y, lambda g, x, y: g * y, lambda g, x, y: g * x, [(3, 2), (3, 2)]),
    "matrix product": (lambda x, y: x @ y, lambda g, x, y: g @ y.T, lambda g, x, y: x.T @ g, [(3, 2), (2, 3)]),
}


def points(shapes: list[tuple[int, ...]]) -> list[Any]:
    """Return the inputs, the same for every library."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape) for shape in shapes]


def _faults(library: Any) -> dict[str, Callable[..., Any]]:
    """Return the faults, written with the operations of a library; each receives the right VJP and the cotangent."""
    return {
        NOTHING: lambda vjp, g: vjp(g),
        "zero": lambda vjp, g: 0 * vjp(g),
        "negated": lambda vjp, g: -vjp(g),
        "times 1.001": lambda vjp, g: 1.001 * vjp(g),
        "times 1.001 in one element": lambda vjp, g: vjp(g) * library.one_element(vjp(g)),
        "ignores the cotangent": lambda vjp, g: vjp(0 * g + 1),
        "averages the cotangent": lambda vjp, g: vjp(0 * g + g.mean()),
        "reversed": lambda vjp, g: library.reverse(vjp(g)),
        "clipped at 50": lambda vjp, g: library.clip(vjp(g)),
        "always float32": lambda vjp, g: library.single(vjp(g)),
        "always float64": lambda vjp, g: library.double(vjp(g)),
        "returns the cotangent": lambda vjp, g: library.fit(g, vjp(g)),
        "is not recorded": lambda vjp, g: library.detach(vjp(g)),
    }


def _mask(shape: tuple[int, ...]) -> Any:
    factors = np.ones(shape)
    factors.flat[0] = 1.001
    return factors


# -- the libraries -----------------------------------------------------------------------------------------------------


class Ours:
    """This library."""

    one_element = staticmethod(lambda part: _mask(part.shape))
    reverse = staticmethod(tg.flip)
    clip = staticmethod(lambda part: tg.clip(part, -50, 50))
    single = staticmethod(lambda part: tg.astype(part, np.float32))
    double = staticmethod(lambda part: tg.astype(part, np.float64))
    fit = staticmethod(
        lambda g, part: g if g.shape == part.shape else tg.reshape(g, (-1,))[: part.size].reshape(part.shape)
    )
    detach = staticmethod(lambda part: part.detach() if isinstance(part, tg.Tensor) else part)

    @classmethod
    def make(cls, name: str, kind: str) -> Callable[..., Any]:
        """Return a primitive with a fault."""
        value, first, second, _ = FUNCTIONS[name]
        fault = _faults(cls)[kind]
        if second is None:
            vjps = {"x": lambda g, x: fault(lambda h: first(h, x), g)}
            return tg.primitive("checked", value, **vjps)
        vjps = {"x": lambda g, x, y: fault(lambda h: first(h, x, y), g), "y": second}
        return tg.primitive("checked", value, **vjps)


def check_gradients(name: str, kind: str) -> None:
    """Check by check_gradients of this library."""
    testing.check_gradients(Ours.make(name, kind), *points(FUNCTIONS[name][3]), second_order=True)


def check_primitive(name: str, kind: str) -> None:
    """Check by check_primitive of this library."""
    shapes = FUNCTIONS[name][3]

    def draw(rng: np.random.Generator) -> tuple[Any, ...]:
        return tuple(rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape) for shape in shapes)

    check = testing.check_primitive(Ours.make(name, kind), draw, examples=20)
    assert check.passed, check


def pytorch(name: str, kind: str) -> None:
    """Check by torch.autograd.gradcheck and gradgradcheck."""
    import torch

    class Library:
        one_element = staticmethod(lambda part: torch.as_tensor(_mask(part.shape)))
        reverse = staticmethod(lambda part: torch.flip(part, tuple(range(part.ndim))))
        clip = staticmethod(lambda part: torch.clip(part, -50, 50))
        single = staticmethod(lambda part: part.float())
        double = staticmethod(lambda part: part.double())
        fit = staticmethod(
            lambda g, part: g if g.shape == part.shape else g.reshape(-1)[: part.numel()].reshape(part.shape)
        )
        detach = staticmethod(lambda part: part.detach())

    value, first, second, shapes = FUNCTIONS[name]
    fault = _faults(Library)[kind]

    class Checked(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            return value(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            inputs = ctx.saved_tensors
            part = fault(lambda h: first(h, *inputs), g)
            return part if second is None else (part, second(g, *inputs))

    inputs = [torch.tensor(x, requires_grad=True) for x in points(shapes)]
    torch.autograd.gradcheck(Checked.apply, inputs)
    torch.autograd.gradgradcheck(Checked.apply, inputs)


def jax(name: str, kind: str) -> None:
    """Check by jax.test_util.check_grads, of order 2."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)

    class Library:
        one_element = staticmethod(lambda part: _mask(part.shape))
        reverse = staticmethod(jnp.flip)
        clip = staticmethod(lambda part: jnp.clip(part, -50, 50))
        single = staticmethod(lambda part: part.astype(np.float32).astype(part.dtype))  # it refuses another dtype
        double = staticmethod(lambda part: part.astype(np.float64))
        fit = staticmethod(lambda g, part: g if g.shape == part.shape else g.ravel()[: part.size].reshape(part.shape))
        detach = staticmethod(jax.lax.stop_gradient)

    value, first, second, shapes = FUNCTIONS[name]
    fault = _faults(Library)[kind]
    checked = jax.custom_vjp(value)

    def backward(inputs: Any, g: Any) -> Any:
        part = fault(lambda h: first(h, *inputs), g)
        return (part,) if second is None else (part, second(g, *inputs))

    checked.defvjp(lambda *inputs: (value(*inputs), inputs), backward)
    check_grads(checked, tuple(points(shapes)), order=2, modes=["rev"])


def hips_autograd(name: str, kind: str) -> None:
    """Check by autograd.test_util.check_grads, of order 2."""
    import autograd.numpy as anp
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads
    from autograd.tracer import getval

    class Library:
        one_element = staticmethod(lambda part: _mask(part.shape))
        reverse = staticmethod(anp.flip)
        clip = staticmethod(lambda part: anp.clip(part, -50, 50))
        single = staticmethod(lambda part: part.astype(np.float32))
        double = staticmethod(lambda part: part.astype(np.float64))
        fit = staticmethod(
            lambda g, part: g if g.shape == part.shape else anp.ravel(g)[: part.size].reshape(part.shape)
        )
        detach = staticmethod(getval)

    value, first, second, shapes = FUNCTIONS[name]
    fault = _faults(Library)[kind]
    checked = primitive(value)
    vjps = [lambda _, *inputs: lambda g: fault(lambda h: first(h, *inputs), g)]
    if second is not None:
        vjps.append(lambda _, *inputs: lambda g: second(g, *inputs))
    defvjp(checked, *vjps)
    check_grads(checked, modes=["rev"], order=2)(*points(shapes))


def rrule(name: str, kind: str) -> None:
    """Check by the procedure of test_rrule of ChainRulesTestUtils 1.13.1, with its defaults.

    The cotangent is one array of multiples of 0.01 between -9 and 9; the derivative of its product with the value, by
    differences of five points, which are at most 0.01 away, is compared with the VJP by norms. The step here is the
    largest one, since the five points are exact for the polynomials of degree 3 or less, but for rounding.
    """
    inputs = points(FUNCTIONS[name][3])
    checked, rng = Ours.make(name, kind), np.random.default_rng(0)
    value = checked(*inputs)
    cotangent = rng.integers(-900, 901, value.shape) / 100
    variables = [tg.Tensor(x, requires_grad=True) for x in inputs]
    found = [g.data for g in tg.grad(checked(*variables), variables, cotangent)]
    step, grid, weights = 0.005, (-2, -1, 1, 2), (1 / 12, -2 / 3, 2 / 3, -1 / 12)
    for k, x in enumerate(inputs):
        expected = np.empty_like(x)
        for i in np.ndindex(x.shape):
            moves = [x.copy() for _ in grid]
            for moved, places in zip(moves, grid, strict=True):
                moved[i] += places * step
            values = [np.sum(cotangent * checked(*inputs[:k], moved, *inputs[k + 1 :])) for moved in moves]
            expected[i] = np.dot(weights, values) / step
        norms = np.linalg.norm(expected), np.linalg.norm(found[k])
        assert np.linalg.norm(expected - found[k]) <= max(1e-9, 1e-9 * max(norms))


CHECKS: dict[str, tuple[Callable[[str, str], None], str | None]] = {
    "`check_primitive`": (check_primitive, None),
    "`check_gradients`": (check_gradients, None),
    "PyTorch `gradcheck`": (pytorch, "torch"),
    "JAX `check_grads`": (jax, "jax"),
    "HIPS autograd `check_grads`": (hips_autograd, "autograd"),
    "procedure of `test_rrule`": (rrule, None),
}

# -- the page ----------------------------------------------------------------------------------------------------------


def catches(check: Callable[[str, str], None], name: str, kind: str) -> bool:
    """Return whether a check fails for a function with a fault."""
    try:
        check(name, kind)
    except Exception:  # noqa: BLE001 (each library has errors of its own)
        return True
    return False


def measure(checks: dict[str, Callable[[str, str], None]]) -> list[list[Any]]:
    """Return a row for each fault: its name, and in how many functions each check catches it."""
    rows = []
    for kind in KINDS:
        counts = [sum(catches(check, name, kind) for name in FUNCTIONS) for check in checks.values()]
        rows.append([kind, *[f"{count} of {len(FUNCTIONS)}" for count in counts]])
    return rows


def format_page(rows: list[list[Any]], versions: str) -> str:
    """Return the page."""
    return f"""# What gradient checks catch

Written by `python -m tests.evidence.other_checks`: {versions}.

The same faults were injected into the VJPs of the same functions (a cube, a product of two arrays, a product of
matrices, as user-defined operations of each library), one at a time, in the VJP of the first input. Each check ran with
its default settings at the same point, of second order where it has one; `check_primitive` draws points of its own. A
cell says for how many of the three functions the check failed. The first row is the control: no fault.

{format_table(["fault", *CHECKS], rows)}
- The checks of PyTorch, JAX and HIPS autograd compare first and second derivatives at one point with differences, as
  `check_gradients` does.
- *Clipped at 50* shows only if cotangents are larger than usual, *always float64* only in float32, and *is not
  recorded* only in the second derivative. JAX converts or refuses a cotangent of another type.
- `test_rrule` of ChainRulesTestUtils 1.13.1 checks rules in Julia. Its procedure was written in NumPy for this table:
  one random cotangent of numbers between -9 and 9, differences of five points, and 1e-9 as relative and absolute
  tolerance of norms; first derivatives only. Its checks that types are inferred and that cotangents can be added have
  no counterpart here.
"""


def main() -> int:
    """Run every check whose library is installed; write the page if all are."""
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    present = {}
    for title, (check, library) in CHECKS.items():
        try:
            versions += [] if library is None else [f"{library} {importlib.metadata.version(library)}"]
        except importlib.metadata.PackageNotFoundError:
            continue
        present[title] = check
    rows = measure(present)
    print(format_table(["fault", *present], rows))
    if len(present) < len(CHECKS):
        print("The page is not written, since not every library is installed.", file=sys.stderr)
        return 1
    PAGE.write_text(format_page(rows, ", ".join(versions)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
