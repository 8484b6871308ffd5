"""``tinygrad-cifar train``: train a classifier and write the results to a folder.

The files show the state of the run: ``checkpoint.npz`` exists from the start of the training until all results are
written, and ``result.json`` is written last.
"""

from __future__ import annotations

import argparse
import json
import logging
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.cli.common import (
    CommandError,
    Stopped,
    Subparsers,
    add_data_option,
    add_threads_option,
    check_foreign_files,
    check_no_folders,
    check_plotting,
    counted,
    lock_folder,
    make_folder,
    output_folder,
    table,
    wrapped,
)
from tinygrad_cifar.cli.settings import BASIC, OPTIONS, SYNONYMS, add_settings, settings_from, table_of_defaults
from tinygrad_cifar.course.convnet import ConvNet
from tinygrad_cifar.course.evaluation import count_pairs
from tinygrad_cifar.course.model_files import save_model
from tinygrad_cifar.course.models import Patchify
from tinygrad_cifar.course.preparation import Prepared, prepare, split_dataset
from tinygrad_cifar.course.progress import show_steps
from tinygrad_cifar.course.runs import Result, build_schedule, check_resumable, initial_model, run, save_result
from tinygrad_cifar.course.setting_fields import option_of
from tinygrad_cifar.course.settings import MODELS, Settings, describe
from tinygrad_cifar.course.training import ResumeError, TrainingDiverged, read_divergence
from tinygrad_cifar.data import Dataset, load_dataset
from tinygrad_cifar.system import blas
from tinygrad_cifar.system.checkpoints import CheckpointError
from tinygrad_cifar.system.identity import require_same

RESULT, HISTORY, PARAMETERS, CHECKPOINT = "result.json", "history.csv", "parameters.npz", "checkpoint.npz"
LAYERS = "layers.png"  # only with --layer-statistics
FIGURES = ("loss.png", "accuracy.png", "learning_rate.png", "weights.png", "confusion.png", LAYERS)
_MAX_TEMPLATES = 100

_EXAMPLE = "example: tinygrad-cifar train two-layer --out runs/first"
_EXAMPLES = """
defaults that depend on the model:
{defaults}
  --n-s is chosen so that the cycles fill the run: one, or as many as --cycles
  says. For the schedule step it is half the run. --validation-size is a tenth
  of the training images.

examples:
  tinygrad-cifar train two-layer --out runs/first

  # report 002, third line of its table (reported: 33.17 %)
  tinygrad-cifar train softmax --data DIR --train-batches 1 \\
    --validation-batch 2 --preprocessing scale --no-shuffle \\
    --schedule constant --eta 0.01 --lam 0.1 --epochs 40 --out runs/002

  # report 003, one cycle (reported: 45.25 %)
  tinygrad-cifar train two-layer --data DIR --train-batches 1 \\
    --validation-batch 2 --lam 0.01 --n-s 500 --epochs 10 --out runs/003
"""


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "train",
        help="train a classifier",
        description="Train a classifier and write the model, its metrics and figures to a folder.",
        usage="tinygrad-cifar train MODEL --out DIR [options]",
        basic=("model", "--out", "--data", *BASIC, "--threads", "--resume", "--overwrite"),
        example=_EXAMPLE,
        synonyms=SYNONYMS,
        epilog=_EXAMPLES.format(defaults=textwrap.indent(table_of_defaults(), "  ")),
    )
    parser.add_argument("model", metavar="MODEL", choices=MODELS, help=f"classifier: {', '.join(MODELS)}")
    parser.add_argument("--out", type=output_folder, required=True, metavar="DIR", help="output folder")
    add_data_option(parser)
    add_threads_option(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="resume the unfinished run in the folder")
    existing.add_argument("--overwrite", action="store_true", help="delete the run in the folder and start again")
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="do not write figures")
    add_settings(parser)
    parser.set_defaults(command=train)


def train(options: argparse.Namespace) -> int:
    """Run the command."""
    out: Path = options.out
    if options.figures:
        check_plotting()
    with lock_folder(out):
        finished = _is_finished(out, options)
    dataset = load_dataset(options.data)
    settings = settings_from(options, dataset)
    if finished:
        return _report_finished(out, settings, dataset)
    if (out / CHECKPOINT).exists() and options.resume:
        with _refusals_explained(_REMEDY):
            check_resumable(out / CHECKPOINT, settings, dataset, name_of=_name_of)
    _print_header(settings, dataset)
    prepared = prepare(dataset, settings)
    make_folder(out)
    with lock_folder(out):
        if _is_finished(out, options):  # by another command, meanwhile
            return _report_finished(out, settings, dataset)
        replaces = options.overwrite and any((out / name).exists() for name in (RESULT, CHECKPOINT))
        if replaces:
            initial_model(settings, prepared)  # raises what the new run would, before the other one is deleted
        _clear(out, everything=replaces)
        if options.overwrite and options.figures:
            for name in FIGURES:  # those of another program would be taken for foreign files when the run is resumed
                (out / name).unlink(missing_ok=True)
        return _run(out, settings, prepared, options)


