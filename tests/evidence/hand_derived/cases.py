"""Cases: programs with drawn names, style, layout of arguments, precision, container and mistakes.

The source of each case is written to a file and imported from there, so that variables and lines can be named.
"""

from __future__ import annotations

import atexit
import itertools
import re
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.evidence.hand_derived.judge import Truth
from tests.evidence.hand_derived.numerical import (
    PLAIN_NUMPY,
    RIGHT,
    SAME,
    WRONG,
    difference,
    numerical_gradients,
)
from tests.evidence.hand_derived.programs import PENALTIES, Edit, Penalty, Program, write_penalty

CONTAINERS = ("tuple", "list", "dict")
SPOILED = {  # gradients for which "not known" is the right answer; {0} is the gradient of a parameter
    "noise": "{0} = {0} + 0.3 * np.abs({0}).max() * np.random.default_rng(5).standard_normal({0}.shape)",
    "one column": "{0}[..., 1] = np.random.default_rng(6).standard_normal({0}[..., 1].shape)",
    "one row": "{0}[1] = np.random.default_rng(7).standard_normal({0}[1].shape)",
}


@dataclass(frozen=True)
class Choices:
    """What is drawn for a case besides its mistakes and its sizes."""

    style: str
    naming: Mapping[str, str]
    penalty: Penalty
    container: str = "tuple"
    lists: bool = False  # one list for all weights, one for all biases, ...
    parameters_first: bool = False
    order: tuple[int, ...] = ()  # of the parameters
    dtype: str = "float64"
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """A cost, a gradient function and a problem, with the truth about the mistakes.

    Attributes
    ----------
    cost
        ``cost(**arguments)`` as a function of tensors.
    gradients
        ``gradients(**arguments)`` in NumPy; the container has one gradient for each of :attr:`parameters`, in order.
    arguments
        One problem, by the names and in the order of the cost's parameters.
    parameters
        Names of those arguments that are parameters, in the order in which the gradients are returned. With ``lists``,
        such an argument is a list of arrays, and so is its gradient.
    draw
        Returns another problem, of other sizes, from a seed.
    truths
        The injected mistakes; empty if the gradient is right or spoiled.
    """

    kind: str  # "right", "wrong", "pair" or "unknown"
    program: Program
    choices: Choices
    mistakes: tuple[str, ...]
    truths: tuple[Truth, ...]
    cost: Callable[..., Any]
    plain_cost: Callable[..., Any]
    gradients: Callable[..., Any]
    arguments: dict[str, Any]
    parameters: tuple[str, ...]
    draw: Callable[[int], dict[str, Any]]
    path: Path
    edits: tuple[Edit, ...] = field(default=(), repr=False)

    @property
    def title(self) -> str:
        """Return a line that identifies the case."""
        c = self.choices
        layout = "lists" if c.lists else "flat"
        return f"{self.program.title} | {c.style} | {c.dtype}, {c.container}, {layout} | {', '.join(self.mistakes)}"

    def flat_gradients(self) -> list[Any]:
        """Return the arrays of the gradients on the case's problem, or raise what the function raises."""
        copies = {name: _copied(value) for name, value in self.arguments.items()}
        found = self.gradients(**copies)
        return list(_flatten(found.values() if isinstance(found, dict) else found))

    def flat_parameters(self) -> list[Any]:
        """Return the arrays of the parameters, in the order of the gradients."""
        return list(_flatten(self.arguments[name] for name in self.parameters))


def _copied(value: Any) -> Any:
    return [np.array(x) for x in value] if isinstance(value, list) else np.array(value) if np.ndim(value) else value


def _flatten(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="hand_derived_")
    atexit.register(folder.cleanup)
    return Path(folder.name)


_COUNTER = itertools.count()


def rename(text: str, naming: Mapping[str, str]) -> str:
    """Return the text with other variable names, those of their gradients included."""
    if not naming:
        return text
    names = "|".join(sorted((re.escape(name) for name in naming), key=len, reverse=True))
    return re.sub(rf"(?<![\w.\"'])(d?)({names})(?!\w)", lambda match: match[1] + naming[match[2]], text)


def _stem(parameter: str) -> str:
    return re.sub(r"\d+$", "", parameter)


