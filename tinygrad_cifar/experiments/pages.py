"""What is said about the results: the summary, and for each experiment its settings, its numbers and its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments import REPORTS
from tinygrad_cifar.experiments.declaration import NEAR, Experiment
from tinygrad_cifar.experiments.document import Block, Image, Table, Text, Title
from tinygrad_cifar.experiments.results import AccuracyComparison, GradientComparison, Results

_MINUS = "\N{MINUS SIGN}"
# The same everywhere, or said elsewhere.
_LEFT_OUT = ("seed", "patience", "dropout", "warm_up")


@dataclass(frozen=True)
class RunStats:
    """What a session did.

    Attributes
    ----------
    elapsed : float
        Seconds from the command's start to its last figure.
    done, kept : int
        How many runs and checks it did, and how many were there before.
    workers : int
        How many processes it used.
    machine : str
        What they ran on.
    """

    elapsed: float
    done: int
    kept: int
    workers: int
    machine: str


@dataclass(frozen=True)
class AgreementCounts:
    """How many published numbers there are, and how many of ours are as near as asked.

    Attributes
    ----------
    accuracies, near : int
        Published accuracies, and those within two points.
    minor, minor_near : int
        Of these, those that are one of many.
    bounds, kept : int
        Published bounds of gradient errors, and those that ours keep to.
    """

    accuracies: int
    near: int
    minor: int
    minor_near: int
    bounds: int
    kept: int


def tally(results: Sequence[Results]) -> AgreementCounts:
    """Count."""
    rows = [row for result in results for row in result.rows() if row.compared]
    minor = [row for row in rows if row.number.minor]
    bounds = [row for result in results for row in result.gradient_rows() if row.passed is not None]
    return AgreementCounts(
        len(rows),
        sum(row.near for row in rows),
        len(minor),
        sum(row.near for row in minor),
        len(bounds),
        sum(bool(row.passed) for row in bounds),
    )


def warning(result: Results) -> list[Block]:
    """Return what every page must say first if the data is not CIFAR-10."""
    if not result.small:
        return []
    return [
        Text(
            f"This is not CIFAR-10. The data is: {result.data}. Everything was run small, to show that it runs; none "
            "of the numbers can be compared with the published ones.",
            marked=True,
        )
    ]


def title(results: Sequence[Results]) -> str:
    """Return what the whole report is called."""
    if all(result.experiment.on_request for result in results):
        return REPORTS["record"]
    done = {result.experiment.report for result in results if not result.experiment.on_request}
    return "Five reports, redone" if len(done) > 1 else f"Report {min(done)}, redone"


def summary(results: Sequence[Results], effort: RunStats) -> list[Block]:
    """Return the beginning of the whole report."""
    data, small = results[0].data, results[0].small
    about = (
        f"Every experiment of five reports on classifying {'images' if small else data}, redone with gradients from "
        "automatic differentiation, and each published number beside ours. Percentages are accuracies; a difference is "
        "ours less the published, in percentage points; a ± is the standard deviation over the seeds. Gradient checks "
        "are in float64, training is in float32 where that changes the outcome less than another seed does, and the "
        "settings say which."
    )
    return [
        Title(1, title(results)),
        *warning(results[0]),
        *([] if title(results) == REPORTS["record"] else [Text(about)]),
        *(Text(sentence) for sentence in _verdict(tally(results))),
        Text(_effort(results, effort)),
        _contents(results),
        *_list_disagreements(results),
    ]


def _verdict(counted: AgreementCounts) -> list[str]:
    sentences = []
    if counted.accuracies:
        sentences.append(f"{_share(counted.near, counted.accuracies)} published accuracies are within {NEAR:g} points.")
    if counted.bounds:
        sentences.append(
            f"{_share(counted.kept, counted.bounds)} published gradient errors are kept to: the error of our gradient "
            "against the centred difference is no greater."
        )
    if 0 < counted.minor < counted.accuracies:
        single = f"Without the {counted.minor} single runs of report 003's fine search ({counted.minor_near} are"
        near, accuracies = counted.near - counted.minor_near, counted.accuracies - counted.minor
        sentences.append(
            f"{single} within {NEAR:g} points), {_share(near, accuracies)} accuracies are; together with the gradient "
            f"errors, {_share(near + counted.kept, accuracies + counted.bounds)} published numbers."
        )
    return sentences


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)"


def _effort(results: Sequence[Results], effort: RunStats) -> str:
    kept = f" ({effort.kept} more were there from before)" if effort.kept else ""
    return (
        f"All runs together took {sum(result.seconds for result in results):.0f} seconds of one processor core, where "
        f"an experiment that shares runs with another is counted with them. The command that wrote this page took "
        f"{effort.elapsed:.0f} seconds for {effort.done} run{'s' * (effort.done != 1)}{kept} in {effort.workers} "
        f"process{'es' * (effort.workers != 1)}: {effort.machine}."
    )


def _contents(results: Sequence[Results]) -> Table:
    lines = []
    for result in results:
        counted = tally([result])
        compared = counted.accuracies + counted.bounds
        lines.append(
            [
                f"{result.experiment.report}: {result.experiment.title}",
                str(compared or ""),
                str(counted.near + counted.kept) if compared else "",
                f"{result.seconds:.0f}",
            ]
        )
    header = ["experiment", "numbers compared", "near", "core seconds"]
    return Table(header, lines, links=[result.experiment.name for result in results])


def _list_disagreements(results: Sequence[Results]) -> list[Block]:
    far = [(result, row) for result in results for row in result.rows() if row.compared and not row.near]
    if not far:
        return []
    lines = [
        [
            f"{result.experiment.report}: {row.number.what}",
            _percent(row.number.published),
            _ours(row),
            _signed(row.difference),
        ]
        for result, row in far
    ]
    return [
        Title(3, f"Where ours is more than {NEAR:g} points away"),
        Text("The reasons, as far as they can be shown, are with each experiment."),
        Table(["", "published", "ours", "difference"], lines, links=[result.experiment.name for result, _ in far]),
    ]


def report(number: str, results: Sequence[Results], images: dict[str, list[Image]], *, level: int = 2) -> list[Block]:
    """Return everything about one report.

    Parameters
    ----------
    number : str
        The report's.
    results : sequence of Results
        Of its experiments.
    images : dict
        The figures of each experiment, by its name.
    level : int
        Of the heading.
    """
    words = f"Report {number}. {REPORTS[number]}" if number.isdecimal() else REPORTS[number]
    blocks: list[Block] = [Title(level, words, f"report-{number}")]
    for result in results:
        blocks += _experiment(result, images[result.experiment.name], level + 1)
    return blocks


def _experiment(result: Results, images: Sequence[Image], level: int) -> list[Block]:
    experiment = result.experiment
    blocks: list[Block] = [
        Title(level, experiment.title, experiment.name),
        Text(f"{experiment.about} ({experiment.source}.)"),
    ]
    if experiment.runs:
        blocks.append(Text(_settings(result)))
    rows = result.rows()
    if rows:
        blocks.append(_numbers(rows))
    for text, names in _reasons(rows).items():
        blocks.append(Text(f"More than {NEAR:g} points away, {', '.join(names)}: {text}"))
    gradient_rows = result.gradient_rows()
    for setting in dict.fromkeys(row.setting for row in gradient_rows):
        blocks += _gradients([row for row in gradient_rows if row.setting == setting], setting)
    if experiment.remark and not result.small:
        blocks.append(Text(experiment.remark))
    return [*blocks, *images]


def _numbers(rows: Sequence[AccuracyComparison]) -> Table:
    lines = [
        [
            row.number.what,
            _percent(row.number.published),
            _ours(row),
            _signed(row.difference) if row.compared else "",
            str(len(row.ours)),
            f"{row.seconds:.1f}",
        ]
        for row in rows
    ]
    header = ["accuracy in %", "published", "ours", "difference", "seeds", "seconds a run"]
    if all(row.number.published is None for row in rows):
        header, *lines = ([line[0], line[2], *line[4:]] for line in (header, *lines))
    return Table(header, lines)


def _reasons(rows: Sequence[AccuracyComparison]) -> dict[str, list[str]]:
    """Return the reasons for departures, each with what it is the reason for."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.compared and not row.near:
            reasons.setdefault(row.explain_difference(), []).append(row.number.what)
    return reasons


