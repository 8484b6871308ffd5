"""Small versions of training runs, with which every experiment runs on the built-in images in minutes."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.experiments.durations import IMAGES_PER_BATCH, multiplications_of

_EPOCHS_DIVISOR = 10
_BATCH = 2000  # images in a built-in batch
_WHITENED = 300  # images, since whitening takes seconds for many
_LARGE = 1_000_000  # multiplications for an image
_WIDTH_DIVISOR = 10


def small_version(s: Settings) -> Settings:
    """Return settings of a short run of the same kind: a tenth of the epochs, on batches of a fifth of the size.

    ``n_s`` and ``measure_every`` keep their share of the run, so a cycle stays a cycle. Whitening uses few images, and
    large networks have a tenth of the units and filters.
    """
    epochs = max(1, s.epochs // _EPOCHS_DIVISOR)
    share = epochs / s.epochs
    batch, validation_size, train_size = s.batch_size, s.validation_size, s.train_size
    if train_size is None:
        batch = max(1, batch * _BATCH // IMAGES_PER_BATCH)
        validation_size = validation_size * _BATCH // IMAGES_PER_BATCH
    if s.preprocessing == "whiten":
        batch, train_size = min(batch, _WHITENED), _WHITENED
    if multiplications_of(s) > _LARGE:
        s = replace(s, hidden=tuple([max(1, units // _WIDTH_DIVISOR) for units in s.hidden]))
        if s.model == "patchify":
            s = replace(s, filters=max(1, s.filters // _WIDTH_DIVISOR))
    return replace(
        s,
        epochs=epochs,
        batch_size=batch,
        validation_size=validation_size,
        train_size=train_size,
        n_s=max(1, round(s.n_s * share)),
        measure_every=max(1, round(s.measure_every * share)) if s.measure_every else None,
    )
