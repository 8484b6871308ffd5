"""``tinygrad-cifar evaluate``: what a trained model makes of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinygrad_cifar.cli.common import (
    CommandError,
    Subparsers,
    add_data_option,
    escape_unprintable,
    table,
    wrapped,
)
from tinygrad_cifar.cli.train import CHECKPOINT, PARAMETERS
from tinygrad_cifar.course.evaluation import confusion_matrix
from tinygrad_cifar.course.evaluation import evaluate as measure
from tinygrad_cifar.course.model_files import TrainedModel, load_model
from tinygrad_cifar.course.preparation import preprocess_split, split_dataset
from tinygrad_cifar.course.settings import describe
from tinygrad_cifar.data import Dataset, Split, load_dataset


def add_parser(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a trained model",
        description="Measure a trained model: accuracy, loss, cost, and what each class is taken for.",
    )
    parser.add_argument(
        "parameters", type=Path, metavar="RUN", help=f"the folder of a run, or the file {PARAMETERS} in it"
    )
    add_data_option(parser)
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="on which images: the test images (the default), or those of the run's validation or training",
    )
    parser.set_defaults(command=evaluate)


def evaluate(options: argparse.Namespace) -> int:
    """Measure a trained model on one part of a data set, and print it."""
    path = options.parameters / PARAMETERS if options.parameters.is_dir() else options.parameters
    if not options.parameters.exists():
        raise CommandError(f"there is no {options.parameters}; give the folder that train wrote")
    if not path.exists() and (options.parameters / CHECKPOINT).exists():
        raise CommandError(f"the run in {options.parameters} has not ended; its train command with --resume ends it")
    trained = load_model(path)
    dataset = load_dataset(options.data)
    if dataset.class_names != trained.class_names:
        raise CommandError(
            f"{path} was trained on {trained.trained_on.get('name')}, whose classes are not those of "
            f"{dataset.name}; choose its data with --data"
        )
    examples = preprocess_split(_images(dataset, trained, options.split), trained.preprocessing, trained.settings)
    scores = measure(trained.model, examples, trained.settings.lam)
    counts = confusion_matrix(trained.model, examples, len(dataset.class_names))

    print(wrapped(describe(trained.settings)))
    print(f"trained on {escape_unprintable(str(trained.trained_on.get('name')))}\n")
    print(f"{len(examples[1])} {options.split} images of {dataset.name}")
    print(f"accuracy {scores.accuracy:.2%}, loss {scores.loss:.4f}, cost {scores.cost:.4f}\n")
    print("how many of each class (row) were taken for which class (column):\n")
    header = ["", *map(str, range(len(counts)))]
    rows = [
        [f"{i} {name}", *map(str, row)] for i, (name, row) in enumerate(zip(dataset.class_names, counts, strict=True))
    ]
    print(table(header, rows))
    return 0


def _images(dataset: Dataset, trained: TrainedModel, split: str) -> Split:
    if split == "test":
        return dataset.test
    if dataset.identity()["sha256"] != trained.trained_on.get("sha256"):
        raise CommandError(f"these are not the images of the run, so it has no {split} images here; leave --split out")
    train, validation = split_dataset(dataset, trained.settings)
    if split == "train":
        return train
    if validation is None:
        raise CommandError("the run held no images out for validation; choose --split test or train")
    return validation
