"""Report 000: softmax regression on standardised pixels, four settings of lambda and eta."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, GradientCheckJob, Gradients, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, ClassTemplates, LossCurves, Templates

# At the highest rate the outcome depends on rounding, so this run uses the precision of the reports.
_SETTINGS = {
    "lambda 0, eta 0.1": Settings(lam=0.0, eta=0.1, dtype="float64"),
    "lambda 0, eta 0.001": Settings(lam=0.0, eta=0.001, dtype="float32"),
    "lambda 0.1, eta 0.001": Settings(lam=0.1, eta=0.001, dtype="float32"),
    "lambda 1, eta 0.001": Settings(lam=1.0, eta=0.001, dtype="float32"),
}

_NOT_CONVERGED = (
    "At this rate the parameters do not converge: they jump around a minimum, so the final ones, after 4,000 updates, "
    "are largely random."
)


EXPERIMENTS = (
    Experiment(
        name="000-gradients",
        report="000",
        source="Training and gradient calculations",
        title="Gradients against two numerical methods",
        about="One linear layer, 3072 features, the one-sided difference of step 1e-6 and the centred difference. The "
        "report states that both agreed within 1e-6, but not for which images; this check uses the 50 images of report "
        "004, with lambda 0.2.",
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
            PublishedAccuracy("lambda 0, eta 0.1: train", "lambda 0, eta 0.1", "train", 40.97, _NOT_CONVERGED),
            PublishedAccuracy("lambda 0, eta 0.1: test", "lambda 0, eta 0.1", "test", 27.71, _NOT_CONVERGED),
            PublishedAccuracy("lambda 0, eta 0.001: train", "lambda 0, eta 0.001", "train", 45.25),
            PublishedAccuracy("lambda 0, eta 0.001: test", "lambda 0, eta 0.001", "test", 38.90),
            PublishedAccuracy("lambda 0.1, eta 0.001: train", "lambda 0.1, eta 0.001", "train", 44.58),
            PublishedAccuracy("lambda 0.1, eta 0.001: test", "lambda 0.1, eta 0.001", "test", 39.00),
            PublishedAccuracy("lambda 1, eta 0.001: train", "lambda 1, eta 0.001", "train", 39.92),
            PublishedAccuracy("lambda 1, eta 0.001: test", "lambda 1, eta 0.001", "test", 37.08),
        ),
        figures=(
            AccuracyCurves("Accuracy"),
            LossCurves("Loss and cost"),
            ClassTemplates("One class under each setting", class_number=1),
            *(Templates("Weights of each class", run=name) for name in _SETTINGS),
        ),
    ),
)
