"""Layers: objects that hold parameters and are called like functions.

A module finds its parameters by looking at its own attributes, so defining one is ordinary Python: assign
tensors and other modules in the constructor, and write ``forward``. Layers take one example per row: ``(batch,
features)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.modes import no_grad
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import functional as F
from tinygrad_cifar.nn.initialisers import FanIn, Initialiser

Array = np.ndarray[Any, np.dtype[Any]]


class Module:
    """A function with parameters: the base of layers and models.

    Attributes
    ----------
    training : bool
        Whether the module is being trained (dropout drops only then); set by :meth:`train` and :meth:`eval`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = Tensor(2.0, requires_grad=True)
    ...
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> model = Scale()
    >>> model(np.ones(3)), list(model.state_dict())
    (Tensor([2., 2., 2.], requires_grad=True), ['factor'])
    """

    training: bool = True

    def forward(self, x: Any) -> Any:
        """Compute the module's result; to be written by each subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(self, x)")

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def _children(self) -> Iterator[tuple[str, Any]]:
        return _parts(vars(self))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all modules inside it, each once."""
        seen: list[Module] = []
        unseen = [self]
        while unseen:
            module = unseen.pop()
            if not any(module is other for other in seen):
                seen.append(module)
                unseen += [child for _, child in module._children() if isinstance(child, Module)][::-1]
        yield from seen

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and tensors of the module and those inside it: parameters and fixed numbers alike.

        Tensors that were computed are left out: a module may keep a result to be looked at.
        """
        yield from self._named_tensors(())

    def _named_tensors(self, above: tuple[Module, ...]) -> Iterator[tuple[str, Tensor]]:
        for name, child in self._children():
            if isinstance(child, Tensor) and child.is_leaf:
                yield name, child
            elif isinstance(child, Module) and not any(child is module for module in (*above, self)):  # a part's owner
                inside = child._named_tensors((*above, self))
                yield from ((f"{name}.{inner}", tensor) for inner, tensor in inside)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and tensors that are to be learnt: those with ``requires_grad``, each tensor once."""
        seen: set[int] = set()
        for name, tensor in self.named_tensors():
            if tensor.requires_grad and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def parameters(self) -> list[Tensor]:
        """Return the tensors that are to be learnt."""
        return [tensor for _, tensor in self.named_parameters()]

    def weights(self) -> list[Tensor]:
        """Return the parameters that the L2 term counts: matrices, not biases."""
        return [tensor for tensor in self.parameters() if tensor.ndim > 1]

    def generators(self) -> list[np.random.Generator]:
        """Return the random generators inside, each once: a run is resumed exactly only if their states are kept."""
        found = [v for m in self.modules() for _, v in m._children() if isinstance(v, np.random.Generator)]
        return list({id(rng): rng for rng in found}.values())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def train(self, mode: bool = True) -> Module:
        """Say that the module is being trained (or, with False, used), and return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Say that the module is being used, and return it."""
        return self.train(False)

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        """Use the module inside a ``with`` block: nothing is dropped or recorded, and all modes are restored.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_cifar import Tensor, nn
        >>> layer = nn.Dropout(0.5, rng=np.random.default_rng(1))
        >>> with layer.inference_mode():
        ...     print(layer(Tensor(np.ones(4))))
        Tensor([1., 1., 1., 1.])
        >>> layer.training
        True
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all the module's numbers by name."""
        return {name: tensor.numpy() for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over numbers that :meth:`state_dict` returned: all of them, or nothing if they do not fit.

        Raises
        ------
        ValueError
            If names or shapes are not this module's.
        """
        own = dict(self.named_tensors())
        kind = type(self).__name__
        missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
        if missing or unknown:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(unknown)
            raise ValueError(
                f"these are the numbers of another model than this {kind}: the state {' and '.join(parts)}"
            )
        arrays = {name: np.asarray(unwrap_value(state[name])) for name in own}
        for name, array in arrays.items():
            if array.shape != own[name].shape or array.dtype.kind not in "fiub":
                raise ValueError(
                    f"these are the numbers of another model than this {kind}: {name} is {array.dtype} of shape "
                    f"{array.shape}, not real numbers of shape {own[name].shape}"
                )
        for name, tensor in own.items():
            tensor.data = arrays[name]

    def summary(self) -> str:
        """Return a table of the parameters: name, shape, and number, with the sum below.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_cifar import nn
        >>> print(nn.Linear(3072, 10, rng=np.random.default_rng(0)).summary())
        Linear
          W      3072 x 10  30,720
          b             10      10
          total             30,730
        """
        rows = [
            (name, " x ".join(map(str, tensor.shape)) or "number", f"{tensor.size:,}")
            for name, tensor in self.named_parameters()
        ]
        rows.append(("total", "", f"{sum(p.size for p in self.parameters()):,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"  {n:<{widths[0]}}  {s:>{widths[1]}}  {c:>{widths[2]}}" for n, s, c in rows]
        return "\n".join([type(self).__name__, *lines])


def _parts(container: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is in a mapping, and inside the mappings, lists and tuples in it, with dotted names."""
    for key, value in container.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _parts(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield from _parts({str(i): item for i, item in enumerate(value)}, f"{name}.")
        else:
            yield name, value


class Linear(Module):
    """``x @ W + b``, with W of shape ``(features, outputs)`` and b of shape ``(outputs,)``, which starts at 0.

    Parameters
    ----------
    features, outputs : int
        The sizes of a row that comes in and of one that goes out.
    rng : numpy.random.Generator
        Draws the weights.
    init : initialiser
        How (see :mod:`tinygrad_cifar.nn.initialisers`).
    dtype : data-type
        float64 by default; float32 takes half the memory and time.

    Raises
    ------
    ValueError
        If a size is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer(np.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        init: Initialiser = FanIn(),  # noqa: B008 (frozen)
        dtype: Any = np.float64,
    ) -> None:
        if features < 1 or outputs < 1:
            raise ValueError(f"Linear: both sizes must be at least 1; got {features} features and {outputs} outputs")
        self.W = Tensor(init(rng, features, outputs), requires_grad=True, dtype=dtype)
        self.b = Tensor(np.zeros(outputs), requires_grad=True, dtype=dtype)

    def forward(self, x: Any) -> Any:
        """Return ``x @ W + b``."""
        return ops.matmul(x, self.W) + self.b


class ReLU(Module):
    """``max(0, x)``, whose slope at 0 is 0.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.ReLU()(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def forward(self, x: Any) -> Any:
        """Return ``max(0, x)``."""
        return ops.relu(x)


class Normalize(Module):
    """``(x - mean) / std`` with fixed numbers, which gradient passes but never changes.

    With the mean alone it is the layer that report 004 calls batch normalisation.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, nn
    >>> nn.Normalize(mean=[1.0, 2.0])(Tensor([[1.0, 3.0]]))
    Tensor([[0., 1.]])
    """

    def __init__(self, mean: Any, std: Any = None, *, dtype: Any = np.float64) -> None:
        self.mean = Tensor(mean, dtype=dtype)
        self.std = None if std is None else Tensor(std, dtype=dtype)
        if self.std is not None and (self.std.data == 0).any():
            raise ValueError("Normalize: a standard deviation is 0; leave constant features out or give them 1")

    def forward(self, x: Any) -> Any:
        """Return ``(x - mean) / std``."""
        centred = ops.subtract(x, self.mean)
        return centred if self.std is None else centred / self.std


class Dropout(Module):
    """Drop elements with probability ``rate`` while training, and nothing otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> layer = nn.Dropout(0.5, rng=np.random.default_rng(1))
    >>> layer(Tensor(np.ones(4))), layer.eval()(Tensor(np.ones(4)))
    (Tensor([0., 2., 2., 2.]), Tensor([1., 1., 1., 1.]))
    """

    def __init__(self, rate: float, *, rng: np.random.Generator) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must be from 0 up to, but not including, 1; got {rate}")
        self.rate = rate
        self.rng = rng

    def forward(self, x: Any) -> Any:
        """Return x with some elements dropped, or x itself when the module is being used."""
        return F.dropout(x, self.rate, self.rng) if self.training else x


class Sequential(Module):
    """Layers one after the other.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.ReLU(), nn.Linear(3, 2, rng=rng))
    >>> model(np.ones((5, 4))).shape, len(model.parameters())
    ((5, 2), 4)
    """

    def __init__(self, *layers: Module) -> None:
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """Return the last layer's result."""
        for layer in self.layers:
            x = layer(x)
        return x