def _run(out: Path, settings: Settings, prepared: Prepared, options: argparse.Namespace) -> int:
    """Start or resume the training, and write the results."""
    dataset = prepared.dataset
    replaced = " in place of --overwrite" if options.overwrite else ""
    with _resumable(out / CHECKPOINT, f"--resume{replaced}"), _refusals_explained("replace the run with --overwrite"):
        with show_steps(settings.model, max_lines=None) as show:
            result = run(settings, prepared, checkpoint=out / CHECKPOINT, callback=show)
        save_model(out / PARAMETERS, result, prepared.preprocessing, dataset)
        figures = _draw(out, result, prepared) if options.figures else ()
        save_result(out, result, dataset)
    (out / CHECKPOINT).unlink()

    print(f"\n{_format_metrics(result.to_json())}\n")
    print(f"{dataset.name}, {counted(result.history.rows[-1].step, 'step')} in {result.seconds:.1f} s")
    print(wrapped(f"{out}: {' '.join((RESULT, HISTORY, PARAMETERS, *figures))}"))
    return 0


@contextmanager
def _resumable(checkpoint: Path, how: str) -> Iterator[None]:
    """Add the state of the folder to the error of a run that stops before the end."""
    try:
        yield
    except TrainingDiverged as error:
        raise CommandError(f"{error}, with --overwrite to start again") from error
    except KeyboardInterrupt:
        if checkpoint.exists():
            raise Stopped(f"stopped; the same command with {how} continues from {checkpoint}") from None
        raise Stopped("stopped before the training; the same command starts again") from None


@contextmanager
def _refusals_explained(remedy: str) -> Iterator[None]:
    """Say which option replaces a run that cannot be resumed."""
    try:
        yield
    except ResumeError as error:
        raise CommandError(f"{error.reason}; {remedy}") from error


_REMEDY = "give the same options, or --overwrite to start again"


def _name_of(name: str) -> str:
    """Return the option of a setting, as it is called in messages."""
    return option_of(name) if name in OPTIONS else name


# -- output folder -----------------------------------------------------------------------------------------------------


def _is_finished(out: Path, options: argparse.Namespace) -> bool:
    """Return whether the run to be resumed is finished; raise an error if the folder has another run."""
    check_no_folders(out, (RESULT, CHECKPOINT, HISTORY, PARAMETERS, *FIGURES), work="run")
    finished, started = (out / RESULT).exists(), (out / CHECKPOINT).exists()
    if options.resume and not finished and not started:
        raise CommandError(f"{out} does not contain a run to resume; omit --resume to start one")
    if options.resume and not finished and options.figures and not (out / PARAMETERS).exists():
        _check_foreign_files(out, FIGURES)  # a run writes its figures after its parameters
    if started and not options.overwrite and not finished:
        _check_checkpoint(out)
    if options.resume or options.overwrite:
        return finished and bool(options.resume)
    if finished:
        raise CommandError(f"{out} contains a finished run; choose another --out, or replace it with --overwrite")
    if started:
        raise CommandError(
            f"{out} contains an unfinished run; continue it with --resume, or replace it with --overwrite"
        )
    _check_foreign_files(out, (HISTORY, PARAMETERS, *(FIGURES if options.figures else ())))
    return False


def _check_foreign_files(out: Path, names: Sequence[str]) -> None:
    check_foreign_files(out, names, work="run", remedy="replace them with --overwrite")


def _check_checkpoint(out: Path) -> None:
    """Raise an error if the run in a folder cannot be resumed: if it diverged, or its checkpoint is damaged."""
    try:
        event = read_divergence(out / CHECKPOINT)
    except ResumeError as error:  # a file of another kind
        raise CommandError(f"{error.reason}; choose another --out, or replace it with --overwrite") from error
    except CheckpointError as error:
        raise CommandError(f"{error}; delete the folder, or replace the run with --overwrite") from error
    if event is not None:
        raise CommandError(f"{out} contains a run that diverged: {event}; replace it with --overwrite")


def _clear(out: Path, *, everything: bool) -> None:
    """Delete the partial files of killed runs, or all files of a run."""
    names = (RESULT, CHECKPOINT, HISTORY, PARAMETERS, *FIGURES)
    for name in names:
        for part in out.glob(f".{name}.*.part"):
            part.unlink()
        if everything:
            (out / name).unlink(missing_ok=True)


