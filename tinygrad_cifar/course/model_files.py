"""A trained model in a file, with all that is needed to use it: settings, treatment of the pixels, class names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tinygrad_cifar.course import models
from tinygrad_cifar.course.runs import Result, build_model
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import Dataset
from tinygrad_cifar.data.preprocess import Preprocessing
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with all that is needed to use it.

    Attributes
    ----------
    model : Classifier
    settings : Settings
        How it was trained.
    preprocessing : Preprocessing
        What pixels go through before they come to the model.
    class_names : tuple of str
        What its scores are of.
    trained_on : dict
        The :meth:`~tinygrad_cifar.data.Dataset.identity` of the data.
    """

    model: models.Classifier
    settings: Settings
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    trained_on: dict[str, Any]


def save_model(path: Path, result: Result, preprocessing: Preprocessing, dataset: Dataset) -> None:
    """Write the trained parameters with all that is needed to use them: settings, treatment of pixels, class names.

    See :func:`load_model` for an example.
    """
    arrays = {f"model/{name}": array for name, array in result.model.state_dict().items()}
    arrays |= {f"pixels/{name}": array for name, array in preprocessing.to_arrays().items() if name != "kind"}
    text = {"settings": asdict(result.settings), "class_names": dataset.class_names, "trained_on": dataset.identity()}
    save_checkpoint(path, arrays, text)


def load_model(path: Path) -> TrainedModel:
    """Read what :func:`save_model` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged, or no trained model.

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
    arrays, text = load_checkpoint(path)
    try:
        settings = Settings.from_json(text["settings"])
        mean, std = arrays.pop("pixels/mean"), arrays.pop("pixels/std")
        preprocessing = Preprocessing(settings.preprocessing, mean, std, arrays.pop("pixels/directions", None))
        state = {name.removeprefix("model/"): array for name, array in arrays.items()}
        class_names = tuple(map(str, text["class_names"]))
        # Nothing larger than the file is ever made: the sizes must be those of the arrays that are there.
        features = preprocessing.features
        shapes = [array.shape for array in state.values() if array.ndim > 1]
        if shapes != list(pairwise((features, *settings.hidden, len(class_names)))):
            raise ValueError(f"its matrices have the shapes {shapes}")  # noqa: TRY301 (one sentence for all)
        model = build_model(replace(settings, init="zeros"), features, len(class_names))
        model.load_state_dict(state)
        return TrainedModel(model, settings, preprocessing, class_names, dict(text["trained_on"]))
    except KeyError as error:
        raise CheckpointError(f"{path} holds no trained model of this library: there is no {error} in it") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no trained model of this library: {error}") from error
