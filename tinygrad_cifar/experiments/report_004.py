"""Report 004: a two-layer network trained with momentum on batches of 10,000 images, and its searches."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, GradientCheckJob, Gradients, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, Confusion, LossCurves, SearchMap

_BASE = Settings(
    model="two-layer",
    hidden=(50,),
    init="xavier",
    preprocessing="centre",
    momentum=0.8,
    schedule="exponential",
    decay=0.998,
    batch_size=10_000,
    validation_batch=5,
    dtype="float32",
)
_LAMBDAS, _RATES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.3, 0.5), (0.5, 0.3, 0.1, 0.05, 0.01, 0.005, 0.001)
_FINE_LAMBDAS, _FINE_RATES = np.linspace(0.005, 0.0005, 7).tolist(), np.linspace(0.35, 0.25, 4).tolist()

_ABOUT = (
    "Two layers with 50 hidden units, pixels centred, Xavier's initial weights, momentum 0.8, eta multiplied by 0.998 "
    "after every epoch. Not stated in the report: a batch has 10,000 images"
)
_BEST_OF_MANY = (
    "After so few updates the accuracy depends strongly on the initial weights. The report lists the best three of its "
    "single runs, which biases its values upwards; the reproduced values are means over seeds."
)


def _lambda(lam: float) -> str:
    return f"lambda {lam:.4g}"


def _eta(eta: float) -> str:
    return f"eta {eta:.3g}"


def _name(lam: float, eta: float) -> str:
    return f"{_lambda(lam)}, {_eta(eta)}"


def _pair(lam: float, eta: float, train: float, validation: float) -> tuple[PublishedAccuracy, PublishedAccuracy]:
    name = _name(lam, eta)
    return (
        PublishedAccuracy(f"{name}: train", name, "train", train, _BEST_OF_MANY),
        PublishedAccuracy(f"{name}: validation", name, "validation", validation, _BEST_OF_MANY),
    )


EXPERIMENTS = (
    Experiment(
        name="004-gradients",
        report="004",
        source="Gradient checking",
        title="Gradients in four metrics for each matrix",
        about="50 images of 3072 features, one-sided differences of step 1e-6: a network of one layer with lambda 0.2, "
        "and one of two layers with 15 hidden units and lambda 0.1 and 0.3. The sum of absolute differences is over "
        "all elements; mean, minimum and maximum are of the absolute values of a gradient, and depend on the images "
        "and initial weights, which differ from those of the report.",
        gradients=(
            Gradients(
                GradientCheckJob("softmax", "004"),
                {
                    ("W", "mean |g|"): 1.209e-01,
                    ("W", "min |g|"): 1.457e-06,
                    ("W", "max |g|"): 6.873e-01,
                    ("b", "mean |g|"): 1.316e-01,
                    ("b", "min |g|"): 4.711e-02,
                    ("b", "max |g|"): 4.574e-01,
                },
            ),
            Gradients(
                GradientCheckJob("two-layer", "004"),
                {
                    ("W1", "mean |g|"): 9.320e-02,
                    ("W1", "min |g|"): 8.087e-07,
                    ("W1", "max |g|"): 4.827e-01,
                    ("b1", "mean |g|"): 1.673e-01,
                    ("b1", "min |g|"): 0.0,
                    ("b1", "max |g|"): 5.417e-01,
                    ("W2", "mean |g|"): 5.806e-01,
                    ("W2", "min |g|"): 5.705e-04,
                    ("W2", "max |g|"): 8.951e00,
                    ("b2", "mean |g|"): 1.697e-01,
                    ("b2", "min |g|"): 1.754e-02,
                    ("b2", "max |g|"): 8.484e-01,
                },
            ),
        ),
    ),
    Experiment(
        name="004-momentum",
        report="004",
        source="The effect of momentum",
        title="Momentum 0.3, 0.6, 0.8 and 0.95",
        about="Two layers with 50 hidden units, 100 images as one batch, 400 epochs, eta 0.005; the report shows "
        "only curves.",
        runs={
            f"momentum {momentum:g}": replace(
                _BASE,
                momentum=momentum,
                schedule="constant",
                decay=1.0,
                train_size=100,
                batch_size=100,
                epochs=400,
                eta=0.005,
                measure_every=10,
            )
            for momentum in (0.3, 0.6, 0.8, 0.95)
        },
        seeds=1,
        figures=(LossCurves("Loss", shared=True), AccuracyCurves("Accuracy")),
    ),
    Experiment(
        name="004-coarse",
        report="004",
        source="Coarse search",
        title="Coarse search for the learning rate and lambda",
        about=f"{_ABOUT}. 49 combinations, 5 epochs each, trained on data_batch_1 and validated on data_batch_5.",
        runs={
            _name(lam, eta): replace(_BASE, lam=lam, eta=eta, epochs=5, measure_every=5)
            for lam, eta in product(_LAMBDAS, _RATES)
        },
        numbers=(
            *_pair(0.005, 0.5, 35.39, 33.91),
            *_pair(0.01, 0.5, 33.63, 33.33),
            *_pair(0.05, 0.3, 33.56, 32.39),
        ),
        more_seeds={_name(0.005, 0.5): 10, _name(0.01, 0.5): 10, _name(0.05, 0.3): 10},
        figures=(
            SearchMap(
                "Coarse search: validation accuracy",
                quantity="validation",
                rows=("lambda", tuple(map(_lambda, _LAMBDAS))),
                columns=("eta", tuple(map(_eta, _RATES))),
            ),
        ),
    ),
    Experiment(
        name="004-fine",
        report="004",
        source="Fine search",
        title="Fine search for the learning rate and lambda",
        about=f"{_ABOUT}. 28 combinations, 10 epochs each, images as for the coarse search.",
        runs={
            _name(lam, eta): replace(_BASE, lam=lam, eta=eta, epochs=10, measure_every=10)
            for lam, eta in product(_FINE_LAMBDAS, _FINE_RATES)
        },
        numbers=(
            *_pair(0.00275, 0.35, 39.93, 37.37),
            *_pair(0.0005, 0.35, 39.54, 37.09),
            *_pair(0.002, 0.35, 38.95, 36.95),
        ),
        figures=(
            SearchMap(
                "Fine search: validation accuracy",
                quantity="validation",
                rows=("lambda", tuple(map(_lambda, _FINE_LAMBDAS))),
                columns=("eta", tuple(map(_eta, _FINE_RATES))),
            ),
        ),
    ),
    Experiment(
        name="004-final",
        report="004",
        source="Final",
        title="50 epochs on all the images",
        about=f"{_ABOUT}. All 50,000 images, eta 0.35, lambda 0.00275.",
        runs={
            "final": replace(
                _BASE,
                train_batches=(1, 2, 3, 4, 5),
                validation_batch=None,
                lam=0.00275,
                eta=0.35,
                epochs=50,
                measure_every=10,
            )
        },
        numbers=(
            PublishedAccuracy("final: train", "final", "train", 54.23),
            PublishedAccuracy("final: test", "final", "test", 50.67),
        ),
        figures=(LossCurves("Loss and cost"), AccuracyCurves("Accuracy"), Confusion("Test images", run="final")),
        remark="All images are used for training, so there are no validation images; the curves are of the training "
        "images.",
    ),
)
