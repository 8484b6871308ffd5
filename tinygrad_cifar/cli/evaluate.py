"""``tinygrad-cifar evaluate``: metrics and confusion matrix of a trained model, or of an ensemble of several."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.cli.common import (
    CommandError,
    Subparsers,
    add_data_option,
    add_threads_option,
    counted,
    escape_unprintable,
    table,
    wrapped,
)
from tinygrad_cifar.cli.train import CHECKPOINT, PARAMETERS
from tinygrad_cifar.course.ensembles import Ensemble, average_probabilities
from tinygrad_cifar.course.evaluation import Metrics, count_pairs, evaluate_scores, scores_of
from tinygrad_cifar.course.model_files import TrainedModel, load_model
from tinygrad_cifar.course.preparation import preprocess_split, split_dataset, with_views
from tinygrad_cifar.course.setting_fields import shorten
from tinygrad_cifar.course.settings import describe
from tinygrad_cifar.course.training import read_divergence
from tinygrad_cifar.data import Dataset, Split, load_dataset
from tinygrad_cifar.system.checkpoints import CheckpointError

Array = np.ndarray[Any, np.dtype[Any]]

_WIDEST = 50  # characters of the name of a run in a table


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a trained model, or an ensemble",
        description="Print accuracy, loss, cost and confusion matrix of a trained model. With several runs, print "
        "accuracy and cross-entropy of each and of their ensemble, whose probabilities are the means of theirs, and "
        "the confusion matrix of the ensemble.",
    )
    parser.add_argument(
        "runs",
        type=_existing_path,
        metavar="RUN",
        nargs="+",
        help=f"folder of a run, or the file {PARAMETERS} in it",
    )
    add_data_option(parser)
    add_threads_option(parser)
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="images to evaluate on: test (the default), or the validation or training images of the run",
    )
    parser.set_defaults(command=evaluate)


def _existing_path(text: str) -> Path:
    if not os.path.exists(text):  # noqa: PTH110 (False for an invalid name, too)
        raise argparse.ArgumentTypeError(f"must exist; {shorten(text)} does not; give the folder that train wrote")
    return Path(text)


def evaluate(options: argparse.Namespace) -> int:
    """Run the command."""
    runs = _load_runs(options.runs)
    dataset = load_dataset(options.data)
    images = _shared_images(dataset, runs, options.split)
    scores = [_scores(trained, images) for trained in runs.values()]
    evaluated_on = f"{counted(len(images.labels), f'{options.split} image')} of {dataset.name}"
    if len(runs) == 1:
        (trained,), (together,) = runs.values(), scores
        metrics = evaluate_scores(trained.model, together, images.labels, trained.settings.penalty_factor)
        print(wrapped(describe(trained.settings)))
        print(f"trained on {escape_unprintable(str(trained.trained_on.get('name')))}\n")
        print(evaluated_on)
        print(f"accuracy {metrics.accuracy:.2%}, loss {metrics.loss:.4f}, cost {metrics.cost:.4f}\n")
    else:
        together = np.asarray(average_probabilities(scores))
        ensemble = Ensemble([trained.model for trained in runs.values()])
        rows = [evaluate_scores(ensemble, one, images.labels) for one in (*scores, together)]
        print(f"{evaluated_on}\n")
        print(_comparison([*runs, "ensemble"], rows))
    counts = count_pairs(images.labels, np.argmax(together, axis=1), len(dataset.class_names))
    print("confusion matrix (rows: true, columns: predicted):\n")
    print(_confusion_table(counts, dataset.class_names))
    return 0


def _load_runs(paths: Sequence[Path]) -> dict[str, TrainedModel]:
    """Return the models by the names of their runs; several must differ, and have softmax probabilities."""
    runs: dict[str, TrainedModel] = {}
    for path in paths:
        trained = load_model(_parameters_of(path))
        for name, other in runs.items():
            if (trained.settings, trained.trained_on) == (other.settings, other.trained_on):
                raise CommandError(f"{name} and {path} are the same run, or copies of it; give runs with other seeds")
        runs[escape_unprintable(str(path))] = trained
        if len(paths) > 1 and not trained.model.has_probabilities:
            raise CommandError(
                f"{path} was trained with another loss than the cross-entropy, so it has no softmax probabilities; "
                "give runs that were trained with the cross-entropy"
            )
    return runs


def _shared_images(dataset: Dataset, runs: Mapping[str, TrainedModel], split: str) -> Split:
    """Return the images of the split, which must be the same for all runs."""
    classes = {trained.class_names: run for run, trained in runs.items()}
    if len(classes) > 1:
        raise CommandError(f"{' and '.join(classes.values())} have other classes; give runs of the same data")
    for run, trained in runs.items():
        if dataset.class_names != trained.class_names:
            raise CommandError(
                f"{run} was trained on {trained.trained_on.get('name')}, whose classes differ from those of "
                f"{dataset.name}; give its data with --data"
            )
    first, *others = runs
    images = _images(dataset, first, runs[first], split)
    for run in others:
        if not np.array_equal(_images(dataset, run, runs[run], split).images, images.images):
            raise CommandError(
                f"the {split} images of {run} are not those of {first}; give runs with the same images, or --split test"
            )
    return images


def _parameters_of(run: Path) -> Path:
    path = run / PARAMETERS if run.is_dir() else run
    if not path.exists() and (run / CHECKPOINT).exists():
        raise CommandError(_explain_unfinished(run))
    if not path.exists():
        raise CommandError(f"{run} does not contain a run, since it has no {PARAMETERS}; give the folder of a run")
    return path


def _scores(trained: TrainedModel, images: Split) -> Array:
    examples = preprocess_split(images, trained.preprocessing, trained.settings)
    model, (X, _) = with_views(trained.model, examples, images, trained.preprocessing, trained.settings)
    return scores_of(model, X)


def _comparison(names: Sequence[str], metrics: Sequence[Metrics]) -> str:
    """Return a table of the accuracies and cross-entropies."""
    rows = [
        [name if len(name) <= _WIDEST else f"...{name[-_WIDEST:]}", f"{row.accuracy:.2%}", f"{row.loss:.4f}"]
        for name, row in zip(names, metrics, strict=True)
    ]
    return table(["", "accuracy", "cross-entropy"], rows) + "\n"


def _confusion_table(counts: Array, class_names: Sequence[str]) -> str:
    header = ["", *map(str, range(len(counts)))]
    rows = [[f"{i} {name}", *map(str, row)] for i, (name, row) in enumerate(zip(class_names, counts, strict=True))]
    return table(header, rows)


def _explain_unfinished(folder: Path) -> str:
    """Return why a run has no parameters to evaluate, and what to do."""
    run = f"the run in {folder}"
    try:
        event = read_divergence(folder / CHECKPOINT)
    except CheckpointError as error:
        return f"{run} is unfinished, and {error}; rerun its train command with --overwrite"
    if event is None:
        return f"{run} is unfinished; rerun its train command with --resume"
    return f"{run} diverged: {event}; rerun its train command with that change and --overwrite"


def _images(dataset: Dataset, run: str, trained: TrainedModel, split: str) -> Split:
    if split == "test":
        return dataset.test
    if dataset.identity()["sha256"] != trained.trained_on.get("sha256"):
        raise CommandError(
            f"{run} was trained on other data, so its {split} images are unknown; omit --split, or change --data"
        )
    train, validation = split_dataset(dataset, trained.settings)
    if split == "train":
        return train
    if validation is None:
        raise CommandError(f"{run} has no validation images; choose --split test or train")
    return validation