def signature(program: Program, choices: Choices) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Return the names of the arguments, those of the parameters among them, and the lists with their members."""
    renamed = {name: choices.naming.get(name, name) for name in (*program.data, *program.parameters)}
    order = choices.order or tuple(range(len(program.parameters)))
    parameters = [renamed[program.parameters[i]] for i in order]
    members: dict[str, list[str]] = {}
    if choices.lists:
        for name in program.parameters:
            members.setdefault(f"{_stem(name)}s", []).append(renamed[name])
        parameters = list(members)
    data = [renamed[name] for name in program.data]
    if choices.style.endswith("labels"):
        data = ["y" if name == "Y" else name for name in data]
    first, rest = data[:2], data[2:]
    arguments = [*parameters, *first, *rest] if choices.parameters_first else [*first, *parameters, *rest]
    return arguments, parameters, members


def source_of(program: Program, choices: Choices, edits: Iterable[Edit], spoiled: str = "") -> str:
    """Return the source of a module with the functions ``cost`` and ``gradients``."""
    arguments, parameters, members = signature(program, choices)
    head = ", ".join(arguments)
    unpack = "".join(f"    {', '.join(names)}{',' * (len(names) == 1)} = {group}\n" for group, names in members.items())
    gradients = write_penalty(program.gradients, choices.penalty)
    for edit in edits:
        gradients = _prepared(edit, choices.penalty).apply(gradients)
    if spoiled:
        weight = program.parameters[0]
        gradients += f"    d{weight} = np.array(d{weight}, dtype=float)\n    {spoiled.format(f'd{weight}')}\n"
    if choices.style.endswith("labels"):
        gradients = f"    {program.one_hot}{gradients}"
    gradients = rename(gradients.lstrip("\n"), choices.naming)
    cost = rename(write_penalty(program.costs[choices.style], choices.penalty).lstrip("\n"), choices.naming)
    returned = [f"[{', '.join('d' + n for n in members[p])}]" if members else f"d{p}" for p in parameters]
    if choices.container == "dict":
        result = "{" + ", ".join(f'"{p}": {value}' for p, value in zip(parameters, returned, strict=True)) + "}"
    else:
        left, right = ("[", "]") if choices.container == "list" else ("(", ",)")
        result = left + ", ".join(returned) + right
    return (
        "import numpy as np\n\nimport tinygrad_cifar as tg\n\n\n"
        f"def cost({head}):\n{unpack}{cost}\n\n"
        f"def gradients({head}):\n{unpack}{gradients}    return {result}\n"
    )


def _prepared(edit: Edit, penalty: Penalty) -> Edit:
    changes = tuple((write_penalty(a, penalty), write_penalty(b, penalty)) for a, b in edit.changes)
    return edit._replace(changes=changes)


def _import(source: str, is_written: bool) -> tuple[types.ModuleType, Path]:
    path = _folder() / f"hand_in_{next(_COUNTER)}.py"
    if is_written:
        path.write_text(source)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(source, path, "exec"), vars(module))  # like an import, without a bytecode file
    return module, path


def _plain_cost(source: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"tg": PLAIN_NUMPY}
    exec(source.replace("import tinygrad_cifar as tg\n", ""), names)
    return names["cost"]


def _problem(program: Program, choices: Choices, seed: int) -> dict[str, Any]:
    arguments, _, members = signature(program, choices)
    drawn = program.draw(np.random.default_rng(seed))
    values: dict[str, Any] = {}
    for name, value in drawn.items():
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        values[choices.naming.get(name, name)] = value.astype(choices.dtype) if is_float else value
    for group, names in members.items():
        values[group] = [values[name] for name in names]
    return {name: values[name] for name in arguments}


def make_case(
    program: Program, choices: Choices, edits: tuple[Edit, ...] = (), spoiled: str = "", *, is_written: bool = True
) -> Case:
    """Return the case of a program with drawn choices and mistakes; nothing is checked.

    If ``is_written`` is False, the source is not written to a file.
    """
    source = source_of(program, choices, edits, SPOILED.get(spoiled, ""))
    module, path = _import(source, is_written)
    _, parameters, _ = signature(program, choices)
    kind = "unknown" if spoiled else ("right", "wrong", "pair")[len(edits)]
    return Case(
        *(kind, program, choices, tuple(e.mistake for e in edits) or (spoiled or "right",), ()),
        *(module.cost, _plain_cost(source), module.gradients, _problem(program, choices, choices.seed)),
        *(tuple(parameters), lambda seed: _problem(program, choices, seed), path, edits),
    )


# -- the truth ---------------------------------------------------------------------------------------------------------


def numerical_of(case: Case) -> list[Any]:
    """Return the numerical gradients of the case's problem, in plain NumPy and float64."""
    arguments = {name: _as_float64(value) for name, value in case.arguments.items()}
    arrays = list(_flatten(arguments[name] for name in case.parameters))
    return numerical_gradients(case.plain_cost, arguments, arrays)


