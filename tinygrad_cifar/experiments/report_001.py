"""Report 001: improvements of softmax regression, and the same layer as a support vector machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import GradientHistograms, LossCurves, SearchMap, Templates

_BASE = Settings(dtype="float32")
_SHUFFLED = replace(_BASE, shuffle=True)
_DECAYING = replace(_SHUFFLED, schedule="exponential", decay=0.9)
_WINNER = replace(_DECAYING, lam=0.0001, batch_size=64, eta=0.02)

_ABOUT = "Softmax regression, pixels divided by 255, data_batch_1, 40 epochs"

_LAMBDAS, _BATCHES, _RATES = (0.0, 0.001, 0.0001), (64, 100, 128), (0.01, 0.02, 0.03)

EXPERIMENTS = (
    Experiment(
        name="001-shuffle",
        report="001",
        source="Section 1.1, figures 1 and 2",
        title="Shuffling before every epoch",
        about=f"{_ABOUT}, lambda 0.01, batches of 100, eta 0.01.",
        runs={"no shuffling": replace(_BASE, lam=0.01), "shuffled": replace(_SHUFFLED, lam=0.01)},
        numbers=(
            PublishedAccuracy("no shuffling: test", "no shuffling", "test", 36.5),
            PublishedAccuracy("shuffled: test", "shuffled", "test", 36.5),
        ),
        figures=(LossCurves("Loss and cost"),),
    ),
    Experiment(
        name="001-init",
        report="001",
        source="Section 1.2, figures 3 and 4",
        title="Initial weights N(0, 0.01) and Xavier's",
        about=f"{_ABOUT}, lambda 0, batches of 100, eta 0.01, shuffled; Xavier's standard deviation is 1/sqrt(3072).",
        runs={"N(0, 0.01)": _SHUFFLED, "Xavier": replace(_SHUFFLED, init="fan-in")},
        numbers=(
            PublishedAccuracy("N(0, 0.01): test", "N(0, 0.01)", "test", 36.46),
            PublishedAccuracy("Xavier: test", "Xavier", "test", 36.39),
        ),
        figures=(
            GradientHistograms("Gradient of W after training"),
            LossCurves("Loss"),
            Templates("Weights of each class", run="N(0, 0.01)"),
            Templates("Weights of each class", run="Xavier"),
        ),
        remark="The histograms show the gradient of the loss of all training images with respect to W, after training.",
    ),
    Experiment(
        name="001-decay",
        report="001",
        source="Section 1.3, figures 5 and 6",
        title="A decaying learning rate",
        about=f"{_ABOUT}, lambda 0, batches of 100, shuffled, eta 0.02, multiplied by 0.9 after every epoch.",
        runs={"decay 0.9": replace(_DECAYING, eta=0.02)},
        numbers=(PublishedAccuracy("decay 0.9: test", "decay 0.9", "test", 38.09),),
        figures=(LossCurves("Loss"), Templates("Weights of each class", run="decay 0.9")),
    ),
    Experiment(
        name="001-grid",
        report="001",
        source="Section 1.4",
        title="A grid of lambda, batch size and learning rate",
        about=f"{_ABOUT}, shuffled, decay 0.9. The report gives only the best combination; as in the report, each "
        "of the 27 combinations is run once.",
        runs={
            f"lambda {lam:g}, batch {batch}, eta {eta:g}": replace(_DECAYING, lam=lam, batch_size=batch, eta=eta)
            for lam, batch, eta in product(_LAMBDAS, _BATCHES, _RATES)
        },
        seeds=1,
        figures=(
            SearchMap(
                "Test accuracy over the grid",
                quantity="test",
                rows=(
                    "lambda, batch",
                    tuple(f"lambda {lam:g}, batch {batch}" for lam, batch in product(_LAMBDAS, _BATCHES)),
                ),
                columns=("eta", tuple(f"eta {eta:g}" for eta in _RATES)),
            ),
        ),
    ),
    Experiment(
        name="001-winner",
        report="001",
        source="Sections 1.4 and 2, figures 7 to 10",
        title="The grid's winner, and the same settings with the hinge loss",
        about=f"{_ABOUT}, lambda 0.0001, batches of 64, eta 0.02, decay 0.9, shuffled; with the softmax cross-entropy, "
        "and with the multi-class hinge loss with margin 1 (a support vector machine).",
        runs={"cross-entropy": _WINNER, "hinge": replace(_WINNER, model="svm")},
        numbers=(
            PublishedAccuracy("cross-entropy: test", "cross-entropy", "test", 38.65),
            PublishedAccuracy("hinge: test", "hinge", "test", 36.01),
        ),
        figures=(
            LossCurves("Loss and cost"),
            Templates("Weights of each class", run="cross-entropy"),
            Templates("Weights of each class", run="hinge"),
        ),
    ),
)
