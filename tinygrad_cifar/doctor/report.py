"""The report of a diagnosis: a table with a line per parameter, a sentence per mistake, and what is known otherwise."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_cifar.doctor.cases import Case, agree, magnitude
from tinygrad_cifar.doctor.constants import name_constants
from tinygrad_cifar.doctor.factors import name_factor
from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.sentences import describe_findings
from tinygrad_cifar.doctor.sentences.drafts import Mistake, join
from tinygrad_cifar.doctor.sentences.wording import d_of
from tinygrad_cifar.doctor.vocabulary.sites import penalty_of
from tinygrad_cifar.doctor.walks import Applied, Walk
from tinygrad_cifar.engine.graph import Array, format_shape

_LISTED = 5  # places of wrong elements
_WITH_MASK = {"relu", "maximum"}  # operations whose derivative is 0 or 1
_WIDTH = 80
_SMALL = 1e-2  # relative errors below are said not to be rounding
_ROUNDING = 1e-9  # relative errors above are worth a note


@dataclass(frozen=True)
class Row:
    """The comparison of one gradient.

    Attributes
    ----------
    parameter : str
        Name of the parameter.
    shape : tuple of int
        Its shape.
    verdict : str
        ``"right"``, ``"wrong"``, ``"wrong shape"`` or ``"not used"``.
    ratio : str
        The factor by which the gradient is too large, such as ``N``, if all elements have the same; otherwise empty.
    error : float
        Largest difference, relative to the largest element.
    wrong : int
        Number of wrong elements.
    where : str
        The first quantity on the way back from the cost that is wrong, as far as it is known.
    """

    parameter: str
    shape: tuple[int, ...]
    verdict: str
    ratio: str = ""
    error: float = 0.0
    wrong: int = 0
    where: str = ""


@dataclass(frozen=True, repr=False)
class Report:
    """The result of :func:`tinygrad_cifar.doctor.diagnose`; as text, the table and the sentences.

    Attributes
    ----------
    status : str
        ``"right"`` if all gradients are right; ``"wrong"`` if all differences are explained by the mistakes;
        ``"not known"`` if some are not.
    rows : tuple of Row
        One for each parameter, from the last layer back.
    mistakes : tuple of Mistake
        The mistakes that were found, from the last layer back.
    notes : tuple of str
        Other conventions, traps of checking, and remarks: no mistakes.
    known : tuple of str
        What is known of differences that are not explained.
    confirmed : str
        How the mistakes were confirmed.
    seconds : float
        Duration of the diagnosis.
    """

    status: str
    rows: tuple[Row, ...]
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...]
    known: tuple[str, ...]
    confirmed: str
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether all gradients are right."""
        return self.status == "right"

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each mistake; or the one that says that the gradients are right, or that it is not known."""
        first = [mistake.sentence for mistake in self.mistakes]
        if self.status == "right":
            return ("All gradients are right.",)
        if self.status == "not known":
            names = [row.parameter for row in self.rows if row.verdict.startswith("wrong")]
            explained = {p for m in self.mistakes for p in m.parameters} if self.mistakes else set()
            rest = [name for name in names if name not in explained] or names
            also = "else " if first else ""
            return (*first, f"What {also}is wrong in the gradient{'s' * (len(rest) > 1)} of {join(rest)} is not known.")
        return tuple(first)

    def table(self) -> str:
        """Return the table, at most 80 columns wide."""
        header = ("parameter", "shape", "verdict", "ratio", "first wrong quantity")
        rows = [header] + [
            (r.parameter, format_shape(r.shape), r.verdict, r.ratio or "-" * bool(r.wrong), r.where) for r in self.rows
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        left = max(_WIDTH - sum(widths) - 2 * len(widths), 16)
        lines = []
        for row in rows:
            cells = "  ".join(text.ljust(width) for text, width in zip(row[:4], widths, strict=True))
            parts = textwrap.wrap(row[4], left) or [""]
            lines.append(f"{cells}  {parts[0]}".rstrip())
            lines += [" " * (len(cells) + 2) + part for part in parts[1:]]
        return "\n".join(lines)

    def __str__(self) -> str:
        parts = [self.table(), ""]
        parts += [_wrap(f"{k}. {mistake}") for k, mistake in enumerate(self.mistakes, 1)]
        if self.status != "wrong":
            parts.append(_wrap(self.sentences[-1]))
        parts += [_wrap(f"- {text}") for text in self.known]
        if self.confirmed:
            parts.append(_wrap(self.confirmed))
        parts += [_wrap(f"Note: {text}") for text in self.notes]
        return "\n".join(parts)

    __repr__ = __str__


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="   ", break_on_hyphens=False, break_long_words=False)


def make_report(  # noqa: PLR0913 (keyword-only)
    *,
    cases: Sequence[Case],
    findings: Sequence[Finding],
    residuals: Mapping[str, Array],
    order: Mapping[str, str] | None,
    unused: Sequence[str],
    kinks: Mapping[str, int],
    notes: Sequence[str],
    printed: Sequence[str],
    seconds: float,
    is_function: bool,
    was_cut_short: bool,
    has_lines: bool = True,
) -> Report:
    """Return the report of a search.

    Parameters
    ----------
    cases : sequence of Case
        The problems; the last is the one that the user gave.
    findings, residuals
        What the search found, and what it left unexplained.
    order : mapping, optional
        Whose place each gradient has, if they are in another order.
    unused : sequence of str
        Parameters on which the cost does not depend.
    kinks : mapping of str to int
        How many elements lie on a kink, by operation.
    notes, printed : sequence of str
        Remarks, and the text that the user's functions printed.
    seconds : float
        Duration.
    is_function : bool
        Whether the gradients were given as a function.
    was_cut_short : bool
        Whether the processor time was used up before everything was tried.
    has_lines : bool
        Whether lines of the cost function are mentioned. Default: True.
    """
    last = cases[-1]
    recording = last.recording
    names = _from_the_last_layer(recording)
    walks = [Walk(case.recording) for case in cases]
    wrong: set[str] = set().union(*[case.wrong_parameters() for case in cases])
    different = set(wrong)
    only_given = len(cases) > 1 and all(
        c.agrees(n, w.gradients, strictly=True) for c, w in zip(cases[:-1], walks[:-1], strict=True) for n in names
    )
    remarks = list(notes)
    if wrong and only_given and kinks:
        remarks.append(_kink_note(kinks, wrong))
        wrong = set()
        findings, residuals = [], {}
    on_kinks = [f for f in findings if _differs_on_kinks_only(f, recording, kinks)]
    if on_kinks and len(on_kinks) == len(findings) and not residuals:
        remarks.append(_kink_note(kinks, wrong))
        wrong, findings = set(), []
    if not has_lines:
        for case in cases:
            for step in case.recording.steps:
                step.line, step.source = 0, ""
    name_constants([case.recording for case in cases])
    mistakes = describe_findings(findings, cases, named=names)
    rows = [_row(name, cases, walks, wrong, findings) for name in names]
    rows += [Row(name, (), "not used", where="the cost does not depend on it") for name in unused]
    shapeless = [
        name for name in names if last.given[name].shape != recording.steps[recording.parameters[name]].value.shape
    ]
    unexplained = [
        *residuals,
        *[n for n in shapeless if not any(f.edit.at == n and f.edit.detail.get("shape") for f in findings)],
    ]
    conventions = _transposed_convention(findings, names, cases)
    if conventions:
        remarks.append(conventions)
        mistakes = [m for m in mistakes if m.kind != "transposed"]
        wrong -= {f.edit.at for f in findings if f.edit.kind == "transposed_gradient"}
        rows = [_row(name, cases, walks, wrong, findings) for name in names]
    else:
        remarks += _shape_notes(last, wrong)
    status = "not known" if unexplained else "wrong" if wrong else "right"
    remarks += _zero_notes(last)
    remarks += _precision_notes(cases, walks, different)
    if order:
        remarks.append(
            "the gradients are in another order than the parameters: "
            + ", ".join(
                f"{b} is in the place of {a}" if a != b else a for a, b in ((order[n], n) for n in order) if a != b
            )
            + "; they were compared in the right order"
        )
    if printed:
        text = " ".join("".join(printed).split())
        remarks.append(f"the functions printed text, which is not shown here: {textwrap.shorten(text, 60)}")
    known = _known(unexplained, cases, findings, wrong) if unexplained else []
    if unexplained and was_cut_short:
        known.append("The processor time was used up before all explanations had been tried.")
    if status == "right" and was_cut_short:
        problems = "the given problem only" if len(cases) == 1 else f"{len(cases)} problems"
        remarks.append(f"the processor time was used up, so the gradients were compared on {problems}")
    confirmed = _confirmation(cases, findings, is_function) if mistakes else ""
    return Report(status, tuple(rows), tuple(mistakes), tuple(remarks), tuple(known), confirmed, seconds)


def _from_the_last_layer(recording: Recording) -> list[str]:
    """Return the parameters, those used last in the cost first; the L2 term does not count as a use."""

    def key(name: str) -> tuple[int, int]:
        at = recording.parameters[name]
        uses = [i for i, _ in recording.consumers[at]]
        real = [i for i in uses if recording.steps[i].op not in ("square", "power") or len(uses) == 1]
        return (-min(real or uses or [0]), at)

    return sorted(recording.parameters, key=key)


def _row(
    name: str,
    cases: Sequence[Case],
    walks: Sequence[Walk],
    wrong: set[str],
    findings: Sequence[Finding],
) -> Row:
    case, walk = cases[-1], walks[-1]
    right, given = walk.gradients[name], case.given[name]
    if given.shape != right.shape:
        shape = format_shape(given.shape)
        if name not in wrong:
            return Row(name, right.shape, "right", "transposed")
        return Row(name, right.shape, "wrong shape", "", 0.0, given.size, f"the gradient has the shape {shape}")
    size = magnitude(right, given)
    difference = np.abs(given - right)
    error = float(difference.max(initial=0) / size) if size else 0.0
    if name not in wrong:
        return Row(name, right.shape, "right", "", error)
    count = int(np.count_nonzero(difference > case.allowed(name, walk.gradients, strictly=True)))
    return Row(
        name,
        right.shape,
        "wrong",
        _ratio(name, cases, walks),
        error,
        count,
        _first_wrong(name, case, walk, wrong, findings),
    )


def _ratio(name: str, cases: Sequence[Case], walks: Sequence[Walk]) -> str:
    """Return the common factor of all elements of a gradient, by name."""
    values = []
    for case, walk in zip(cases, walks, strict=True):
        right, given = walk.gradients[name], case.given[name]
        bottom = float(np.vdot(right, right))
        if given.shape != right.shape or not bottom:
            return ""
        factor = float(np.vdot(right, given)) / bottom
        if not agree(factor * right, given, case.relative) and not (abs(factor) < case.relative and not given.any()):
            return ""
        values.append(factor)
    named = name_factor(
        values, [case.recording.numbers for case in cases], [max(1e-6, 10 * case.relative) for case in cases]
    )
    return named.text if named is not None else "varies"


def _concerns_penalty(name: str, walk: Walk, finding: Finding) -> bool:
    """Return whether the effect of a mistake on a gradient is a multiple of its L2 term."""
    penalty, effect = penalty_of(walk, name), (walk.direction(finding.edit) or {}).get(name)
    if effect is None or not penalty.any():
        return False
    return agree(float(np.vdot(penalty, effect) / np.vdot(penalty, penalty)) * penalty, effect, 1e-6)


def _first_wrong(name: str, case: Case, walk: Walk, wrong: set[str], findings: Sequence[Finding]) -> str:
    """Return the first wrong quantity on the way from the cost to a parameter."""
    recording = walk.recording
    for finding in findings:
        if name in finding.affected:
            site = finding.edit.site
            if site[0] == "parameter":
                return d_of(name)
            if site[0] == "argument":
                return "the forward pass"
            at = recording.steps[site[1]].edges[site[2]][0] if site[0] == "edge" else site[1]
            text = name if _concerns_penalty(name, walk, finding) else recording.text(at)
            return d_of(text) + (f" (line {recording.steps[site[1]].line})" if recording.steps[site[1]].line else "")
    uses = [i for i, _ in recording.consumers[recording.parameters[name]]]
    for i in sorted(uses):
        others = [
            other
            for other, at in recording.parameters.items()
            if other not in wrong and _feeds(recording, at, i) and not _is_zero(case, other, walk)
        ]
        if others:
            return f"{d_of(name)} itself: {d_of(recording.text(i))} is right, as {d_of(others[0])} is"
    return d_of(recording.text(min(uses))) + " or before" if uses else d_of(name)


def _is_zero(case: Case, name: str, walk: Walk) -> bool:
    """Return whether a gradient is zero but for rounding, as that of a bias before a batch normalisation."""
    return magnitude(walk.gradients[name]) <= case.allowed(name, walk.gradients)


def _feeds(recording: Recording, at: int, i: int) -> bool:
    """Return whether the gradient of a parameter is a sum or product of the same cotangent as that of node ``i``."""
    step = recording.steps[i]
    direct = [k for k, _ in recording.consumers[at]]
    after = [k for k, _ in recording.consumers[i] if recording.steps[k].op == "add"]
    return (
        i in direct
        or any(k in direct and recording.steps[k].value.shape == step.value.shape for k in after)
        or any(i in [n for n, _ in recording.consumers[k]] and step.op == "add" for k in direct)
    )


def _known(
    unexplained: Sequence[str],
    cases: Sequence[Case],
    findings: Sequence[Finding],
    wrong: set[str],
) -> list[str]:
    """Return what is known of gradients that are not explained."""
    lines = []
    case = cases[-1]
    walk = Walk(case.recording, [Applied(f.edit, f.amounts[-1]) for f in findings])
    right = [name for name in walk.gradients if name not in wrong]
    if right:
        lines.append(
            f"The gradient{'s' * (len(right) > 1)} of {join(right)} {'are' if len(right) > 1 else 'is'} right."
        )
    for name in unexplained:
        given, g = case.given[name], walk.gradients[name]
        if given.shape != g.shape:
            lines.append(f"{name}: the gradient must have the shape {g.shape}; got {given.shape}.")
            continue
        bad = np.abs(given - g) > case.allowed(name, walk.gradients, strictly=True)
        if not bad.any():
            lines.append(f"{name}: right for the given problem, but not for others.")
            continue
        small = magnitude(given - g) / (magnitude(given, g) or 1.0)
        size = f" by up to {small:.0e} of the largest element, more than rounding" if small < _SMALL else ""
        lines.append(f"{name}: {np.count_nonzero(bad)} of {bad.size} elements are wrong{_pattern(bad)}{size}.")
    return lines


def _pattern(bad: Array) -> str:
    """Return in words where wrong elements are, if they are in one row or column."""
    bad = bad.squeeze()
    if bad.ndim == 2 and not bad.all():  # noqa: PLR2004 (a matrix)
        for axis, word in ((1, "row"), (0, "column")):
            lines = np.flatnonzero(bad.any(axis))
            if 0 < len(lines) <= max(1, bad.shape[1 - axis] // 2):
                return f", all of them in {word}{'s' * (len(lines) > 1)} {_listed(lines)}"
    if bad.ndim == 1 and not bad.all():
        return f", at {_listed(np.flatnonzero(bad))}"
    return ""


def _listed(places: Array) -> str:
    """Return the first places in words."""
    others = ["others"] if len(places) > _LISTED else []
    return join([*[str(k) for k in places[:_LISTED]], *others])


def _confirmation(cases: Sequence[Case], findings: Sequence[Finding], is_function: bool) -> str:
    if len(cases) > 1:
        many = "these mistakes reproduce" if len(findings) > 1 else "this mistake reproduces"
        other = len(cases) - 1
        sizes = "of other sizes " if len({str(case.recording.numbers.get("N")) for case in cases}) > 1 else ""
        return f"Confirmed: {many} the gradients of {other} other problem{'s' * (other > 1)} {sizes}as well."
    elements = sum(case.given[name].size for case in cases for f in findings for name in f.parameters)
    free = sum(f.factor is not None and f.factor.text != "1" for f in findings)
    text = (
        f"Confirmed on this problem only: {elements} elements follow from {free or 'no'} fitted "
        f"number{'s' * (free != 1)}"
    )
    return text + ("." if is_function else "; pass a function to have it confirmed on others.")


def _differs_on_kinks_only(finding: Finding, recording: Recording, kinks: Mapping[str, int]) -> bool:
    """Return whether the mask of a ReLU is 0 or 1 at 0, which are both valid, and there are such elements."""
    if finding.edit.kind != "other_derivative":
        return False
    step = recording.steps[finding.edit.site[1]]
    if step.op not in _WITH_MASK & set(kinks):
        return False
    if finding.edit.detail["factor"] == "(x >= 0)":
        return True
    x = recording.steps[finding.edit.detail["parent"]].value
    # The derivative of maximum(x, 0) is 1/2 at 0, where a mask has 0.
    is_relu = step.op == "maximum" and np.array_equal(step.value, np.maximum(x, 0))
    return is_relu and finding.edit.detail["factor"] in {"(x > 0)", "(out > 0)"}


def _kink_note(kinks: Mapping[str, int], wrong: set[str]) -> str:
    found = join([f"{count} of {name}" for name, count in kinks.items()])
    return (
        f"the gradients of {join(sorted(wrong))} differ on the given problem only, where elements "
        f"lie exactly on a kink ({found}): "
        "with > or >=, either derivative is valid there. Choose values off the kink to compare"
    )


def _transposed_convention(findings: Sequence[Finding], names: Sequence[str], cases: Sequence[Case]) -> str:
    """Return a note if all gradients that are matrices are transposed: another convention, not a mistake.

    It is a mistake if a bias that is a column, or a row, has a gradient of its own shape, and if only one gradient is
    transposed, since one alone shows no convention.
    """
    recording = cases[0].recording
    shapes = {name: recording.steps[recording.parameters[name]].value.shape for name in names}
    matrices = {name for name, shape in shapes.items() if len(shape) == 2 and min(shape) > 1}  # noqa: PLR2004
    vectors = [name for name, shape in shapes.items() if len(shape) == 2 and 1 in shape and max(shape) > 1]  # noqa: PLR2004
    if any(cases[0].shapes[name] == shapes[name] for name in vectors):
        return ""
    transposed = {
        f.edit.at
        for f in findings
        if f.edit.kind == "transposed_gradient" and (f.factor is None or f.factor.text == "1")
    }
    if matrices and transposed >= matrices and len(matrices) + len(vectors) > 1:
        return (
            f"the gradients of {join(sorted(transposed))} are transposed: another convention, not "
            "a mistake, if the weights are "
            "stored transposed, too"
        )
    return ""


def _shape_notes(case: Case, wrong: set[str]) -> list[str]:
    """Return a note on gradients that are right but for axes of size 1, with which an update would broadcast."""
    shapes = {name: case.recording.steps[at].value.shape for name, at in case.recording.parameters.items()}
    return [
        f"the gradient of {name} has the shape {case.shapes[name]}, and {name} has {shape}: its numbers are right, but "
        f"{name} - eta * gradient has another shape"
        for name, shape in shapes.items()
        if name not in wrong and case.given[name].shape == shape and not _keeps_shape(case.shapes[name], shape)
    ]


def _keeps_shape(gradient: tuple[int, ...], parameter: tuple[int, ...]) -> bool:
    """Return whether a parameter minus a gradient has the shape of the parameter."""
    try:
        return np.broadcast_shapes(gradient, parameter) == parameter
    except ValueError:
        return False


def _zero_notes(case: Case) -> list[str]:
    """Return a note on numbers of the problem that are 0, so that what they multiply cannot be compared."""
    zeros = [
        leaf.name
        for leaf in case.problem.leaves
        if not isinstance(leaf.value, (bool, np.bool_, np.ndarray)) and leaf.value == 0
    ]
    if not zeros:
        return []
    return [f"{join(zeros)} {'are' if len(zeros) > 1 else 'is'} 0, so what is multiplied by it cannot be compared"]


def _precision_notes(cases: Sequence[Case], walks: Sequence[Walk], wrong: set[str]) -> list[str]:
    errors = []
    for case, walk in zip(cases, walks, strict=True):
        for name, right in walk.gradients.items():
            given = case.given[name]
            if name in wrong or given.shape != right.shape:
                continue
            size = max(magnitude(right, given), 1e-4 * max(magnitude(g) for g in walk.gradients.values()))
            errors.append(float(np.abs(given - right).max(initial=0)) / size if size else 0.0)
    worst = max(errors, default=0.0)
    types = sorted({str(g.dtype) for case in cases for g in case.given.values() if g.dtype in (np.float32, np.float16)})
    if types and worst:
        return [
            f"the gradients are {join(types)}, so they agree to about {worst:.0e} only; this is rounding, not a mistake"
        ]
    if worst > _ROUNDING:
        reason = "float32 or numerical differences; this is rounding, not a mistake"
        return [f"the gradients agree to about {worst:.0e} only: {reason}"]
    return []
