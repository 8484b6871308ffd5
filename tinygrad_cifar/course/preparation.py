"""Preparation of the data for a run: the split into training, validation and test images, and preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_cifar.course.ensembles import ViewAverage
from tinygrad_cifar.course.evaluation import Examples
from tinygrad_cifar.course.models import Classifier, patches_of
from tinygrad_cifar.course.settings import MOST_BLOCKS, Settings, SettingsError
from tinygrad_cifar.data import Dataset, Split
from tinygrad_cifar.data.augmentation import weighted_views
from tinygrad_cifar.data.dataset import COLOURS, SIDE
from tinygrad_cifar.data.preprocess import Preprocessing

Array = np.ndarray[Any, np.dtype[Any]]
Images = np.ndarray[Any, np.dtype[np.uint8]]

_BLOCK_SIZE = 256  # images rearranged together


def split_dataset(dataset: Dataset, settings: Settings) -> tuple[Split, Split | None]:
    """Return the training images and the validation images of a run; None if the run has no validation images.

    Raises
    ------
    SettingsError
        If the data set is too small for the settings.
    DataError
        If the data set does not have a batch of the settings.

    Examples
    --------
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import split_dataset
    >>> from tinygrad_cifar.course.settings import Settings
    >>> settings = Settings(train_batches=(1, 3), validation_size=500, validation_batch=None)
    >>> train, validation = split_dataset(builtin_dataset(), settings)
    >>> len(train), len(validation)
    (3500, 500)
    """
    end = check_sizes(dataset, settings)
    batches = [dataset.batch(i) for i in settings.train_batches]
    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    available = len(labels) - settings.validation_size
    validation: Split | None = None
    if settings.validation_size:
        validation = Split(images[available:], labels[available:])
    elif settings.validation_batch is not None:
        validation = dataset.batch(settings.validation_batch)
    return Split(images[:end], labels[:end]), validation


def check_sizes(dataset: Dataset, settings: Settings) -> int:
    """Return the number of training images of a run.

    Raises
    ------
    SettingsError
        If the data set is too small for the settings, or the run too short for them.

    Examples
    --------
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import check_sizes
    >>> from tinygrad_cifar.course.settings import Settings
    >>> check_sizes(builtin_dataset(), Settings(train_batches=(1, 3)))
    4000
    """
    images = sum(len(dataset.batch(i)) for i in settings.train_batches)
    available = images - settings.validation_size
    size = settings.train_size or available
    if not 1 <= size <= available:
        held_out, owner = settings.validation_size, f"training images of {dataset.name}"
        if settings.train_size is None:
            raise SettingsError(f"<validation_size> must be less than {images}, the number of {owner}; got {held_out}")
        if not held_out:
            raise SettingsError(f"<train_size> must be at most {images}, the number of {owner}; got {size}")
        raise SettingsError(f"<validation_size> {held_out} and <train_size> {size} do not match the {images} {owner}")
    if settings.batch_size > size:
        raise SettingsError(
            f"<batch_size> must be at most {size}, the number of training images; got {settings.batch_size}"
        )
    is_single = settings.batch_size == 1 or size % settings.batch_size == 1
    if settings.model == "convnet" and len(settings.hidden) == MOST_BLOCKS and is_single:
        raise SettingsError(
            f"<batch_size> {settings.batch_size} leaves a batch of one of {size} images, whose last block has one "
            "pixel per channel and cannot be normalised; choose another <batch_size>, or fewer blocks (<hidden>)"
        )
    steps = settings.epochs * -(-size // settings.batch_size)
    cycle_steps = settings.steps_of_cycles
    if cycle_steps > steps:
        raise SettingsError(
            f"<cycles> {settings.cycles} with <n_s> {settings.n_s} need {cycle_steps} updates; the run has {steps}: "
            "increase <epochs>, or give a smaller number of <cycles> or a smaller <n_s>"
        )
    if settings.warm_up > steps:
        raise SettingsError(
            f"<warm_up> must be at most {steps}, the number of updates of the run; got {settings.warm_up}"
        )
    return size


def data_settings(settings: Settings) -> Settings:
    """Return settings that are equal for all runs with the same preparation of the data.

    Examples
    --------
    >>> from tinygrad_cifar.course.preparation import data_settings
    >>> from tinygrad_cifar.course.settings import Settings
    >>> one, other = Settings(eta=0.1, lam=0.2, train_size=50), Settings(epochs=3, seed=1, train_size=50)
    >>> data_settings(one) == data_settings(other)
    True
    """
    shared = Settings(
        preprocessing=settings.preprocessing,
        components=settings.components,
        train_batches=settings.train_batches,
        train_size=settings.train_size,
        validation_size=settings.validation_size,
        validation_batch=settings.validation_batch,
        dtype=settings.dtype,
        batch_size=1,
    )
    if settings.model != "patchify":
        return shared
    return replace(shared, model="patchify", hidden=(1,), filter_size=settings.filter_size)


def preprocess_split(split: Split, preprocessing: Preprocessing, settings: Settings) -> Examples:
    """Return the preprocessed images and their labels.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.data import Preprocessing, Split
    >>> from tinygrad_cifar.course.preparation import preprocess_split
    >>> from tinygrad_cifar.course.settings import Settings
    >>> white = Split(np.full((1, 3072), 255, np.uint8), np.array([0]))
    >>> X, labels = preprocess_split(white, Preprocessing.fit("scale", white.images), Settings(dtype="float32"))
    >>> X[0, :3], X.dtype
    (array([1., 1., 1.], dtype=float32), dtype('float32'))
    """
    return preprocess_images(split.images, preprocessing, settings), split.labels


def preprocess_images(images: Images, preprocessing: Preprocessing, settings: Settings) -> Array:
    """Return the inputs of the model for images: the preprocessed pixels, for ``patchify`` arranged in patches.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.data import Preprocessing
    >>> from tinygrad_cifar.course.preparation import preprocess_images
    >>> from tinygrad_cifar.course.settings import Settings
    >>> white = np.full((1, 3072), 255, np.uint8)
    >>> preprocess_images(white, Preprocessing.fit("scale", white), Settings(model="patchify", hidden=(50,))).shape
    (1, 64, 48)
    """
    X = preprocessing.apply(images, np.dtype(settings.dtype))
    if settings.model != "patchify":
        return X
    for start in range(0, len(X), _BLOCK_SIZE):  # in place, since the training images take most of the memory
        block = X[start : start + _BLOCK_SIZE]
        patches = patches_of(block, settings.filter_size)
        block[:] = patches.reshape(block.shape)
    return X.reshape(-1, (SIDE // settings.filter_size) ** 2, COLOURS * settings.filter_size**2)


def views_of(preprocessing: Preprocessing, settings: Settings) -> Callable[[Images], Iterator[tuple[float, Array]]]:
    """Return the function of images that yields the views of the settings, preprocessed, with their weights.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.data import Preprocessing
    >>> from tinygrad_cifar.course.preparation import views_of
    >>> from tinygrad_cifar.course.settings import Settings
    >>> white = np.full((1, 3072), 255, np.uint8)
    >>> views = views_of(Preprocessing.fit("scale", white), Settings(views="mirror"))
    >>> [(weight, X.shape) for weight, X in views(white)]
    [(0.5, (1, 3072)), (0.5, (1, 3072))]
    """
    return lambda images: (
        (weight, preprocess_images(view, preprocessing, settings))
        for weight, view in weighted_views(images, settings.views, border=settings.border)
    )


def with_views(
    model: Classifier, examples: Examples, images: Split, preprocessing: Preprocessing, settings: Settings
) -> tuple[Classifier, Examples]:
    """Return a model and examples to evaluate: if the settings have several views, their mean on the images.

    Examples
    --------
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import prepare, with_views
    >>> from tinygrad_cifar.course.runs import build_model
    >>> from tinygrad_cifar.course.settings import Settings
    >>> settings = Settings(views="six")
    >>> prepared, model = prepare(builtin_dataset(), settings), build_model(settings, 3072, 10)
    >>> viewed, (X, labels) = with_views(model, prepared.test, prepared.dataset.test, prepared.preprocessing, settings)
    >>> type(viewed).__name__, X.dtype
    ('ViewAverage', dtype('uint8'))
    """
    if settings.views == "one":
        return model, examples
    return ViewAverage(model, views_of(preprocessing, settings)), (images.images, images.labels)


@dataclass(frozen=True)
class Prepared:
    """A data set that is split and preprocessed.

    Attributes
    ----------
    dataset : Dataset
        The data set itself.
    train : (X, labels)
        Preprocessed training images and labels.
    validation : (X, labels)
        Those for validation; None if the run has none.
    test : (X, labels)
        Those of the test set; without examples if they were not wanted.
    images : Split
        Training images before preprocessing, for augmentation.
    validation_images : Split
        Validation images before preprocessing, for views; None if the run has none.
    preprocessing : Preprocessing
        Fitted on the training images.
    """

    dataset: Dataset
    train: Examples
    validation: Examples | None
    test: Examples
    images: Split
    validation_images: Split | None
    preprocessing: Preprocessing


def prepare(dataset: Dataset, settings: Settings, *, test: bool = True) -> Prepared:
    """Split a data set with :func:`split_dataset` and preprocess its images; those of the test set only if ``test``.

    See :func:`tinygrad_cifar.course.runs.run` for an example.
    """
    train, validation = split_dataset(dataset, settings)
    preprocessing = Preprocessing.fit(settings.preprocessing, train.images, settings.components)
    X, labels = preprocess_split(train, preprocessing, settings)
    return Prepared(
        dataset,
        (X, labels),
        None if validation is None else preprocess_split(validation, preprocessing, settings),
        preprocess_split(dataset.test, preprocessing, settings) if test else (X[:0], labels[:0]),
        train,
        validation,
        preprocessing,
    )
