"""Checks of primitives: the properties, strategies and injected faults that the library's own tests consist of.

Needs the extra ``test`` (Hypothesis and pytest). :func:`check_primitive` checks one operation and says in a table what
holds; :func:`check_model` and :func:`check_gradients` check a model and a function. The modules, which import only from
those above them:

=================  =====================================================================================================
``cases``          what a case, a kink and a specification are
``strategies``     draw shapes, elements and calls
``exact``          VJPs of affine operations, compared without a tolerance
``properties``     what must hold for a primitive, as functions of a specification and a case
``checks``         ``check_primitive``
``faults``         faults that are injected into VJPs
``fault_plugin``   a plugin for pytest that injects one fault
``fault_score``    ``python -m tinygrad_cifar.testing FILE``: the share of injected faults that tests catch
=================  =====================================================================================================

Parameters of an operation, such as an axis, are part of a :class:`Case`; a point without a unique derivative is a
:class:`Kink`, with the derivative that is expected there:

>>> import numpy as np
>>> import tinygrad_cifar as tg
>>> from tinygrad_cifar.testing import Case, Kink, check_primitive
>>> def cumulate_vjp(g, axis):
...     return tg.flip(tg.cumsum(tg.flip(g, axis), axis), axis)
>>> cumulate = tg.primitive("cumulate", lambda x, axis: np.cumsum(x, axis), x=cumulate_vjp)
>>> def draw_case(rng):
...     return Case((rng.normal(size=(2, 3)),), parameters=(int(rng.integers(2)),))
>>> check_primitive(cumulate, draw_case, examples=10).passed
True

>>> size = tg.primitive("size", np.abs, x=lambda g, x: g * np.sign(x))
>>> corner = Kink("the derivative at 0 is 0", Case((np.zeros(1),)), cotangent=[1.0], gradients=([0.0],))
>>> check_primitive(size, lambda rng: rng.uniform(0.5, 2.0, size=3), kinks=[corner], examples=10).passed
True
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or find_spec("hypothesis") is not None:
    from tinygrad_cifar.engine.gradcheck import check_gradients as check_gradients
    from tinygrad_cifar.engine.gradcheck import check_model as check_model
    from tinygrad_cifar.testing import strategies as strategies
    from tinygrad_cifar.testing.cases import Case, Kink, Spec, by_element
    from tinygrad_cifar.testing.checks import PrimitiveCheck, PropertyCheck, check_primitive
else:
    # Python imports this package before it runs the command, which explains in a line what is missing.
    def __getattr__(name: str) -> Any:  # noqa: ARG001 (whatever is imported from here)
        raise ModuleNotFoundError(
            "tinygrad_cifar.testing needs Hypothesis; install the extra test: pip install '.[test]'", name="hypothesis"
        )


__all__ = [
    "Case",
    "Kink",
    "PrimitiveCheck",
    "PropertyCheck",
    "Spec",
    "by_element",
    "check_primitive",
]
