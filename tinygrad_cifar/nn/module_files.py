"""Files with the state of a module: ``.npz`` archives, or ``.safetensors`` where that library is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_cifar.system.files import atomic_write

Array = np.ndarray[Any, np.dtype[Any]]

_FORMAT = "state of a module"
_SUFFIX = ".safetensors"


def write_state(path: Path | str, state: Mapping[str, Array]) -> None:
    """Write the arrays of a state to a file; see :meth:`tinygrad_cifar.nn.Module.save`."""
    path = Path(path)
    if path.suffix != _SUFFIX:
        save_checkpoint(path, state, {"format": _FORMAT})
        return
    content = _safetensors(path).save({name: array.copy(order="C") for name, array in state.items()})
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise CheckpointError(f"{path} could not be written ({error.strerror or error})") from error


def read_state(path: Path | str, load: Callable[[Mapping[str, Array]], None], kind: str) -> None:
    """Read a file of :func:`write_state` and pass its arrays to ``load``; ``kind`` names the module in errors."""
    path = Path(path)
    if path.suffix == _SUFFIX:
        library = _safetensors(path)
        try:
            state = library.load(path.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{path} could not be read: {error.strerror or error}") from error
        except Exception as error:  # a damaged file may raise any exception
            raise CheckpointError(f"{path} is not a complete safetensors file ({error})") from error
    else:
        state, metadata = load_checkpoint(path)
        if not isinstance(metadata, Mapping) or metadata.get("format") != _FORMAT:
            is_trained = isinstance(metadata, Mapping) and "settings" in metadata
            remedy = "; use model_files.load_model, since it has settings and preprocessing, too" * is_trained
            raise CheckpointError(f"{path} was not written by Module.save{remedy}")
    try:
        load(state)
    except ValueError as error:
        difference = str(error).removeprefix("load_state_dict: the state does not match this ")
        raise CheckpointError(f"{path} does not match this {kind}: {difference.removeprefix(f'{kind}: ')}") from error


def _safetensors(path: Path) -> Any:
    try:
        import safetensors.numpy  # noqa: PLC0415 (optional)
    except ImportError:
        raise CheckpointError(
            f"{path}: the suffix {_SUFFIX} needs the library safetensors (pip install safetensors); use .npz without it"
        ) from None
    return safetensors.numpy