def _gradients(rows: Sequence[GradientComparison], setting: str) -> list[Block]:
    lines = [
        [
            f"{row.parameter}: {row.name}",
            _small(row.published),
            _small(row.analytic),
            _small(row.one_sided),
            _small(row.centred),
            "" if row.passed is None else "yes" if row.passed else "no",
        ]
        for row in rows
    ]
    header = ["", "published", "our gradient", "one-sided difference", "centred difference", "centred: within it?"]
    if all(row.analytic is None for row in rows):
        lines = [line[:2] + line[3:] for line in lines]
        header.remove("our gradient")
    return [Text(f"Measured: {setting}."), Table(header, lines)]


def _settings(result: Results) -> str:
    """Return the settings that all runs share, and what differs."""
    every = [asdict(runs[0]) for runs in _as_run(result)]
    shared = {name: value for name, value in every[0].items() if all(other[name] == value for other in every)}
    told = [name for name in shared if name not in _LEFT_OUT and _matters(name, every[0])]
    words = ", ".join(f"{name} {_value(shared[name])}" for name in told)
    differing = [name for name in every[0] if name not in shared]
    varying = f" What differs between the runs: {', '.join(differing)}." if differing else ""
    return f"Settings: {words}; {_seeds(result.experiment)}.{varying}"


def _seeds(experiment: Experiment) -> str:
    more = ", ".join(f"{count} for {run}" for run, count in experiment.more_seeds.items())
    words = f"{experiment.seeds} seeds" if experiment.seeds > 1 else "1 seed"
    return f"{words} ({more})" if more else words


def _as_run(result: Results) -> list[list[Settings]]:
    """Return the settings that were really used, which for a small data set are not the declared ones."""
    return [[Settings.from_json(one.scores["settings"]) for one in runs] for runs in result.trained.values()]


def _matters(name: str, settings: dict[str, object]) -> bool:
    """Whether a setting means anything beside the others."""
    used_by = {
        "activation": settings["activation"] != "relu",
        "sigma": settings["init"] == "normal",
        "components": settings["preprocessing"] == "whiten",
        "q": bool(settings["q"]),
        "flip": bool(settings["flip"]),
        "shift": bool(settings["shift"]),
        "eta_min": settings["schedule"] in ("triangular", "cosine"),
        "n_s": settings["schedule"] in ("triangular", "step"),
        "decay": settings["schedule"] in ("exponential", "step"),
        "validation_batch": settings[name] is not None,
        "validation_size": bool(settings["validation_size"]),
        "momentum": bool(settings["momentum"]),
    }
    return used_by.get(name, settings[name] not in (None, ()))


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ours(row: AccuracyComparison) -> str:
    return f"{row.mean:.2f}" + ("" if math.isnan(row.spread) else f" ± {row.spread:.2f}")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", _MINUS)


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e+")
