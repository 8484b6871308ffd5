"""Report 002: softmax regression on pixels divided by 255, and a matrix of gradient errors."""

from __future__ import annotations

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, GradientCheckJob, Gradients, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, ErrorMatrix, LossCurves, Templates

# At the highest rate the outcome depends on rounding, so this run uses the precision of the reports.
_SETTINGS = {
    "lambda 0, eta 0.1": Settings(lam=0.0, eta=0.1, dtype="float64"),
    "lambda 0, eta 0.01": Settings(lam=0.0, eta=0.01, dtype="float32"),
    "lambda 0.1, eta 0.01": Settings(lam=0.1, eta=0.01, dtype="float32"),
    "lambda 1, eta 0.01": Settings(lam=1.0, eta=0.01, dtype="float32"),
}


EXPERIMENTS = (
    Experiment(
        name="002-gradients",
        report="002",
        source="Exercise 1, figure 1",
        title="The matrix of gradient errors",
        about="One linear layer, 3072 features, no L2 term, |ga - gn| / max(eps, |ga| + |gn|) with eps 1e-5 for each "
        "element of W and b. The matrix of the report, with smaller values for one class, is that of a "
        "single image and of one-sided differences.",
        gradients=(Gradients(GradientCheckJob("softmax", "002")),),
        figures=(ErrorMatrix("Relative errors of the gradient of W"),),
    ),
    Experiment(
        name="002-softmax",
        report="002",
        source="Table 1, figures 2 and 3",
        title="Four settings of the regularisation and the learning rate",
        about="Softmax regression, pixels divided by 255, weights N(0, 0.01), 40 epochs of batches of 100 in file "
        "order; trained on data_batch_1, validated on data_batch_2.",
        runs=_SETTINGS,
        more_seeds={"lambda 0, eta 0.1": 10},
        numbers=(
            PublishedAccuracy(
                "lambda 0, eta 0.1: test",
                "lambda 0, eta 0.1",
                "test",
                24.61,
                "At this rate the parameters do not converge: they jump around a minimum, so the final ones, after "
                "4,000 updates, are largely random. The curve in the report jumps as well.",
            ),
            PublishedAccuracy("lambda 0, eta 0.01: test", "lambda 0, eta 0.01", "test", 37.53),
            PublishedAccuracy("lambda 0.1, eta 0.01: test", "lambda 0.1, eta 0.01", "test", 33.17),
            PublishedAccuracy("lambda 1, eta 0.01: test", "lambda 1, eta 0.01", "test", 22.03),
        ),
        figures=(
            LossCurves("Loss and cost"),
            AccuracyCurves("Accuracy"),
            *(Templates("Weights of each class", run=name) for name in _SETTINGS),
        ),
    ),
)
