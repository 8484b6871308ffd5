"""Assignment 3: filters on patches of the image, cycles that double in length, and label smoothing.

The source is the text of the course's assignment 3, with the few accuracies that it names, and not one of the reports.
"""

from __future__ import annotations

from dataclasses import replace

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, PublishedAccuracy, TimingJob
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, Bars, Confusion, Filters, LossCurves, RateCurve

_FIRST = Settings(
    model="patchify",
    filter_size=4,
    filters=10,
    hidden=(50,),
    init="he",
    preprocessing="standardise",
    train_batches=(1, 2, 3, 4, 5),
    validation_batch=None,
    validation_size=1000,
    lam=0.003,
    schedule="triangular",
    eta_min=1e-5,
    eta=0.1,
    n_s=800,
    cycles=3,
    epochs=10,  # of 490 updates each: 4,800 for three cycles
    shuffle=True,
    dtype="float32",
)
_LONGER = replace(_FIRST, cycle_growth=2, epochs=23)  # 1,600 + 3,200 + 6,400 = 11,200 updates
_LARGER = replace(_FIRST, filters=40, hidden=(300,), cycle_growth=2, cycles=4, epochs=49, lam=0.0025)  # 24,000 updates
_SMOOTHED_LAM = 0.001

_ABOUT = (
    "Filters of the width f, moved by f pixels, nf of them, each with a bias; then a hidden layer with nh units. "
    "Pixels standardised, 49,000 images to train on and 1,000 to validate on, batches of 100, eta from 1e-5 to 0.1 and "
    "back"
)
_AFTER_CYCLES = "After the last cycle, the rate remains at its minimum until the epoch ends"


def _name(settings: Settings) -> str:
    return f"f {settings.filter_size}, nf {settings.filters}"


def _by_name(*settings: Settings) -> dict[str, Settings]:
    return {_name(one): one for one in settings}


def _tests(runs: dict[str, Settings]) -> tuple[PublishedAccuracy, ...]:
    return tuple(PublishedAccuracy(f"{name}: test", name, "test", None) for name in runs)


_SIZES = _by_name(
    replace(_FIRST, filter_size=2, filters=3),
    _FIRST,
    replace(_FIRST, filter_size=8, filters=40),
    replace(_FIRST, filter_size=16, filters=160),
)
_LONGER_RUNS = _by_name(_LONGER, replace(_LONGER, filter_size=8, filters=40))
_WIDER_RUNS = _by_name(_LONGER, replace(_LONGER, filters=40))

EXPERIMENTS = (
    Experiment(
        name="a3-first",
        report="a3",
        source="Exercise 3, the first network",
        title="Filters of width 4: the first network",
        about=f"{_ABOUT} in 2 x 800 steps, three times; f = 4, nf = 10, nh = 50, lambda 0.003. The text gives the "
        f"teacher's test accuracy. {_AFTER_CYCLES}.",
        runs={_name(_FIRST): _FIRST},
        on_request=True,
        numbers=(PublishedAccuracy("f 4, nf 10: test", _name(_FIRST), "test", 57.61),),
        figures=(
            RateCurve("Learning rate", run=_name(_FIRST)),
            LossCurves("Loss and cost"),
            AccuracyCurves("Accuracy"),
            Filters("Filters", run=_name(_FIRST)),
            Confusion("Test images", run=_name(_FIRST)),
        ),
    ),
    Experiment(
        name="a3-filter-sizes",
        report="a3",
        source="Exercise 3, four filter sizes",
        title="Four widths of filters",
        about="The settings of the first network with (f, nf) = (2, 3), (4, 10), (8, 40) and (16, 160). The text asks "
        "for bar charts of the test accuracy and of the training time, here in seconds of processor time; it gives the "
        "teacher's test accuracy for f = 4.",
        runs=_SIZES,
        on_request=True,
        numbers=tuple(
            PublishedAccuracy(f"{name}: test", name, "test", 57.61 if name == _name(_FIRST) else None)
            for name in _SIZES
        ),
        figures=(Bars("Test accuracy", "test"), Bars("Training time", "seconds"), AccuracyCurves("Accuracy")),
    ),
    Experiment(
        name="a3-longer",
        report="a3",
        source="Exercise 3, longer training",
        title="Longer training: cycles that double in length",
        about=f"{_ABOUT} in 2 x 800, 2 x 1,600 and 2 x 3,200 steps; lambda 0.003, nh = 50. The text expects at least "
        f"one of the two networks above 60 %. {_AFTER_CYCLES}.",
        runs=_LONGER_RUNS,
        on_request=True,
        numbers=_tests(_LONGER_RUNS),
        figures=(
            RateCurve("Learning rate", run=_name(_LONGER)),
            LossCurves("Loss and cost"),
            AccuracyCurves("Accuracy"),
        ),
    ),
    Experiment(
        name="a3-wider",
        report="a3",
        source="Exercise 3, a wider network",
        title="A wider network: 40 filters in place of 10",
        about=f"{_ABOUT} in 2 x 800, 2 x 1,600 and 2 x 3,200 steps; lambda 0.003, nh = 50, f = 4. The text says that "
        "the width helps much.",
        runs=_WIDER_RUNS,
        on_request=True,
        numbers=_tests(_WIDER_RUNS),
        figures=(Bars("Test accuracy", "test"), LossCurves("Loss and cost"), AccuracyCurves("Accuracy")),
    ),
    Experiment(
        name="a3-smoothing",
        report="a3",
        source="Exercise 4",
        title="A larger network, with and without label smoothing",
        about=f"{_ABOUT} in four cycles, of which the first has 2 x 800 steps and each other twice as many as the one "
        "before; f = 4, nf = 40, nh = 300. Without smoothing, lambda is 0.0025. With it, the target is 0.9 for the "
        f"label and 0.1 / 9 for each other class, and lambda is {_SMOOTHED_LAM:g}: the text asks for a smaller one. "
        "According to the text, the loss over-fits without smoothing.",
        runs={"without smoothing": _LARGER, "with smoothing": replace(_LARGER, smoothing=0.1, lam=_SMOOTHED_LAM)},
        on_request=True,
        numbers=(
            PublishedAccuracy("without smoothing: test", "without smoothing", "test", None),
            PublishedAccuracy("with smoothing: test", "with smoothing", "test", None),
        ),
        figures=(LossCurves("Loss and cost"), AccuracyCurves("Accuracy")),
        remark="The losses cannot be compared with each other: with smoothing, the loss contains the cross-entropy of "
        "the other classes, and is therefore greater than 0 for the best possible scores.",
    ),
    Experiment(
        name="a3-time",
        report="a3",
        source="Exercise 5.2",
        title="Training time compared with PyTorch",
        about="Milliseconds of a training step with 100 images in float32: gradients and update, on one thread. Here "
        "the patches are computed once before the training; PyTorch computes the first layer with its conv2d. The two "
        "are timed in turn in one process, and the median counts. Without PyTorch, its column is missing.",
        timings=(TimingJob(4, 10, 50), TimingJob(8, 40, 50), TimingJob(4, 40, 300)),
        on_request=True,
    ),
)