def _as_float64(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_float64(x) for x in value]
    return np.array(value, dtype=float) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def differences(found: list[Any], right: list[Any]) -> list[float]:
    """Return the relative difference of each gradient; those below rounding of the whole gradient count as 0."""
    scale = max(float(np.abs(x).max()) for x in right)
    return [
        0.0 if np.shape(a) == b.shape and np.abs(a - b).max() < 1e-7 * scale else difference(a, b)
        for a, b in zip(found, right, strict=True)
    ]


@dataclass(frozen=True)
class Table:
    """The mistakes of a program that are observable, the parameters they affect, and those that are the same."""

    edits: tuple[Edit, ...]
    affected: Mapping[Edit, tuple[str, ...]]
    same: Mapping[Edit, tuple[Edit, ...]]


@cache
def observable(program: Program, penalty: Penalty) -> Table:
    """Return the observable mistakes of a program, measured with flat parameters in float64 on three problems."""
    plain = Choices(next(iter(program.costs)), {}, penalty)
    right = make_case(program, plain, is_written=False)
    problems = [right.draw(seed) for seed in (101, 102, 103)]
    truth = [list(right.gradients(**problem)) for problem in problems]
    found: dict[Edit, list[list[Any]]] = {}
    affected: dict[Edit, tuple[str, ...]] = {}
    for edit in program.edits:
        if edit in found:
            raise ValueError(f"{program.title}: {edit.mistake} occurs twice")
        case = make_case(program, plain, (edit,), is_written=False)
        with np.errstate(all="ignore"):
            gradients = [list(case.gradients(**problem)) for problem in problems]
        wrong = [
            tuple(p for p, d in zip(program.parameters, differences(f, r), strict=True) if d > WRONG)
            for f, r in zip(gradients, truth, strict=True)
        ]
        if any(wrong):
            found[edit] = gradients
            affected[edit] = tuple(p for p in program.parameters if any(p in names for names in wrong))
    same = {
        a: tuple(
            b
            for b in found
            if affected[a] == affected[b]
            and all(max(differences(x, y)) < SAME for x, y in zip(found[a], found[b], strict=True))
        )
        for a in found
    }
    return Table(tuple(found), affected, same)


def with_truths(case: Case) -> Case:
    """Return the case with its truths: for each mistake, all descriptions that are right."""
    program, choices = case.program, case.choices
    table = observable(program, choices.penalty)
    source = case.path.read_text()
    cost = source[: source.index("def gradients")].splitlines()
    _, _, members = signature(program, choices)

    def names_of(name: str) -> list[str]:
        renamed = choices.naming.get(name, name)
        item = [f"{g}[{names.index(renamed)}]" for g, names in members.items() if renamed in names]
        return [renamed, *item]

    def in_cost(names: str) -> tuple[str, ...]:
        """Return the names as the user writes them, without those that the cost does not have."""
        known = [name for name in names.split() if any(_mentions(line, names_of(name)) for line in cost)]
        return tuple(n for name in known for n in names_of(name))

    def lines_of(place: tuple[str, ...], affected: tuple[str, ...]) -> tuple[int, ...]:
        stems = {_stem(p) for p in place if p in program.parameters}
        others = [
            name
            for p in program.parameters
            if p not in (*place, *affected) and (not stems or _stem(p) in stems)
            for name in names_of(p)
        ]
        mine = [names_of(p)[0] for p in place]
        return tuple(
            number
            for number, line in enumerate(cost, 1)
            if not line.startswith("def ")
            and not _mentions(line, members)
            and not _mentions(line, names_of("lam"))
            and _mentions(line, mine)
            and not _mentions(line, others)
        )

    truths = []
    for injected in case.edits:
        readings = []
        for edit in (injected, *[edit for edit in table.same[injected] if edit is not injected]):
            place = tuple(edit.place.split())
            affected = table.affected[edit]
            readings.append(
                Truth(
                    edit.mistake,
                    in_cost(edit.place),
                    tuple(tuple(names_of(p)) for p in affected),
                    lines_of(place, affected),
                    in_cost(edit.wrong),
                    edit.factor,
                    in_cost(" ".join(program.loss)),
                    (choices.naming.get("lam", "lam"),),
                    tuple(tuple(names_of(p)) for p in program.parameters if p not in (*affected, *place)),
                    tuple(n for p in program.data for n in names_of(p) if re.fullmatch(r"[MUD]\d", p)),
                )
            )
        truths.append(readings[0]._replace(same=tuple(readings[1:])))
    return _replaced(case, truths=tuple(truths))


