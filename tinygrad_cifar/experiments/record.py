"""Our own records: the best linear classifier, and the best networks with 50 hidden units, that we could train.

Each may take ten minutes of two cores. Everything was chosen by the accuracy on 5,000 images that were held out; the
model whose test accuracy counts is trained with the same settings on all 50,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.declaration import Experiment, PublishedAccuracy
from tinygrad_cifar.experiments.figure_specs import AccuracyCurves, Confusion, LossCurves, Picture, Templates

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
    "Pixels are whitened, which is a linear map; images are mirrored at random and moved by up to two pixels while "
    "training, and left as they are when measured. The loss is (1 - p**q) / q of the label's probability p, and the "
    "rate falls to nearly 0 along a cosine"
)


def _record(
    name: str,
    source: str,
    title: str,
    about: str,
    settings: Settings,
    remark: str,
    *,
    more: Sequence[Picture] = (),
) -> Experiment:
    """Return an experiment: a run to choose by, which never sees the test images, and the record, of three seeds."""
    return Experiment(
        name=f"record-{name}",
        report="record",
        source=source,
        title=title,
        about=f"{about} {_ABOUT}.",
        runs={_CHOSEN: replace(settings, validation_size=5000), _FINAL: settings},
        seeds=1,
        more_seeds={_FINAL: 3},
        untested=(_CHOSEN,),
        on_request=True,
        numbers=(
            PublishedAccuracy(f"trained on {_CHOSEN}: validation, of the other 5,000", _CHOSEN, "validation", None),
            PublishedAccuracy(f"trained on all {_FINAL}: test", _FINAL, "test", None),
        ),
        pictures=(AccuracyCurves("Accuracy"), LossCurves("Loss and cost"), *more, Confusion("Test images", run=_FINAL)),
        remark=remark,
    )


EXPERIMENTS = (
    _record(
        "linear",
        "The best of one layer",
        "A linear classifier",
        "Softmax regression.",
        replace(_BASE, q=0.6, lam=0.0001, epochs=100),
        "The best of the reports is 39.00 % (report 000). The scores are a linear function of the pixels: the weights "
        "of the whitened features, put back through the whitening, are weights of pixels, and those are what the "
        "figure shows.",
        more=[Templates("Weights of each class", run=_FINAL)],
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
        "As many parameters, but a hidden unit gives the absolute value of what comes in, as two ReLUs would.",
        replace(_NETWORK, activation="absolute"),
        "This is another network than that of assignment 2; an image and its negative look the same to a hidden unit.",
    ),
)
