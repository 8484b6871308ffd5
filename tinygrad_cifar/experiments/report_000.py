"""Report 000: softmax regression on standardised pixels, four settings of lambda and eta."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, GradientCheckJob, Gradients, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, ClassTemplates, LossCurves, Templates

# At the highest rate every rounding grows into another outcome, so that run has the precision that the reports had.
_SETTINGS = {
    "lambda 0, eta 0.1": Settings(lam=0.0, eta=0.1, dtype="float64"),
    "lambda 0, eta 0.001": Settings(lam=0.0, eta=0.001, dtype="float32"),
    "lambda 0.1, eta 0.001": Settings(lam=0.1, eta=0.001, dtype="float32"),
    "lambda 1, eta 0.001": Settings(lam=1.0, eta=0.001, dtype="float32"),
}

_TOO_FAST = (
    "At this rate the parameters do not settle: they jump about a minimum, and where the last of 4,000 updates leaves "
    "them is chance."
)


EXPERIMENTS = (
    Experiment(
        name="000-gradients",
        report="000",
        source="Training and gradient calculations",
        title="Gradients against two numerical methods",
        about="One linear layer, 3072 features, the one-sided difference of step 1e-6 and the centred difference. The "
        "report says that both agreed within 1e-6, and not on which images: here they are the 50 of report 004, with "
        "lambda 0.2.",
        gradients=(Gradients(GradientCheckJob("softmax", "000")),),
    ),
    Experiment(
        name="000-softmax",
        report="000",
        source="Table 1, figures 1 to 7",
        title="Four settings of the regularisation and the learning rate",
        about="Softmax regression, pixels standardised, weights N(0, 0.01), 40 epochs of batches of 100 in file order; "
        "trained on data_batch_1, validated on data_batch_2.",
        runs={name: replace(settings, preprocessing="standardise") for name, settings in _SETTINGS.items()},
        more_seeds={"lambda 0, eta 0.1": 10},
        numbers=(
            PublishedAccuracy("lambda 0, eta 0.1: train", "lambda 0, eta 0.1", "train", 40.97, _TOO_FAST),
            PublishedAccuracy("lambda 0, eta 0.1: test", "lambda 0, eta 0.1", "test", 27.71, _TOO_FAST),
            PublishedAccuracy("lambda 0, eta 0.001: train", "lambda 0, eta 0.001", "train", 45.25),
            PublishedAccuracy("lambda 0, eta 0.001: test", "lambda 0, eta 0.001", "test", 38.90),
            PublishedAccuracy("lambda 0.1, eta 0.001: train", "lambda 0.1, eta 0.001", "train", 44.58),
            PublishedAccuracy("lambda 0.1, eta 0.001: test", "lambda 0.1, eta 0.001", "test", 39.00),
            PublishedAccuracy("lambda 1, eta 0.001: train", "lambda 1, eta 0.001", "train", 39.92),
            PublishedAccuracy("lambda 1, eta 0.001: test", "lambda 1, eta 0.001", "test", 37.08),
        ),
        pictures=(
            AccuracyCurves("Accuracy"),
            LossCurves("Loss and cost"),
            ClassTemplates("One class under each setting", class_number=1),
            *(Templates("Weights of each class", run=name) for name in _SETTINGS),
        ),
    ),
)
