"""A program: a cost and its gradient as source text, and the edits that inject one mistake each.

The text of a program uses fixed names (``X``, ``W1``, ``lam``, ...). Three tokens are replaced when a case is made:
``PENALTY(W, V)`` is the L2 term of the cost, ``CLAM`` its factor in the cost, and ``DLAM`` that factor in the gradient.
The gradient of parameter ``W`` is the variable ``dW``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Edit(NamedTuple):
    """A mistake as a change of the gradient's source.

    Attributes
    ----------
    mistake
        Identifier of the mistake, a key of ``judge.VOCABULARY``.
    changes
        Pairs of texts: each first one occurs exactly once in the source and is replaced by the second.
    place
        Names of the variables and parameters, separated by spaces; a sentence that names one of them says where the
        mistake is. If empty, the kind of the mistake says where.
    wrong
        Name of the array that was used by mistake.
    factor
        The factor of a gradient that is a multiple of the right one: ``N``, ``1/N``, ``2``, ``1/2``, ``-1``, ``0.1``.
    """

    mistake: str
    changes: tuple[tuple[str, str], ...]
    place: str = ""
    wrong: str = ""
    factor: str = ""

    def apply(self, source: str) -> str:
        """Return the source with the mistake."""
        for old, new in self.changes:
            if source.count(old) != 1:
                raise ValueError(f"{self.mistake}: {old!r} occurs {source.count(old)} times in\n{source}")
            source = source.replace(old, new)
        return source

    def fits(self, source: str) -> bool:
        """Return whether the source has each text exactly once."""
        try:
            self.apply(source)
        except ValueError:
            return False
        return True


def edit(mistake: str, *texts: str, place: str = "", wrong: str = "", factor: str = "") -> Edit:
    """Return an edit from an even number of texts: old, new, old, new, ..."""
    pairs = tuple(zip(texts[::2], texts[1::2], strict=True))
    return Edit(mistake, pairs, place, wrong, factor)


@dataclass(frozen=True, eq=False)
class Program:
    """A network with its cost in several styles and its hand-derived gradient.

    Attributes
    ----------
    network
        One of the five kinds of network that the table has columns for.
    title
        The kind, the layout and the variant.
    data
        Names of the arguments that are not parameters, in order.
    parameters
        Names of the parameters, in order.
    costs
        Bodies of the cost, by style. A style whose name ends with "labels" has the argument ``y`` (integers) for ``Y``.
    one_hot
        Statement that computes ``Y`` from ``y``, for the gradient.
    gradients
        Body of the gradient function, without its return.
    edits
        The mistakes.
    loss
        Names of variables between the cost and the scores: their gradient is that of the data term.
    draw
        Draws the arguments from a generator, by name, with ``y`` besides ``Y``.
    naming
        Other names, by variant: a mapping from a name of the text to the name in the case.
    """

    network: str
    title: str
    data: tuple[str, ...]
    parameters: tuple[str, ...]
    costs: Mapping[str, str]
    one_hot: str
    gradients: str
    edits: tuple[Edit, ...]
    loss: tuple[str, ...]
    draw: Callable[[np.random.Generator], dict[str, Any]]
    naming: tuple[Mapping[str, str], ...] = ({},)


class Penalty(NamedTuple):
    """A way to write the L2 term: its form and factor in the cost, and the factor of the weights in the gradient."""

    term: str
    in_cost: str
    in_gradient: str


PENALTIES = (
    Penalty("tg.sum({0} * {0})", "lam", "2 * lam"),
    Penalty("tg.sum({0}**2)", "lam", "2 * lam"),
    Penalty("tg.sum(tg.square({0}))", "lam / 2", "lam"),
    Penalty("({0} ** 2).sum()", "0.5 * lam", "lam"),
)


def write_penalty(body: str, penalty: Penalty) -> str:
    """Return a body of the cost or of the gradient with its three tokens replaced."""

    def term(match: re.Match[str]) -> str:
        names = [name.strip() for name in match[1].split(",")]
        joined = " + ".join(penalty.term.format(name) for name in names)
        return joined if len(names) == 1 else f"({joined})"

    body = re.sub(r"PENALTY\(([^)]*)\)", term, body)
    return body.replace("CLAM", penalty.in_cost).replace("DLAM", penalty.in_gradient)


def penalty_edits(weights: tuple[str, ...], bias: str) -> list[Edit]:
    """Return the mistakes of the L2 term; each weight's gradient must contain ``+ DLAM * W``, where W is the weight."""

    def everywhere(new: str) -> list[str]:
        return [text for w in weights for text in (f" + DLAM * {w}\n", f"{new.format(w)}\n")]

    edits = [
        edit("l2_half", *everywhere(" + lam * {0}"), factor="1/2"),
        edit("l2_double", *everywhere(" + 2 * lam * {0}"), factor="2"),
        edit("l2_over_n", *everywhere(" + DLAM * {0} / N"), factor="1/N"),
        edit("l2_missing", *everywhere("")),
        edit("l2_bias", f"d{bias} = ", f"d{bias} = DLAM * {bias} + ", place=bias),
    ]
    if len(weights) > 1:
        edits.append(edit("l2_missing", *everywhere("")[:2], place=weights[0]))
    return edits
