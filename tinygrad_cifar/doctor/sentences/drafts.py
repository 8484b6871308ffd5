"""A mistake in words, and its draft before equal ones, in several layers, are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tinygrad_cifar.doctor.recording import Step


@dataclass(frozen=True)
class Mistake:
    """A mistake, in words.

    Attributes
    ----------
    kind : str
        Identifier, such as ``"missing_1/N"`` or ``"derivative_left_out"``.
    sentence : str
        What is wrong, in one sentence.
    right : str
        The right formula; empty if it says no more than the sentence.
    yours : str
        The formula that the given gradients follow.
    parameters : tuple of str
        The parameters whose gradients it changes.
    factor : str
        The factor between the given and the right quantity; empty if it is not a matter of a factor.
    line : int
        Line of the cost function; 0 if it is not known.
    source : str
        The text of that line.
    hint : str
        A further sentence; empty if there is none.
    """

    kind: str
    sentence: str
    right: str = ""
    yours: str = ""
    parameters: tuple[str, ...] = ()
    factor: str = ""
    line: int = 0
    source: str = ""
    hint: str = ""

    def __str__(self) -> str:
        parts = [self.sentence]
        if self.right:
            parts.append(f"Right: {self.right}; yours: {self.yours}.")
        if self.line:
            parts.append(
                f"See line {self.line} of the cost: `{self.source}`." if self.source else f"See line {self.line}."
            )
        if self.hint:
            parts.append(self.hint)
        return " ".join(parts)


@dataclass(frozen=True)
class Draft:
    """A mistake before equal ones, in several layers, are merged: ``{at}`` stands for the list of places."""

    kind: str
    text: str
    places: tuple[str, ...] = ()
    right: str = ""
    yours: str = ""
    parameters: tuple[str, ...] = ()
    factor: str = ""
    step: Step | None = None
    hint: str = ""
    key: tuple[Any, ...] = field(default=())


def join(words: Sequence[str]) -> str:
    """Return a list in words: ``a``, ``a and b``, ``a, b and c``."""
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def finish(draft: Draft) -> Mistake:
    """Return the mistake of a draft, with the list of its places in the sentence."""
    step = draft.step
    return Mistake(
        draft.kind,
        _fill(draft),
        draft.right,
        draft.yours,
        draft.parameters,
        draft.factor,
        step.line if step is not None else 0,
        step.source if step is not None else "",
        draft.hint,
    )


def _fill(draft: Draft) -> str:
    text = draft.text.replace("{at}", join(draft.places))
    if len(draft.parameters) == 1:
        text = text.replace("the gradients of {parameters} are", "the gradient of {parameters} is")
        text = text.replace("gradients of {parameters}", "gradient of {parameters}")
    return text.replace("{parameters}", join(draft.parameters))


def merge(drafts: Sequence[Draft]) -> list[Draft]:
    """Return drafts of which those that differ only in their places and parameters have become one."""
    merged: dict[Any, Draft] = {}
    for draft in drafts:
        key = (draft.kind, draft.text, draft.factor, draft.key)
        if key in merged:
            first = merged[key]
            merged[key] = replace(
                first,
                places=tuple(dict.fromkeys([*first.places, *draft.places])),
                parameters=tuple(dict.fromkeys([*first.parameters, *draft.parameters])),
            )
        else:
            merged[key] = draft
    return list(merged.values())