def _mentions(line: str, names: Iterable[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", line) for name in names)


def _replaced(case: Case, **changes: Any) -> Case:
    return Case(**{**{name: getattr(case, name) for name in case.__dataclass_fields__}, **changes})


def check_case(case: Case) -> str:
    """Return why the case does not measure anything, or an empty text; by numerical differences on its own problem."""
    tolerance = 2e-3 if case.choices.dtype == "float32" else RIGHT
    right = numerical_of(case)
    with np.errstate(all="ignore"):
        wrong = max(differences(case.flat_gradients(), right))
    if case.kind == "right":
        return "" if wrong < tolerance else f"the right gradient differs by {wrong:.1e}"
    return "" if wrong > 10 * tolerance else f"the mistake changes the gradient by only {wrong:.1e}"


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_choices(program: Program, rng: np.random.Generator, dtype: str = "") -> Choices:
    """Draw everything but the mistakes."""
    lists = len(program.parameters) > 2 and program.network in ("two layers", "k layers") and rng.random() < 0.3
    return Choices(
        style=str(rng.choice(list(program.costs))),
        naming=program.naming[rng.integers(len(program.naming))],
        penalty=PENALTIES[rng.integers(len(PENALTIES))],
        container=str(rng.choice(CONTAINERS)),
        lists=bool(lists),
        parameters_first=bool(rng.random() < 0.3),
        order=tuple(int(i) for i in rng.permutation(len(program.parameters))) if rng.random() < 0.3 else (),
        dtype=dtype or ("float32" if rng.random() < 0.25 else "float64"),
        seed=int(rng.integers(1_000_000)),
    )


def draw_cases(programs: Iterable[Program], seed: int, *, share: float = 1.0) -> Iterator[Case]:
    """Yield the cases of a set: every observable mistake of every program, pairs, right and spoiled versions.

    With ``share`` below 1, that share of the mistakes is drawn. The cases of a program do not depend on the others.
    """
    for program in programs:
        rng = np.random.default_rng([seed, *program.title.encode()])
        for edit in program.edits:
            if rng.random() <= share:
                yield from _first_valid(program, (edit,), rng)
        pairs = (tuple(rng.permutation(len(program.edits))[:2]) for _ in range(20))
        found = (case for i, j in pairs for case in _first_valid(program, (program.edits[i], program.edits[j]), rng))
        yield from itertools.islice(found, max(1, round(3 * share)))
        for style in program.costs:
            for dtype in ("float64", "float32") * 2:
                choices = draw_choices(program, rng, dtype)
                yield _valid_right(program, Choices(**{**vars(choices), "style": style}), rng)
        for spoiled in SPOILED:
            yield make_case(program, draw_choices(program, rng, "float64"), (), spoiled)


def _valid_right(program: Program, choices: Choices, rng: np.random.Generator) -> Case:
    """Return a right case away from kinks, where numerical differences are wrong."""
    for _ in range(20):
        case = make_case(program, choices)
        complaint = check_case(case)
        if not complaint:
            return case
        choices = Choices(**{**vars(choices), "seed": int(rng.integers(1_000_000))})
    raise ValueError(f"{case.title}: {complaint}")


def _first_valid(program: Program, edits: tuple[Edit, ...], rng: np.random.Generator) -> Iterator[Case]:
    """Yield a case whose mistakes are observable, or none if they never are."""
    for _ in range(20):
        choices = draw_choices(program, rng)
        table = observable(program, choices.penalty)
        if not all(edit in table.edits for edit in edits):
            continue
        if len(edits) == 2 and (_are_entangled(table, edits) or not _fit_together(program, choices, edits)):
            return
        try:
            case = make_case(program, choices, edits)
            if check_case(case) or _is_hidden(case):
                continue
        except (ValueError, IndexError):  # e.g. a shape that only some sizes allow
            continue
        yield with_truths(case)
        return


def _fit_together(program: Program, choices: Choices, edits: tuple[Edit, ...]) -> bool:
    try:
        source_of(program, choices, edits)
    except ValueError:
        return False
    return True


def _is_hidden(case: Case) -> bool:
    """Return whether one of two mistakes changes nothing beside the other."""
    alone = [
        make_case(case.program, case.choices, (edit,), is_written=False) for edit in case.edits if len(case.edits) == 2
    ]
    with np.errstate(all="ignore"):
        found = case.flat_gradients()
        return any(max(differences(found, other.flat_gradients())) < WRONG for other in alone)


def _are_entangled(table: Table, edits: tuple[Edit, ...]) -> bool:
    """Return whether two mistakes are one: the same, or both of every gradient, so that one may hide the other."""
    first, second = edits
    return second in table.same[first] or set(table.affected[first]) == set(table.affected[second])
