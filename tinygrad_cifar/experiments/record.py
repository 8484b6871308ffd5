"""Records: the best linear classifier, and the best networks with 50 hidden units.

Each takes up to ten minutes on two cores. All settings were chosen by the accuracy on 5,000 held-out images; the model
whose test accuracy is given is trained with the same settings on all 50,000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, FigureSpec, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, Confusion, LossCurves, Templates

_CHOSEN, _FINAL = "45,000 images", "50,000 images"

_BASE = Settings(
    preprocessing="whiten",
    components=400,
    train_batches=(1, 2, 3, 4, 5),
    validation_batch=None,
    flip=True,
    shift=2,
    eta=0.1,
    momentum=0.9,
    schedule="cosine",
    batch_size=400,
    shuffle=True,
    dtype="float32",
)
_NETWORK = replace(_BASE, model="two-layer", hidden=(50,), init="fan-in", q=0.3, lam=0.0005, epochs=200)

_ABOUT = (
    "Pixels are whitened, which is a linear map; training images are randomly mirrored and shifted by up to two "
    "pixels, measured images are not. The loss is (1 - p**q) / q of the label's probability p, and the learning rate "
    "falls to nearly 0 along a cosine"
)


def record_runs(
    settings: Settings,
    *,
    seeds: int,
    figures: Sequence[FigureSpec],
    final_figures: Callable[[str], Sequence[FigureSpec]],
    selected: bool = True,
) -> dict[str, Any]:
    """Return the parts of an experiment that all records share.

    They are the record, with all training images and several seeds; and before it, if settings were selected, a run
    with the same settings that holds 5,000 training images out, without the test images.

    Parameters
    ----------
    settings : Settings
        Settings of the record.
    seeds : int
        Number of seeds of the record.
    figures : sequence of FigureSpec
        Figures of both runs.
    final_figures : callable
        Returns the figures of the record, whose name it receives.
    selected : bool
        Whether settings were selected by results. Default: True.
    """
    tested = PublishedAccuracy(f"trained on all {_FINAL}: test", _FINAL, "test", None)
    shared = {"on_request": True, "figures": (*figures, *final_figures(_FINAL))}
    if not selected:
        return shared | {"runs": {_FINAL: settings}, "seeds": seeds, "numbers": (tested,)}
    held_out = PublishedAccuracy(f"trained on {_CHOSEN}: validation on the other 5,000", _CHOSEN, "validation", None)
    return shared | {
        "runs": {_CHOSEN: replace(settings, validation_size=5000), _FINAL: settings},
        "seeds": 1,
        "more_seeds": {_FINAL: seeds},
        "untested": (_CHOSEN,),
        "numbers": (held_out, tested),
    }


def _record(
    name: str,
    source: str,
    title: str,
    about: str,
    settings: Settings,
    remark: str,
    *,
    more: Callable[[str], Sequence[FigureSpec]] = lambda _: (),
) -> Experiment:
    return Experiment(
        name=f"record-{name}",
        report="record",
        source=source,
        title=title,
        about=f"{about} {_ABOUT}.",
        remark=remark,
        **record_runs(
            settings,
            seeds=3,
            figures=(AccuracyCurves("Accuracy"), LossCurves("Loss and cost")),
            final_figures=lambda run: [*more(run), Confusion("Test images", run=run)],
        ),
    )


EXPERIMENTS = (
    _record(
        "linear",
        "The best of one layer",
        "A linear classifier",
        "Softmax regression.",
        replace(_BASE, q=0.6, lam=0.0001, epochs=100),
        "The best of the reports is 39.00 % (report 000). The scores are a linear function of the pixels; the figure "
        "shows the weights of the pixels, computed from those of the whitened features.",
        more=lambda run: [Templates("Weights of each class", run=run)],
    ),
    _record(
        "relu",
        "The best of 50 hidden units",
        "50 hidden units, ReLU",
        "The two-layer network of assignment 2.",
        _NETWORK,
        "The best of the reports is 50.67 % (report 004).",
    ),
    _record(
        "absolute",
        "The best of 50 hidden units",
        "50 hidden units, absolute value",
        "The same number of parameters, but a hidden unit computes the absolute value of its input, like two ReLUs.",
        replace(_NETWORK, activation="absolute"),
        "This network differs from that of assignment 2: its hidden units do not distinguish an image from its "
        "negative.",
    ),
)
