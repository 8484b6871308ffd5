"""Files of trained models: parameters, settings, preprocessing and class names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.course import models
from tinygrad_cifar.course.convnet import shapes_of_weights
from tinygrad_cifar.course.runs import Result, build_model
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import Dataset
from tinygrad_cifar.data.dataset import COLOURS
from tinygrad_cifar.data.preprocess import Preprocessing
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with the information needed to use it.

    Attributes
    ----------
    model : Classifier
    settings : Settings
        Settings of its training.
    preprocessing : Preprocessing
        Preprocessing of the images, fitted on the training images.
    class_names : tuple of str
        Names of the classes, in the order of the scores.
    trained_on : dict
        Identity of the data (:meth:`tinygrad_cifar.data.Dataset.identity`).
    """

    model: models.Classifier
    settings: Settings
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    trained_on: dict[str, Any]


def save_model(path: Path, result: Result, preprocessing: Preprocessing, dataset: Dataset) -> None:
    """Write a trained model to a file, atomically.

    See :func:`load_model` for an example.
    """
    arrays = {f"model/{name}": array for name, array in result.model.state_dict().items()}
    arrays |= {f"pixels/{name}": array for name, array in preprocessing.to_arrays().items() if name != "kind"}
    metadata = {
        "settings": asdict(result.settings),
        "class_names": dataset.class_names,
        "trained_on": dataset.identity(),
    }
    save_checkpoint(path, arrays, metadata)


def load_model(path: Path) -> TrainedModel:
    """Read a file that :func:`save_model` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged or is not a trained model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tinygrad_cifar.data import builtin_dataset
    >>> from tinygrad_cifar.course.preparation import prepare, preprocess_split
    >>> from tinygrad_cifar.course.runs import run, save_result
    >>> from tinygrad_cifar.course.settings import Settings
    >>> from tinygrad_cifar.course.model_files import load_model, save_model
    >>> settings, dataset = Settings(train_size=100, epochs=1), builtin_dataset()
    >>> prepared = prepare(dataset, settings)
    >>> result = run(settings, prepared)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_result(Path(folder), result, dataset)
    ...     save_model(Path(folder) / "model.npz", result, prepared.preprocessing, dataset)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ...     trained = load_model(Path(folder) / "model.npz")
    ['history.csv', 'model.npz', 'result.json']
    >>> X, labels = preprocess_split(dataset.test, trained.preprocessing, trained.settings)
    >>> trained.class_names[trained.model.predict(X)[0]] in dataset.class_names
    True
    """
    arrays, metadata = load_checkpoint(path)
    try:
        settings = Settings.from_json(metadata["settings"])
        mean, std = arrays.pop("pixels/mean"), arrays.pop("pixels/std")
        preprocessing = Preprocessing(settings.preprocessing, mean, std, arrays.pop("pixels/directions", None))
        state = {name.removeprefix("model/"): array for name, array in arrays.items()}
        class_names = tuple(map(str, metadata["class_names"]))
        # The sizes come from the arrays in the file, so a malformed file cannot request a large allocation.
        features = preprocessing.features
        shapes = [array.shape for array in state.values() if array.ndim > 1]
        if shapes != _shapes_of_weights(settings, features, len(class_names)):
            raise ValueError(f"the weights have the shapes {shapes}")  # noqa: TRY301 (converted below)
        for name, array in state.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite")  # noqa: TRY301 (converted below)
        model = build_model(replace(settings, init="zeros"), features, len(class_names))
        model.load_state_dict(state)
        return TrainedModel(model, settings, preprocessing, class_names, dict(metadata["trained_on"]))
    except KeyError as error:
        raise CheckpointError(f"{path} is not a trained model: the entry {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a trained model: {error}") from error


def _shapes_of_weights(settings: Settings, features: int, classes: int) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of a model of the settings."""
    if settings.model == "convnet":
        return shapes_of_weights(settings.hidden, settings.depth, classes)
    if settings.model != "patchify":
        return list(pairwise((features, *settings.hidden, classes)))
    patch = COLOURS * settings.filter_size**2
    filtered = features // patch * settings.filters
    return [(patch, settings.filters), *pairwise((filtered, *settings.hidden, classes))]
