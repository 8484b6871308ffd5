"""The gradient doctor: what is wrong in a gradient that was derived by hand.

:func:`diagnose` compares gradients with the right ones, which come from the graph of the cost, and tries the mistakes
of its vocabulary: changes of the backward pass at one place. Modules in reading order:

1. :mod:`~tinygrad_cifar.doctor.diagnosis`: ``diagnose``, from the arguments to the report.
2. :mod:`~tinygrad_cifar.doctor.subject`: the cost and the gradients of the user, and how they are called.
3. :mod:`~tinygrad_cifar.doctor.recording`: the right cost as a list of steps, from the view of its graph.
4. :mod:`~tinygrad_cifar.doctor.walks`: the backward walk with changes.
5. :mod:`~tinygrad_cifar.doctor.cases`: the gradients on one problem, and whether they agree with a walk;
   :mod:`~tinygrad_cifar.doctor.drawing` draws more of them, :mod:`~tinygrad_cifar.doctor.equal_sizes` those in which
   equal sizes differ; :mod:`~tinygrad_cifar.doctor.rounding` gives the tolerance.
6. :mod:`~tinygrad_cifar.doctor.vocabulary`: the changes that are tried.
7. :mod:`~tinygrad_cifar.doctor.search`: the search for those that reproduce the given gradients;
   :mod:`~tinygrad_cifar.doctor.arguments` and :mod:`~tinygrad_cifar.doctor.forward_changes`: what the gradient function
   has forgotten or shifted, or computes in another way, in its forward pass.
8. :mod:`~tinygrad_cifar.doctor.sentences`, :mod:`~tinygrad_cifar.doctor.report`: what is said.

Beside them: :mod:`~tinygrad_cifar.doctor.problems` (the arguments of the cost, and others like them),
:mod:`~tinygrad_cifar.doctor.matching` (which gradient belongs to which parameter),
:mod:`~tinygrad_cifar.doctor.factors` (names of factors), :mod:`~tinygrad_cifar.doctor.constants` (names of numbers in
the cost), :mod:`~tinygrad_cifar.doctor.budget` (the limit of processor time) and
:mod:`~tinygrad_cifar.doctor.calls` (time limits, output and errors of the user's functions).

The command diagnoses a student's file: :mod:`~tinygrad_cifar.doctor.student_file` (in a process of its own),
:mod:`~tinygrad_cifar.doctor.definitions` (the names that the file defines), :mod:`~tinygrad_cifar.doctor.hand_ins` (how
its function is called), :mod:`~tinygrad_cifar.doctor.networks` (the right costs), and
:mod:`~tinygrad_cifar.doctor.failures` and :mod:`~tinygrad_cifar.doctor.progress` (why it could not be called).
"""

from tinygrad_cifar.doctor.calls import DiagnosisError as DiagnosisError
from tinygrad_cifar.doctor.diagnosis import diagnose as diagnose
from tinygrad_cifar.doctor.report import Report as Report
from tinygrad_cifar.doctor.report import Row as Row
from tinygrad_cifar.doctor.sentences.drafts import Mistake as Mistake

__all__ = ["DiagnosisError", "Mistake", "Report", "Row", "diagnose"]
