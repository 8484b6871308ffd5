"""``tinygrad-cifar train``: from options to a folder with everything that came out of a run.

The folder says how far the run is: ``checkpoint.npz`` is there from the first moment until the run is finished, and
``result.json`` is written last.
"""

from __future__ import annotations

import argparse
import json
import logging
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.cli.common import (
    CommandError,
    Stopped,
    Subparsers,
    add_data_option,
    lock_folder,
    make_folder,
    nonempty_path,
    table,
    wrapped,
)
from tinygrad_cifar.cli.progress import ProgressDisplay, show_progress
from tinygrad_cifar.cli.settings import add_settings, settings_from, table_of_defaults
from tinygrad_cifar.course.evaluation import confusion_matrix
from tinygrad_cifar.course.model_files import save_model
from tinygrad_cifar.course.preparation import Prepared, prepare, split_dataset
from tinygrad_cifar.course.runs import Result, build_schedule, check_resumable, run, save_result
from tinygrad_cifar.course.settings import MODELS, Settings, describe
from tinygrad_cifar.course.training import Measurement, TrainingDiverged, TrainingProgress
from tinygrad_cifar.data import Dataset, load_dataset
from tinygrad_cifar.system import blas as machine
from tinygrad_cifar.system.identity import require_same

RESULT, HISTORY, PARAMETERS, CHECKPOINT = "result.json", "history.csv", "parameters.npz", "checkpoint.npz"
FIGURES = ("loss.png", "accuracy.png", "learning_rate.png", "weights.png", "confusion.png")
_MOST_TEMPLATES = 100

_EXAMPLES = """
defaults:
{defaults}
  --n-s is half the run, so that a triangular rate makes one cycle and --decay
  acts once with the schedule step; a tenth of the training images is held out
  for validation.

examples:
  tinygrad-cifar train two-layer --out runs/first

  # report 002, third line of its table (published: 33.17 %)
  tinygrad-cifar train softmax --data DIR --train-batches 1 \\
    --validation-batch 2 --preprocessing scale --no-shuffle \\
    --schedule constant --eta 0.01 --lam 0.1 --epochs 40 --out runs/002

  # report 003, one cycle (published: 45.25 %)
  tinygrad-cifar train two-layer --data DIR --train-batches 1 \\
    --validation-batch 2 --lam 0.01 --n-s 500 --epochs 10 --out runs/003
"""


def add_parser(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "train",
        help="train a classifier",
        description="Train a classifier and write everything that came out of it into a folder.",
        usage="tinygrad-cifar train MODEL --out DIR [options]",
        epilog=_EXAMPLES.format(defaults=textwrap.indent(table_of_defaults(), "  ")),
    )
    parser.add_argument("model", metavar="MODEL", choices=MODELS, help=f"which classifier: {', '.join(MODELS)}")
    parser.add_argument("--out", type=nonempty_path, required=True, metavar="DIR", help="where everything is written")
    add_data_option(parser)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the unfinished run in the folder")
    again.add_argument("--overwrite", action="store_true", help="delete the run in the folder and start anew")
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="draw nothing")
    add_settings(parser)
    parser.set_defaults(command=train)


def train(options: argparse.Namespace) -> int:
    """Train as the options say."""
    out: Path = options.out
    with lock_folder(out):
        finished = _is_finished(out, options)
    dataset = load_dataset(options.data)
    settings = settings_from(options, dataset)
    if finished:
        return _say_that_it_is_finished(out, settings, dataset)
    if (out / CHECKPOINT).exists() and options.resume:
        check_resumable(out / CHECKPOINT, settings, dataset)
    _announce(settings, dataset)
    prepared = prepare(dataset, settings)
    make_folder(out)
    with lock_folder(out):
        if _is_finished(out, options):  # another command was quicker
            return _say_that_it_is_finished(out, settings, dataset)
        _clear(out, everything=options.overwrite)
        return _run(out, settings, prepared, draw=options.figures)


def _run(out: Path, settings: Settings, prepared: Prepared, *, draw: bool) -> int:
    """Train, or go on with it, and write everything."""
    dataset = prepared.dataset
    with _resumable(out / CHECKPOINT):
        with show_progress(settings.model) as display:
            callback = partial(_show, display)
            result = run(settings, prepared, checkpoint=out / CHECKPOINT, callback=callback)
        save_model(out / PARAMETERS, result, prepared.preprocessing, dataset)
        figures = _draw(out, result, prepared) if draw else ()
        save_result(out, result, dataset)
    (out / CHECKPOINT).unlink()

    print(f"\n{_scores(result.to_json())}\n")
    print(f"{dataset.name}, {result.history.rows[-1].step} steps in {result.seconds:.1f} s")
    print(wrapped(f"{out}: {' '.join((RESULT, HISTORY, PARAMETERS, *figures))}"))
    return 0


@contextmanager
def _resumable(checkpoint: Path) -> Iterator[None]:
    """Say what is left of a run that ends before it is finished."""
    try:
        yield
    except TrainingDiverged as error:
        raise CommandError(f"{error} (the last good state is kept in {checkpoint})") from error
    except KeyboardInterrupt:
        if checkpoint.exists():
            raise Stopped(f"stopped; the same command with --resume goes on from {checkpoint}") from None
        raise Stopped("stopped before anything was done; the same command starts again") from None


# -- the folder --------------------------------------------------------------------------------------------------------


