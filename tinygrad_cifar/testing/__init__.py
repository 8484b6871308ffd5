"""Checks of primitives: the properties, strategies and planted faults that the library's own tests consist of.

Needs the extra ``test`` (Hypothesis and pytest). :func:`check_primitive` checks one operation and says in a table what
holds; :func:`check_model` and :func:`check_gradients` check a model and a function. The modules, which import only from
those above them:

=================  =====================================================================================================
``cases``          what a case, a kink and a specification are
``strategies``     draw shapes, elements and calls
``exact``          VJPs of affine operations, compared without a tolerance
``properties``     what must hold for a primitive, as functions of a specification and a case
``checks``         ``check_primitive``
``faults``         faults that are planted into VJPs
``fault_score``    ``python -m tinygrad_cifar.testing FILE``: the share of planted faults that the tests in a file catch
=================  =====================================================================================================
"""

from importlib.util import find_spec

if find_spec("hypothesis") is None:
    raise ModuleNotFoundError(
        "tinygrad_cifar.testing needs Hypothesis; install it with pip install 'tinygrad-cifar[test]'", name="hypothesis"
    )

from tinygrad_cifar.engine.gradcheck import check_gradients as check_gradients
from tinygrad_cifar.engine.gradcheck import check_model as check_model
from tinygrad_cifar.testing import strategies as strategies
from tinygrad_cifar.testing.cases import Case, Kink, Spec, by_element
from tinygrad_cifar.testing.checks import PrimitiveCheck, PropertyCheck, check_primitive

__all__ = [
    "Case",
    "Kink",
    "PrimitiveCheck",
    "PropertyCheck",
    "Spec",
    "by_element",
    "check_primitive",
]
