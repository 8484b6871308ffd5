"""Small runs of every kind and their data, for several tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_cifar import runs
from tinygrad_cifar.course.preparation import prepare
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import Dataset, Split

CLASSES = ("night", "dusk", "day")
seeds = st.integers(0, 2**32 - 1)


def some_data(seed: int = 0, name: str = "noise of three brightnesses", count: int = 30) -> Dataset:
    rng = np.random.default_rng(seed)

    def split():
        labels = rng.integers(0, len(CLASSES), count)
        pixels = 60 * labels[:, np.newaxis] + rng.integers(0, 130, (count, 3072))
        return Split(pixels.astype(np.uint8), labels)

    return Dataset(name, CLASSES, tuple(split() for _ in range(5)), split())


DATA = some_data()
SMALL = Settings(epochs=2, batch_size=10, eta=0.001, shuffle=True)
KINDS = {
    "softmax": SMALL,
    "svm": replace(SMALL, model="svm", init="xavier", preprocessing="centre"),
    "two-layer": replace(
        SMALL, model="two-layer", hidden=(4,), init="fan-in", preprocessing="standardise", dtype="float32"
    ),
    "perceptron": replace(SMALL, model="perceptron", hidden=(5, 4), init="he", dropout=0.5, optimiser="adam"),
    "augmented": replace(SMALL, flip=True, shift=2, shuffle=False, validation_size=5, validation_batch=None),
    "whitened": replace(
        SMALL,
        model="two-layer",
        hidden=(4,),
        activation="absolute",
        preprocessing="whiten",
        components=20,
        q=0.5,
        shift=1,
    ),
    "convnet": replace(
        SMALL, model="convnet", hidden=(2, 3), depth=1, optimiser="muon", eta=0.05, momentum=0.6, bias_rate=0.01
    ),
    "patchify": replace(SMALL, model="patchify", hidden=(3,), filter_size=16, filters=2, init="he", smoothing=0.1),
    "recipe": replace(
        SMALL,
        model="two-layer",
        hidden=(4,),
        smoothing=0.2,
        flip="alternate",
        shift=1,
        cutout=8,
        border="reflect",
        views="six",
        optimiser="muon",
        momentum=0.6,
        lam=0.01,
        bias_rate=2.0,
        clip_norm=0.5,
        average=0.5,
        lookahead=2,
        schedule="triangular",
        n_s=1,
        cycles=2,
        cycle_growth=2,
        cycle_decay=0.5,
    ),
    "patient": replace(SMALL, patience=2, epochs=4, optimiser="nesterov", momentum=0.9, schedule="cosine", warm_up=2),
}
each_kind = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)


def run(settings, data=DATA, **options):
    return runs.run(settings, prepare(data, settings), **options)


def bits(model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}