def _is_finished(out: Path, options: argparse.Namespace) -> bool:
    """Say whether a run that is to be resumed is finished, and refuse a folder with another."""
    finished, begun = (out / RESULT).exists(), (out / CHECKPOINT).exists()
    if options.resume and not finished and not begun:
        raise CommandError(f"{out} holds no run to resume; leave --resume out to start one")
    if options.resume or options.overwrite:
        return finished and bool(options.resume)
    if finished:
        raise CommandError(f"{out} holds a finished run; choose another --out, or replace it with --overwrite")
    if begun:
        raise CommandError(f"{out} holds an unfinished run; go on with --resume, or start anew with --overwrite")
    return False


def _clear(out: Path, *, everything: bool) -> None:
    """Delete what killed runs left half-written, or everything that runs write."""
    names = (RESULT, CHECKPOINT, HISTORY, PARAMETERS, *FIGURES)
    for name in names:
        for part in out.glob(f".{name}.*.part"):
            part.unlink()
        if everything:
            (out / name).unlink(missing_ok=True)


def _say_that_it_is_finished(out: Path, settings: Settings, dataset: Dataset) -> int:
    try:
        figures = json.loads((out / RESULT).read_bytes())
        stored = asdict(Settings.from_json(figures["settings"])) | {"data": figures["data"]["sha256"]}
        scores = _scores(figures)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise CommandError(f"{out / RESULT} is no result of a run; replace it with --overwrite") from error
    try:
        require_same(json.loads(json.dumps(stored)), asdict(settings) | {"data": dataset.identity()["sha256"]})
    except ValueError as error:
        raise CommandError(f"{out} holds another run, which is finished: {error}") from error
    print(f"{out} holds this run, and it is finished:\n\n{scores}")
    return 0


# -- what is printed ---------------------------------------------------------------------------------------------------


def _announce(settings: Settings, dataset: Dataset) -> None:
    """Say what is going to be done, before the images are prepared, which can take half a minute."""
    for line in (str(machine.runtime()), f"{dataset.name}: {_parts(settings, dataset)}", describe(settings)):
        print(wrapped(line), flush=True)
    if settings.preprocessing == "whiten":
        print("whitening the images ...", flush=True)


def _parts(settings: Settings, dataset: Dataset) -> str:
    train, validation = split_dataset(dataset, settings)
    parts = {"training": train, "validation": validation, "test": dataset.test}
    return ", ".join(f"{len(part.labels)} {name}" for name, part in parts.items() if part is not None) + " images"


def _scores(figures: dict[str, Any]) -> str:
    rows = [
        [part, f"{figures[f'{part}_accuracy']:.2%}", *(f"{figures[f'{part}_{what}']:.4f}" for what in ("loss", "cost"))]
        for part in ("train", "validation", "test")
        if figures[f"{part}_accuracy"] is not None
    ]
    return table(["", "accuracy", "loss", "cost"], rows)


def _show(display: ProgressDisplay, progress: TrainingProgress) -> None:
    """Show the loss of the last batch and the last accuracy, or a line for each measurement."""
    measured = progress.measured
    status = f"loss={progress.loss:.4g}, accuracy={_last_accuracy(measured):.1%}"
    lines = [_line(measured, progress.steps)] if measured.step == progress.step else []
    display.update(progress.step, progress.steps, status=status, lines=lines)


def _last_accuracy(row: Measurement) -> float:
    return row.train_accuracy if np.isnan(row.validation_accuracy) else row.validation_accuracy


def _line(row: Measurement, steps: int) -> str:
    width = len(str(steps))
    line = f"step {row.step:{width}}/{steps}  epoch {row.epoch:5.1f}  loss {row.train_loss:<6.4g}"
    line += f"  train {row.train_accuracy:6.1%}"
    return line if np.isnan(row.validation_accuracy) else f"{line}  validation {row.validation_accuracy:6.1%}"


# -- the figures -------------------------------------------------------------------------------------------------------


def _draw(out: Path, result: Result, prepared: Prepared) -> tuple[str, ...]:
    """Draw the run, if matplotlib is there, and return the files' names."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its caches
    try:
        from tinygrad_cifar.course import plotting as figures  # noqa: PLC0415 (matplotlib is optional, and slow to import)
    except ImportError:
        print("no figures: they need matplotlib, which `pip install matplotlib` brings")
        return ()
    settings, dataset = result.settings, prepared.dataset
    details = f"{dataset.name}: {describe(settings)}"
    history = {"": result.history}
    steps = result.history.rows[-1].step
    schedule = build_schedule(settings, -(-len(prepared.train[1]) // settings.batch_size))
    weights = prepared.preprocessing.of_pixels(result.model.weights()[0].numpy())
    units = weights.shape[1]
    linear = not settings.hidden
    drawn = (
        figures.plot_loss(figures.Heading("Loss and cost", details), history),
        figures.plot_accuracy(figures.Heading("Accuracy", details), history),
        figures.plot_learning_rate(
            figures.Heading("Learning rate", details), np.array([schedule(step) for step in range(steps)])
        ),
        figures.plot_templates(
            figures.Heading(_title_of_templates(units, linear=linear), details),
            weights[:, :_MOST_TEMPLATES],
            dataset.class_names if linear else None,
            columns=5 if linear else 10,
        ),
        figures.plot_confusion_matrix(
            figures.Heading("What the test images were taken for", details),
            confusion_matrix(result.model, prepared.test, len(dataset.class_names)),
            dataset.class_names,
        ),
    )
    for name, figure in zip(FIGURES, drawn, strict=True):
        figures.save_figure(figure, out / name)
    return FIGURES


def _title_of_templates(units: int, *, linear: bool) -> str:
    if linear:
        return "Weights of each class as images"
    return "Weights of hidden units as images" + (f" ({_MOST_TEMPLATES} of {units})" if units > _MOST_TEMPLATES else "")
