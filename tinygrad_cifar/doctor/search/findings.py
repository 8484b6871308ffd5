"""Confirmed changes of the backward walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_cifar.doctor.factors import Factor
from tinygrad_cifar.doctor.walks import Edit


@dataclass
class Finding:
    """A confirmed change.

    Attributes
    ----------
    edit : Edit
        The change.
    factor : Factor or None
        For a change of size, the factor of the right quantity (``"scale"``) or of the added one; None otherwise.
    parameters : tuple of str
        The gradients that it reproduces.
    amounts : tuple of float
        The amount of the change on each problem.
    affected : tuple of str
        The gradients that it changes.
    """

    edit: Edit
    factor: Factor | None
    parameters: tuple[str, ...]
    amounts: tuple[float, ...]
    affected: tuple[str, ...] = ()


def count_kinds(findings: Sequence[Finding]) -> int:
    """Return the number of different mistakes, counting one that is repeated in several layers once."""
    return len({(finding.edit.kind, _factor_text(finding)) for finding in findings})


def have_same_factor(a: Finding, b: Finding) -> bool:
    """Return whether two findings have a factor of the same name, or none."""
    return _factor_text(a) == _factor_text(b)


def _factor_text(finding: Finding) -> str:
    return finding.factor.text if finding.factor else ""