def _report_finished(out: Path, settings: Settings, dataset: Dataset) -> int:
    try:
        content = json.loads((out / RESULT).read_bytes())
        stored = asdict(Settings.from_json(content["settings"])) | {"data": content["data"]["sha256"]}
        metrics = _format_metrics(content)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CommandError(f"{out / RESULT} is not the result of a run; replace it with --overwrite") from error
    try:
        own = asdict(settings) | {"data": dataset.identity()["sha256"]}
        require_same(json.loads(json.dumps(stored)), own, name_of=_name_of)
    except ValueError as error:
        raise CommandError(f"{out} contains another finished run: {error}; {_REMEDY}") from error
    print(f"{out} contains this run, which is finished:\n\n{metrics}")
    return 0


# -- output ------------------------------------------------------------------------------------------------------------


def _print_header(settings: Settings, dataset: Dataset) -> None:
    """Print machine, data and settings, before the preprocessing, which can take half a minute."""
    for line in (str(blas.runtime()), f"{dataset.name}: {_format_sizes(settings, dataset)}", describe(settings)):
        print(wrapped(line), flush=True)
    if settings.preprocessing == "whiten":
        print("whitening the images ...", flush=True)


def _format_sizes(settings: Settings, dataset: Dataset) -> str:
    train, validation = split_dataset(dataset, settings)
    parts = {"training": train, "validation": validation, "test": dataset.test}
    return ", ".join(f"{len(part.labels)} {name}" for name, part in parts.items() if part is not None) + " images"


def _format_metrics(content: dict[str, Any]) -> str:
    settings = Settings.from_json(content["settings"])
    train = "train"
    if settings.model == "convnet" and content.get("train_images"):  # not in results of earlier versions
        train += f", first {content['train_images']:,}"
    if settings.views != "one":  # the others are of all views
        train += ", one view"
    rows = [
        [
            train if part == "train" else part,
            f"{content[f'{part}_accuracy']:.2%}",
            *(f"{content[f'{part}_{quantity}']:.4f}" for quantity in ("loss", "cost")),
        ]
        for part in ("train", "validation", "test")
        if content[f"{part}_accuracy"] is not None
    ]
    return table(["", "accuracy", "loss", "cost"], rows)


# -- figures -----------------------------------------------------------------------------------------------------------


def _draw(out: Path, result: Result, prepared: Prepared) -> tuple[str, ...]:
    """Write the figures if matplotlib is installed, and return the names of the files."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs the creation of its caches
    try:
        from tinygrad_cifar.course import plotting  # noqa: PLC0415 (matplotlib is optional, and slow to import)
    except ImportError:
        print("no figures: they require matplotlib (pip install matplotlib)")
        return ()
    settings, dataset = result.settings, prepared.dataset
    details = f"{dataset.name}: {describe(settings)}"
    history = {"": result.history}
    steps = result.history.rows[-1].step
    schedule = build_schedule(settings, -(-len(prepared.train[1]) // settings.batch_size))
    if isinstance(result.model, (Patchify, ConvNet)):
        weights = result.model.filters_as_images()
    else:
        weights = prepared.preprocessing.of_pixels(result.model.weights()[0].numpy())
    units = weights.shape[1]
    linear = not settings.hidden
    drawn = [
        plotting.plot_loss(plotting.Heading("Loss and cost", details), history),
        plotting.plot_accuracy(plotting.Heading("Accuracy", details), history),
        plotting.plot_learning_rate(
            plotting.Heading("Learning rate", details), np.array([schedule(step) for step in range(steps)])
        ),
        plotting.plot_templates(
            plotting.Heading(_template_title(settings.model, units), details),
            weights[:, :_MAX_TEMPLATES],
            dataset.class_names if linear else None,
            columns=5 if linear else 10,
        ),
        plotting.plot_confusion_matrix(
            plotting.Heading("Confusion matrix of the test images", details),
            count_pairs(
                dataset.test.labels, np.argmax(np.asarray(result.test_scores), axis=1), len(dataset.class_names)
            ),
            dataset.class_names,
        ),
    ]
    names = [name for name in FIGURES if name != LAYERS or result.history.layers]
    if result.history.layers:
        drawn.append(plotting.plot_layers(plotting.Heading("Activations and gradients", details), result.history))
    for name, figure in zip(names, drawn, strict=True):
        plotting.save_figure(figure, out / name)
    return tuple(names)


def _template_title(model: str, units: int) -> str:
    title = {
        "softmax": "Weights of each class as images",
        "svm": "Weights of each class as images",
        "patchify": "Filters as images",
        "convnet": "Filters of the first layer as images, not trained",
    }.get(model, "Weights of hidden units as images")
    return title + (f" ({_MAX_TEMPLATES} of {units})" if units > _MAX_TEMPLATES else "")
