"""``tinygrad-cifar doctor``: what is wrong in the gradient function of a student's file."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_cifar.cli.common import Subparsers, UsageError, int_in_range, wrapped
from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.student_file import diagnose_student_file

_EXPLANATION = """\
The function is called on small problems, with images as columns or as rows, and
its gradients are compared with the right ones for the cost of the course: the
mean loss plus lam times the sum of the squared weights, or the file's own
ComputeCost. The file is executed: definitions, imports and assignments only.

The signatures, in which parameters may have other orders, and X may be MX:
  assignment 1  ComputeGradients(X, Y, P, W, lam), (X, Y, P, W, b, lam),
                (X, y, W, b, lam), BackwardPass(X, Y, P, network, lam)
  assignment 2  BackwardPass(X, Y, fp_data, network, lam),
                ComputeGradients(X, Y, W1, b1, W2, b2, lam)
  assignment 3  BackwardPass(X, Y, fp_data, network, lam) with the lists
                network["W"], ["b"], ["gamma"], ["beta"],
                (MX, Y, Fs_flat, W1, b1, W2, b2, lam)
fp_data is what the file's ApplyNetwork(X, network) or ForwardPass returns. The
gradients are a tuple, a list or a dictionary.

The exit status is 0 if the gradients are right, 1 if they are not, and 2 if the
file cannot be diagnosed."""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "doctor",
        help="find the mistakes in a gradient that was derived by hand",
        description="Say what is wrong in the gradient function of a Python file: a table with a line per parameter, "
        "and a sentence for each mistake.",
        epilog=_EXPLANATION,
    )
    parser.add_argument("file", metavar="FILE", help="Python file with the function")
    parser.add_argument("--function", default="", metavar="NAME", help="name of the function (default: see below)")
    parser.add_argument(
        "--time-limit",
        type=int_in_range(1, 3600),
        default=60,
        metavar="SECONDS",
        help="time after which the file is stopped (default 60)",
    )
    parser.set_defaults(command=diagnose)


def diagnose(options: argparse.Namespace) -> int:
    """Run the command."""
    try:
        found = diagnose_student_file(Path(options.file), options.function, seconds=options.time_limit)
    except DiagnosisError as error:
        raise UsageError(str(error)) from error
    print(f"{wrapped(found.taken)}\n\n{found.text}")
    return 0 if found.status == "right" else 1
