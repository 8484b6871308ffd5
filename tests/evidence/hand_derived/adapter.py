"""The only module that knows how the doctor is called and how its answer is read.

::

    report = tinygrad_cifar.doctor.diagnose(cost, gradients, arguments, wrt=names)

- ``cost(**arguments)`` is the cost as a function of tensors, ``gradients(**arguments)`` the hand-derived gradient in
  NumPy: a tuple, a list, or a dictionary by name, in the order of ``names``.
- ``arguments`` is one problem: a dictionary of arrays and numbers, by the names of the cost's parameters and in their
  order. With lists, ``arguments["Ws"]`` is a list of arrays, and the gradient that belongs to it is a list, too.
- ``names`` are the arguments of which a gradient is wanted.
- ``report.status`` is "right", "wrong" or "not known", and ``report.sentences`` has one sentence for each mistake, the
  first one first.
- A ``ValueError`` is the refusal of gradients that cannot be compared, such as those of another shape: its message is
  taken as a sentence. Other errors count as failures.

With ``--arrays``, ``gradients`` is the result of the function on the one problem instead of the function.
``case.draw(seed)`` returns the arguments of another problem with other sizes, for an interface that takes several.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.evidence.hand_derived.cases import Case

VERDICTS = ("right", "wrong", "not known")


class Answer(NamedTuple):
    """What the doctor said: one of ``VERDICTS``, and one sentence for each mistake it named."""

    verdict: str
    sentences: tuple[str, ...] = ()


def ask_doctor(case: Case) -> Answer:
    """Return the doctor's answer about a case, whose gradients are given as a function."""
    return _ask(case, case.gradients)


def ask_doctor_about_arrays(case: Case) -> Answer:
    """Return the doctor's answer about a case, whose gradients are given as arrays for one problem."""
    return _ask(case, case.gradients(**case.arguments))


def _ask(case: Case, gradients: Any) -> Answer:
    from tinygrad_cifar import doctor  # noqa: PLC0415 - the other modules work without it

    try:
        report = doctor.diagnose(case.cost, gradients, case.arguments, wrt=case.parameters)
    except ValueError as error:
        return Answer("wrong", (str(error),))
    return Answer(report.status, tuple(report.sentences))
