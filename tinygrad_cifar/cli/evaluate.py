"""``tinygrad-cifar evaluate``: metrics and confusion matrix of a trained model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

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
from tinygrad_cifar.course.evaluation import confusion_matrix
from tinygrad_cifar.course.evaluation import evaluate as measure
from tinygrad_cifar.course.model_files import TrainedModel, load_model
from tinygrad_cifar.course.preparation import preprocess_split, split_dataset, with_views
from tinygrad_cifar.course.setting_fields import shorten
from tinygrad_cifar.course.settings import describe
from tinygrad_cifar.course.training import read_divergence
from tinygrad_cifar.data import Dataset, Split, load_dataset
from tinygrad_cifar.system.checkpoints import CheckpointError


def add_parser(commands: Subparsers) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a trained model",
        description="Print accuracy, loss, cost and confusion matrix of a trained model.",
    )
    parser.add_argument(
        "parameters", type=_existing_path, metavar="RUN", help=f"folder of a run, or the file {PARAMETERS} in it"
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
    path = options.parameters / PARAMETERS if options.parameters.is_dir() else options.parameters
    if not path.exists() and (options.parameters / CHECKPOINT).exists():
        raise CommandError(_explain_unfinished(options.parameters))
    if not path.exists():
        raise CommandError(
            f"{options.parameters} does not contain a run, since it has no {PARAMETERS}; give the folder of a run"
        )
    trained = load_model(path)
    dataset = load_dataset(options.data)
    if dataset.class_names != trained.class_names:
        raise CommandError(
            f"{path} was trained on {trained.trained_on.get('name')}, whose classes differ from those of "
            f"{dataset.name}; give its data with --data"
        )
    images = _images(dataset, trained, options.split)
    examples = preprocess_split(images, trained.preprocessing, trained.settings)
    model, examples = with_views(trained.model, examples, images, trained.preprocessing, trained.settings)
    metrics = measure(model, examples, trained.settings.penalty_factor)
    counts = confusion_matrix(model, examples, len(dataset.class_names))

    print(wrapped(describe(trained.settings)))
    print(f"trained on {escape_unprintable(str(trained.trained_on.get('name')))}\n")
    print(f"{counted(len(examples[1]), f'{options.split} image')} of {dataset.name}")
    print(f"accuracy {metrics.accuracy:.2%}, loss {metrics.loss:.4f}, cost {metrics.cost:.4f}\n")
    print("confusion matrix (rows: true, columns: predicted):\n")
    header = ["", *map(str, range(len(counts)))]
    rows = [
        [f"{i} {name}", *map(str, row)] for i, (name, row) in enumerate(zip(dataset.class_names, counts, strict=True))
    ]
    print(table(header, rows))
    return 0


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


def _images(dataset: Dataset, trained: TrainedModel, split: str) -> Split:
    if split == "test":
        return dataset.test
    if dataset.identity()["sha256"] != trained.trained_on.get("sha256"):
        raise CommandError(
            f"the run was trained on other data, so its {split} images are unknown; omit --split, or change --data"
        )
    train, validation = split_dataset(dataset, trained.settings)
    if split == "train":
        return train
    if validation is None:
        raise CommandError("the run has no validation images; choose --split test or train")
    return validation
