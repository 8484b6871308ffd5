"""Text of the pages: the summary, and for each experiment its settings, values and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tinygrad_cifar.course.setting_fields import format_value
from tinygrad_cifar.course.settings import SETTINGS, Settings
from tinygrad_cifar.data.cifar10 import OFFICIAL
from tinygrad_cifar.experiments.catalogue import EXPERIMENTS, NOTES, REPORTS
from tinygrad_cifar.experiments.declaration import NEAR, Experiment
from tinygrad_cifar.experiments.document import Block, Image, Table, Text, Title
from tinygrad_cifar.experiments.results import AccuracyComparison, GradientComparison, Results
from tinygrad_cifar.system.arguments import listed

_MINUS = "\N{MINUS SIGN}"
# The same in all runs, or stated elsewhere.
_OMITTED = {"seed", "patience", "dropout", "warm_up"}
_OMITTED_AT_DEFAULT = {"activation", "q", "validation_size", "momentum", "flip", "shift"}


@dataclass(frozen=True)
class RunStats:
    """Statistics of one call of reproduce.

    Attributes
    ----------
    elapsed : float
        Seconds from the start to the last figure.
    done : int
        Number of jobs that were run.
    kept : int
        Number of jobs whose outcomes were there before.
    workers : int
        Number of processes.
    machine : str
        Description of the software and the processor.
    """

    elapsed: float
    done: int
    kept: int
    workers: int
    machine: str


@dataclass(frozen=True)
class AgreementCounts:
    """Numbers of reported values, and of those that are reproduced.

    Attributes
    ----------
    accuracies : int
        Number of reported accuracies.
    near : int
        Number of those within two points.
    minor : int
        Number of minor accuracies among them.
    minor_near : int
        Number of minor ones within two points.
    bounds : int
        Number of reported bounds of gradient errors.
    within : int
        Number of bounds that are not exceeded.
    """

    accuracies: int
    near: int
    minor: int
    minor_near: int
    bounds: int
    within: int


def count_agreement(results: Sequence[Results]) -> AgreementCounts:
    """Return the numbers of reported and reproduced values."""
    rows = [row for result in results for row in result.comparisons() if row.compared]
    minor = [row for row in rows if row.number.minor]
    bounds = [row for result in results for row in result.gradient_comparisons() if row.passed is not None]
    return AgreementCounts(
        len(rows),
        sum(row.near for row in rows),
        len(minor),
        sum(row.near for row in minor),
        len(bounds),
        sum(bool(row.passed) for row in bounds),
    )


def warning(result: Results) -> list[Block]:
    """Return the first paragraph of every page if the data is not CIFAR-10, or not its official files."""
    if result.data == OFFICIAL:
        return []
    if not result.small:
        return [Text(f"The data is: {result.data}.", marked=True)]
    return [
        Text(
            f"This is not CIFAR-10. The data is: {result.data}. The experiments were run in small versions, to show "
            "that they run; their values cannot be compared with the reported ones. The names of the runs, in tables "
            "and figures, give the settings of the reports.",
            marked=True,
        )
    ]


def title(results: Sequence[Results]) -> str:
    """Return the title of all results, which names the reports and says whether one is incomplete."""
    if all(result.experiment.on_request for result in results):
        return "; ".join(REPORTS[number] for number in dict.fromkeys(result.experiment.report for result in results))
    subject = _reports(results)
    return f"{subject[0].upper()}{subject[1:]}, reproduced{' in part' * _is_partial(results)}"


def _reports(results: Sequence[Results]) -> str:
    """Return the reports of the results: all five, or their numbers."""
    done = sorted({result.experiment.report for result in results if not result.experiment.on_request})
    every = {experiment.report for experiment in EXPERIMENTS.values() if not experiment.on_request}
    if set(done) == every:
        return "five reports"
    return f"report{'s' * (len(done) > 1)} {listed(done)}"


def _is_partial(results: Sequence[Results]) -> bool:
    """Whether an experiment of a report on the page is not done."""
    done = {result.experiment.name for result in results}
    return not done >= {experiment.name for experiment in _all_of_the_reports(results)}


def _all_of_the_reports(results: Sequence[Results]) -> list[Experiment]:
    numbers = {result.experiment.report for result in results}
    return [e for e in EXPERIMENTS.values() if e.report in numbers and not e.on_request]


def summary(results: Sequence[Results], stats: RunStats) -> list[Block]:
    """Return the beginning of the page of all results."""
    return [
        Title(1, title(results)),
        *warning(results[0]),
        *([] if all(result.experiment.on_request for result in results) else [Text(_about(results))]),
        *(Text(sentence) for sentence in _verdict(count_agreement(results))),
        Text(_format_stats(results, stats)),
        _contents(results),
        *_list_disagreements(results),
    ]


def _about(results: Sequence[Results]) -> str:
    """Return the first paragraph: the experiments, and how to read their values."""
    data, small = results[0].data, results[0].small
    which = "All experiments"
    if _is_partial(results):
        done = sum(not result.experiment.on_request for result in results)
        which = f"{done} of the {len(_all_of_the_reports(results))} experiments"
    difference = "" if small else " a difference is reproduced minus reported, in percentage points;"
    subject = data if data == OFFICIAL else "images"
    return (
        f"{which} of {_reports(results)} on classifying {subject}, reproduced with gradients from automatic "
        f"differentiation. Percentages are accuracies;{difference} ± is the standard deviation over the seeds. "
        "Gradient checks use float64. Training uses float32 where this changes the result less than another seed does; "
        "the settings state which."
    )


def _verdict(counted: AgreementCounts) -> list[str]:
    sentences = []
    if counted.accuracies:
        sentences.append(
            f"{_share(counted.near, counted.accuracies)} reported accuracies are reproduced within {NEAR:g} points."
        )
    if counted.bounds:
        sentences.append(
            f"{_share(counted.within, counted.bounds)} reported gradient errors are reproduced: the error against the "
            "centred difference does not exceed them."
        )
    if 0 < counted.minor < counted.accuracies:
        single = (
            f"Without the {counted.minor} single runs of the fine search of report 003 ({counted.minor_near} of them"
        )
        near, accuracies = counted.near - counted.minor_near, counted.accuracies - counted.minor
        sentences.append(
            f"{single} within {NEAR:g} points), {_share(near, accuracies)} accuracies are; together with the gradient "
            f"errors, {_share(near + counted.within, accuracies + counted.bounds)} reported values."
        )
    return sentences


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({(200 * part + whole) // (2 * whole)} %)"


def _format_stats(results: Sequence[Results], stats: RunStats) -> str:
    kept = f" ({stats.kept} more were done before)" if stats.kept else ""
    return (
        f"All runs together took {sum(result.seconds for result in results):.0f} core seconds; runs that experiments "
        f"share are counted in each. The command that wrote this page took {stats.elapsed:.0f} seconds for "
        f"{stats.done} run{'s' * (stats.done != 1)}{kept} in {stats.workers} "
        f"process{'es' * (stats.workers != 1)}: {stats.machine}."
    )


def _contents(results: Sequence[Results]) -> Table:
    lines = []
    for result in results:
        counted = count_agreement([result])
        compared = counted.accuracies + counted.bounds
        lines.append(
            [
                f"{result.experiment.report}: {result.experiment.title}",
                str(compared or ""),
                str(counted.near + counted.within) if compared else "",
                f"{result.seconds:.0f}",
            ]
        )
    header = ["experiment", "values compared", "reproduced", "core seconds"]
    return _table(header, lines, links=[result.experiment.name for result in results])


def _table(header: list[str], lines: list[list[str]], links: Sequence[str] = ()) -> Table:
    """Return a table without the columns that have no content."""
    kept = [i for i in range(len(header)) if i == 0 or any(line[i] for line in lines)]
    return Table([header[i] for i in kept], [[line[i] for i in kept] for line in lines], links=links)


def _list_disagreements(results: Sequence[Results]) -> list[Block]:
    far = [(result, row) for result in results for row in result.comparisons() if row.compared and not row.near]
    if not far:
        return []
    lines = [
        [
            f"{result.experiment.report}: {row.number.what}",
            _percent(row.number.reported),
            _mean_and_spread(row),
            _signed(row.difference),
        ]
        for result, row in far
    ]
    return [
        Title(3, f"Differences of more than {NEAR:g} points"),
        Text("Each experiment explains its differences as far as they can be explained."),
        Table(["", "reported", "reproduced", "difference"], lines, links=[result.experiment.name for result, _ in far]),
    ]


def report(number: str, results: Sequence[Results], images: dict[str, list[Image]], *, level: int = 2) -> list[Block]:
    """Return the blocks of one report.

    Parameters
    ----------
    number : str
        Number of the report.
    results : sequence of Results
        The results of its experiments.
    images : dict
        The figures of each experiment, by its name.
    level : int
        Level of the heading.
    """
    heading = f"Report {number}. {REPORTS[number]}" if number.isdecimal() else REPORTS[number]
    blocks: list[Block] = [Title(level, heading, f"report-{number}")]
    blocks += [Text(NOTES[number])] if number in NOTES else []
    for result in results:
        blocks += _experiment(result, images[result.experiment.name], level + 1)
    return blocks


def _experiment(result: Results, images: Sequence[Image], level: int) -> list[Block]:
    experiment = result.experiment
    published = "In the report: " if result.small else ""
    blocks: list[Block] = [
        Title(level, experiment.title, experiment.name),
        Text(f"{published}{experiment.about} ({experiment.source}.)"),
    ]
    if experiment.runs:
        blocks.append(Text(_format_settings(result)))
    rows = result.comparisons()
    if rows:
        blocks.append(_accuracy_table(rows, states_resources=experiment.states_resources))
    for text, names in _explanations(rows).items():
        blocks.append(Text(f"Difference of more than {NEAR:g} points, {', '.join(names)}: {text}"))
    gradient_rows = result.gradient_comparisons()
    for setting in dict.fromkeys(row.setting for row in gradient_rows):
        blocks += _gradient_blocks([row for row in gradient_rows if row.setting == setting], setting)
    if result.timed:
        blocks.append(_timing_table(result))
    if experiment.remark and not result.small:
        blocks.append(Text(experiment.remark))
    return [*blocks, *images]


def _accuracy_table(rows: Sequence[AccuracyComparison], *, states_resources: bool) -> Table:
    lines = [
        [
            row.number.what,
            _percent(row.number.reported) if row.comparable else "",
            _mean_and_spread(row),
            _signed(row.difference) if row.compared else "",
            str(len(row.reproduced)),
            f"{row.seconds:.1f}",
            f"{row.elapsed:.0f}" if states_resources else "",
            f"{row.peak / 1e9:.1f} GB" if states_resources and row.peak is not None else "",
        ]
        for row in rows
    ]
    reproduced = "reproduced" if rows[0].comparable else "small version"
    header = ["accuracy in %", "reported", reproduced, "difference", "seeds", "processor seconds per run"]
    return _table([*header, "elapsed seconds of training", "peak memory"], lines)


def _explanations(rows: Sequence[AccuracyComparison]) -> dict[str, list[str]]:
    """Return the explanations of differences, each with the values that it applies to."""
    explanations: dict[str, list[str]] = {}
    for row in rows:
        if row.compared and not row.near:
            explanations.setdefault(row.explain_difference(), []).append(row.number.what)
    return explanations


def _gradient_blocks(rows: Sequence[GradientComparison], setting: str) -> list[Block]:
    lines = [
        [
            f"{row.parameter}: {row.name}",
            _scientific(row.reported),
            _scientific(row.analytic),
            _scientific(row.one_sided),
            _scientific(row.centred),
            "" if row.passed is None else "yes" if row.passed else "no",
        ]
        for row in rows
    ]
    header = ["", "reported", "backward pass", "one-sided difference", "centred difference", "within bound"]
    return [Text(f"Inputs: {setting}."), _table(header, lines)]


def _timing_table(result: Results) -> Table:
    lines = [
        [
            job.sizes,
            f"{outcome.ours:.2f}",
            "" if outcome.torch is None else f"{outcome.torch:.2f}",
            "" if outcome.torch is None else f"{outcome.ours / outcome.torch:.2f}",
        ]
        for job, outcome in zip(result.experiment.timings, result.timed, strict=True)
    ]
    return _table(["milliseconds of a step", "tinygrad_cifar", "PyTorch", "ratio"], lines)


def _format_settings(result: Results) -> str:
    """Return the settings that all runs share, the names of the others, and the changes for a small version."""
    every = [asdict(runs[0]) for runs in _used_settings(result)]
    shared = {name: value for name, value in every[0].items() if all(other[name] == value for other in every)}
    shown = [name for name in shared if _is_listed(name, every[0])]
    text = ", ".join(f"{name} {_format_value(shared[name])}" for name in shown)
    differing = [name for name in every[0] if name not in shared]
    varying = f" Varied between the runs: {', '.join(differing)}." if differing else ""
    if not result.small:
        return f"Settings: {text}; {_seeds(result.experiment)}.{varying}"
    declared = [asdict(settings) for settings in result.experiment.runs.values()]
    changes = [change for name in every[0] if (change := _format_change(name, declared, every))]
    changed = f" Changed: {'; '.join(changes)}." if changes else ""
    return f"Settings of the small version: {text}; {_seeds(result.experiment)}.{varying}{changed}"


def _format_change(name: str, declared: Sequence[dict[str, Any]], used: Sequence[dict[str, Any]]) -> str:
    """Return the values of a setting in the small version and in the report; empty if they are the same."""
    changes = {
        small[name]: full[name]
        for full, small in zip(declared, used, strict=True)
        if name != "seed" and small[name] != full[name] and SETTINGS[name].has_effect(full)
    }
    if not changes:
        return ""
    new, old = (", ".join(map(_format_value, values)) for values in (changes.keys(), changes.values()))
    return f"{name} {new} instead of {old}"


def _seeds(experiment: Experiment) -> str:
    more = ", ".join(f"{count} for {run}" for run, count in experiment.more_seeds.items())
    words = f"{experiment.seeds} seeds" if experiment.seeds > 1 else "1 seed"
    return f"{words} ({more})" if more else words


def _used_settings(result: Results) -> list[list[Settings]]:
    """Return the settings that were used, which in small versions are not the declared ones."""
    return [[Settings.from_json(one.result["settings"]) for one in runs] for runs in result.trained.values()]


def _is_listed(name: str, settings: dict[str, object]) -> bool:
    """Whether a setting is listed on a page, given all settings of the run."""
    value, declared = settings[name], SETTINGS[name]
    if (
        name in _OMITTED
        or value in (None, ())
        or ((name in _OMITTED_AT_DEFAULT or declared.was_added) and value == declared.default)
    ):
        return False
    return declared.has_effect(settings)


def _format_value(value: object) -> str:
    return format_value(value, digits=6)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _mean_and_spread(row: AccuracyComparison) -> str:
    return f"{row.mean:.2f}" + ("" if math.isnan(row.spread) else f" ± {row.spread:.2f}")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", _MINUS)


def _scientific(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e+")
