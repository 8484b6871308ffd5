"""The list of the reports and of all experiments."""

from __future__ import annotations

from itertools import chain

from tinygrad_cifar.experiments import (
    assignment_3,
    networks,
    record,
    report_000,
    report_001,
    report_002,
    report_003,
    report_004,
)
from tinygrad_cifar.experiments.declaration import Experiment

REPORTS = {
    "000": "Assignment 1: softmax regression on standardised pixels",
    "001": "Assignment 1, bonus part: optimisations and the support vector machine",
    "002": "Assignment 1: softmax regression on pixels divided by 255",
    "003": "Assignment 2: two layers and cyclical learning rates",
    "004": "Assignment 2: a small framework of layers, and momentum",
    "a3": "Assignment 3: filters on patches, longer cycles and label smoothing",
    "record": "Beyond the reports: the best of one layer, and of 50 hidden units",
    "patchify": "Beyond the reports: the best network of assignment 3",
    "fully-connected": "Beyond the reports: the best of fully connected layers",
    "convnet": "Beyond the reports: convolutional networks",
}
# What else a page says first.
NOTES = {
    "a3": "The source of these experiments is the text of the course's assignment 3, not one of the five reports. "
    "Reported values are those of the text.",
}
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in chain.from_iterable(
        module.EXPERIMENTS
        for module in (report_000, report_001, report_002, report_003, report_004, assignment_3, record, networks)
    )
}
