"""Checkpoints of training runs: reading them, a run that diverged, and the states of random generators.

What a checkpoint contains is decided by the training loop (:mod:`~tinygrad_cifar.course.training_loop`), and to which
run it belongs by :mod:`~tinygrad_cifar.course.run_identity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 2  # of the metadata of a checkpoint


class ResumeError(CheckpointError):
    """A run cannot be resumed from a checkpoint, since that is damaged or belongs to another run.

    Parameters
    ----------
    reason : str
        Why not.
    remedy : str
        What to do, which the message says after the reason.

    Attributes
    ----------
    reason : str
        The reason.
    """

    def __init__(self, reason: str, remedy: str = "delete the file to start again, or choose another") -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason


def read_run(checkpoint: Path | str) -> tuple[dict[str, Array], Mapping[str, Any]]:
    """Return the arrays and the metadata of the checkpoint of a run.

    Raises
    ------
    ResumeError
        If it is damaged, or was not written by this version of the library.

    Examples
    --------
    >>> from tinygrad_cifar.course.run_checkpoints import read_run
    >>> read_run("none.npz")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_cifar.course.run_checkpoints.ResumeError: checkpoint none.npz could not be read: No such file or ...
    """
    try:
        arrays, metadata = load_checkpoint(checkpoint)
    except CheckpointError as error:
        raise ResumeError(str(error)) from error
    _require_run(checkpoint, metadata)
    if metadata.get("version") != VERSION:
        raise ResumeError(f"{checkpoint} belongs to another run, which another version of this library has written")
    return arrays, metadata


def read_divergence(checkpoint: Path | str) -> str | None:
    """Return why the run of a checkpoint diverged after it was written; None if it was interrupted otherwise.

    Resumed with the same settings, such a run diverges again.

    Raises
    ------
    CheckpointError
        If the file is damaged, or is not the checkpoint of a run.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from tinygrad_cifar import models, optim, training
    >>> model = models.SVM(2, 2, rng=0)
    >>> optimiser, data = optim.SGD(model.parameters(), 1e308), (100 * np.eye(2), np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Path(folder) / "run.npz"
    ...     try:
    ...         training.fit(model, optimiser, data, epochs=5, batch_size=2, checkpoint=checkpoint)
    ...     except training.TrainingDiverged:
    ...         print(training.read_divergence(checkpoint))
    a parameter became NaN or infinite at step 1 (epoch 1, learning rate 1e+308); try a smaller learning rate
    """
    _, metadata = load_checkpoint(checkpoint)
    _require_run(checkpoint, metadata)
    event = metadata.get("diverged")
    return None if event is None else str(event)


def _require_run(checkpoint: Path | str, metadata: Any) -> None:
    """Raise an error for a file of another kind, such as a model; the message must not advise deleting it."""
    if not isinstance(metadata, Mapping) or "identity" not in metadata:
        raise ResumeError(f"{checkpoint} is not the checkpoint of a run", "choose another file")


def note_divergence(checkpoint: Path, event: str) -> None:
    """Add the reason to the checkpoint, whose state remains the last finite one."""
    with suppress(CheckpointError):  # the divergence is the error that matters
        arrays, metadata = load_checkpoint(checkpoint)
        save_checkpoint(checkpoint, arrays, metadata | {"diverged": event})


# -- random generators -------------------------------------------------------------------------------------------------

_MAX_POSITIONS = {"pos": 624, "buffer_pos": 4}  # number of buffered words of MT19937 and Philox


def generator_states(generators: Sequence[np.random.Generator]) -> list[Any]:
    """Return the states of random generators, serialisable as JSON."""
    return [_as_json(rng.bit_generator.state) for rng in generators]


def set_generator_states(generators: Sequence[np.random.Generator], states: Sequence[Any]) -> None:
    """Set random generators to stored states.

    Raises
    ------
    ValueError
        If there is another number of states, or one is not a state of its generator.
    """
    for rng, state in zip(generators, states, strict=True):
        _check_state(_as_json(rng.bit_generator.state), state)
        rng.bit_generator.state = state


def _as_json(state: Any) -> Any:
    """Return the state of a generator with lists instead of arrays."""
    if isinstance(state, Mapping):
        return {name: _as_json(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _check_state(own: Any, stored: Any, name: str = "") -> None:
    """Raise an error for a state whose structure is not the generator's: NumPy would read outside its arrays."""
    if isinstance(own, Mapping):
        if own.keys() != stored.keys():
            raise ValueError(f"a random generator has the state entries {list(stored)}, not {list(own)}")
        for part in own:
            _check_state(own[part], stored[part], part)
    elif isinstance(own, list):
        if not isinstance(stored, list) or len(stored) != len(own):
            raise ValueError(f"a random generator has a {name} that is not a list of {len(own)} integers")
        for number, other in zip(own, stored, strict=True):
            _check_state(number, other, name)
    elif isinstance(own, int):
        if not isinstance(stored, int) or not 0 <= stored <= _MAX_POSITIONS.get(name, stored):
            raise ValueError(f"a random generator has the invalid {name} {stored!r:.40}")
    elif stored != own:
        raise ValueError(f"a random generator is a {stored!r:.40}, not a {own}")
