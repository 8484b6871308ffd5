"""Base class of layers and models: parameters, training mode and state.

A module finds its parameters among its attributes. To define one, assign tensors and other modules in the constructor
and write ``forward``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from tinygrad_cifar.engine.graph import unwrap_value
from tinygrad_cifar.engine.modes import no_grad
from tinygrad_cifar.engine.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
M = TypeVar("M", bound="Module")


class Module:
    """Base class of layers and models: a function with parameters.

    Attributes
    ----------
    training : bool
        Whether the module is in training mode, in which :class:`Dropout` is active. Set by :meth:`train` and
        :meth:`eval`. Default: True.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, nn
    >>> class Scale(nn.Module):
    ...     def __init__(self) -> None:
    ...         self.factor = Tensor(2.0, requires_grad=True)
    ...
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return self.factor * x
    >>> model = Scale()
    >>> model(np.ones(3)), list(model.state_dict())
    (Tensor([2., 2., 2.], requires_grad=True), ['factor'])
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the result of the module. Subclasses define it with the parameters they need.

        Raises
        ------
        NotImplementedError
            If the subclass does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.forward(*args, **kwargs)

    def _children(self) -> Iterator[tuple[str, Any]]:
        return _flatten(vars(self))

    def modules(self) -> Iterator[Module]:
        """Yield this module and the modules inside it, each once."""
        seen: list[Module] = []
        unseen = [self]
        while unseen:
            module = unseen.pop()
            if not any(module is other for other in seen):
                seen.append(module)
                unseen += [child for _, child in module._children() if isinstance(child, Module)][::-1]
        yield from seen

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and leaf tensors of the module and of those inside it: parameters and constants.

        Results of recorded operations are left out, so that a module may store one for inspection.
        """
        yield from self._named_tensors(())

    def _named_tensors(self, above: tuple[Module, ...]) -> Iterator[tuple[str, Tensor]]:
        for name, child in self._children():
            if isinstance(child, Tensor) and child.is_leaf:
                yield name, child
            elif isinstance(child, Module) and not any(child is module for module in (*above, self)):
                inside = child._named_tensors((*above, self))
                yield from ((f"{name}.{inner}", tensor) for inner, tensor in inside)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and tensors of the parameters: leaves with ``requires_grad``, each once."""
        seen: set[int] = set()
        for name, tensor in self.named_tensors():
            if tensor.requires_grad and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def parameters(self) -> list[Tensor]:
        """Return the parameters, each once."""
        return [tensor for _, tensor in self.named_parameters()]

    def weights(self) -> list[Tensor]:
        """Return the parameters in the L2 term: those with at least two dimensions, so not the biases."""
        return [tensor for tensor in self.parameters() if tensor.ndim > 1]

    def generators(self) -> list[np.random.Generator]:
        """Return the random generators of the module and of those inside it, each once.

        A checkpoint must include their states for a run to be resumed bit-for-bit.
        """
        found = [v for m in self.modules() for _, v in m._children() if isinstance(v, np.random.Generator)]
        return list({id(rng): rng for rng in found}.values())

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters():
            p.grad = None

    def train(self: M, mode: bool = True) -> M:  # noqa: PYI019 (Python 3.10 has no Self)
        """Set training mode, or evaluation mode if ``mode`` is False, here and in all modules inside; return self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:  # noqa: PYI019
        """Set evaluation mode, here and in all modules inside; return self."""
        return self.train(False)

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        """Evaluate the module in a ``with`` block: evaluation mode, no recording; modes are restored afterwards.

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
        """Return copies of the values of all leaf tensors, by name."""
        return {name: tensor.numpy() for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Load values that :meth:`state_dict` returned.

        Parameters
        ----------
        state : mapping of str to array_like
            One array per leaf tensor, with the tensor's shape.

        Raises
        ------
        ValueError
            If names, shapes or data types do not match this module, which then stays unchanged.
        """
        own = dict(self.named_tensors())
        kind = type(self).__name__
        missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
        if missing or unknown:
            differences = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(
                unknown
            )
            raise ValueError(f"load_state_dict: the state does not match this {kind}: it {' and '.join(differences)}")
        arrays = {name: np.asarray(unwrap_value(state[name])) for name in own}
        for name, array in arrays.items():
            if array.shape != own[name].shape or array.dtype.kind not in "fiub":
                raise ValueError(
                    f"load_state_dict: the state does not match this {kind}: {name} must be real, with shape "
                    f"{own[name].shape}; got {array.dtype} with shape {array.shape}"
                )
        for name, tensor in own.items():
            tensor.data = arrays[name]

    def summary(self) -> str:
        """Return a table of the parameters: name, shape and number of elements, and the total.

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
            (name, " x ".join(map(str, tensor.shape)) or "scalar", f"{tensor.size:,}")
            for name, tensor in self.named_parameters()
        ]
        rows.append(("total", "", f"{sum(p.size for p in self.parameters()):,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"  {n:<{widths[0]}}  {s:>{widths[1]}}  {c:>{widths[2]}}" for n, s, c in rows]
        return "\n".join([type(self).__name__, *lines])


def _flatten(container: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the items of a mapping, and of the mappings, lists and tuples in it, with dotted names."""
    for key, value in container.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield from _flatten({str(i): item for i, item in enumerate(value)}, f"{name}.")
        else:
            yield name, value
