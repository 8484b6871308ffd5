"""Base class of layers and models: parameters, training mode and state.

A module finds its parameters among its attributes. To define one, assign tensors and other modules in the constructor
and write ``forward``.
"""

from __future__ import annotations

from abc import ABCMeta
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import format_shape, unwrap_value
from tinygrad_cifar.engine.modes import no_grad
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import layer_table, module_files, module_text
from tinygrad_cifar.nn.weights import declare, is_weight
from tinygrad_cifar.system.arguments import describe_mismatch, suggest
from tinygrad_cifar.system.numbers import check_count

Array = np.ndarray[Any, np.dtype[Any]]
M = TypeVar("M", bound="Module")

# Attributes in which a module stores which of its tensors belong to the state; see Module._named_tensors.
_STATE_NAMES, _GIVEN_NAMES = "_state_names", "_given_names"


class _ModuleType(ABCMeta):
    """The class of module classes: it examines a module when its constructor has returned.

    It derives from ABCMeta, so that a module may also derive from an abstract base class.
    """

    if not TYPE_CHECKING:  # type checkers would take this signature for that of all constructors

        def __call__(cls, *args, **kwargs):
            try:
                module = super().__call__(*args, **kwargs)
            except TypeError:
                message = describe_mismatch(cls.__name__, cls.__init__, (None, *args), kwargs)
                if cls.__init__ is object.__init__ and (args or kwargs):
                    message = f"{cls.__name__}: takes no arguments"
                if message is None:
                    raise
                raise TypeError(message) from None
            module._finish_construction()
            return module


class Module(metaclass=_ModuleType):
    """Base class of layers and models: a function with parameters.

    The parameters are the tensors with ``requires_grad=True`` among the attributes, also in lists, tuples, dictionaries
    and other modules. The other tensors that the constructor assigns are constants, such as means, which belong to the
    state, too. A tensor that is assigned later, such as a result that ``forward`` keeps, belongs to the state only if
    it is a parameter.

    Attributes
    ----------
    training : bool
        Whether the module is in training mode, in which :class:`Dropout` is active. Set by :meth:`train` and
        :meth:`eval`. Default: True.
    decays : mapping of str to bool
        A class attribute: for the names of attributes, whether these parameters are weights, which the L2 term and the
        weight decay of an optimiser include. If a name is missing, the shape decides: a parameter is a weight if it has
        two axes, or more of which at least two have more than one element. Default: empty.

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
    decays: ClassVar[Mapping[str, bool]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; raise TypeError if a parameter or a method would be lost, as by ``layer.W *= 0.5``."""
        old = vars(self).get(name)
        if isinstance(old, Tensor) and _is_parameter(old) and _removes_parameter(value, _STATE_NAMES in vars(self)):
            new = "a result or a constant" if isinstance(value, Tensor) else f"a value of type {type(value).__name__}"
            raise TypeError(
                f"{type(self).__name__}: {name} is a parameter, and cannot be replaced by {new}, "
                f"which would not be trained; assign its values, module.{name}.data = values, freeze it with "
                f"module.{name}.requires_grad = False, or compute with module.with_parameters(...)"
            )
        if name in _NAMES and any(isinstance(item, (Module, Tensor)) for _, item in _flatten({name: value})):
            raise TypeError(
                f"{type(self).__name__}: {name} is an attribute of every module, and cannot be the name of a layer or "
                f"tensor; take another name, such as {name}_{'tensor' if isinstance(value, Tensor) else 'layer'}"
            )
        super().__setattr__(name, value)

    def _finish_construction(self) -> None:
        """Note the names of the tensors, and raise an error for parameters that would not be found or saved."""
        names = set()
        for name, child in self._children():
            if isinstance(child, Tensor):
                if not child.is_leaf:
                    raise TypeError(
                        f"{type(self).__name__}: {name} is the result of an operation on a tensor with "
                        "requires_grad=True, so it would not be a parameter; compute the values first: "
                        f"self.{name} = Tensor(values, requires_grad=True)"
                    )
                names.add(name)
        vars(self)[_STATE_NAMES] = names
        self.check_attributes()
        found: dict[str, Tensor] = {}
        for name, tensor in self.named_tensors():  # which also declares the weights
            if found.setdefault(name, tensor) is not tensor:
                raise ValueError(
                    f"{type(self).__name__}: two tensors have the name {name}, so one would not be saved; use keys "
                    "without dots, and either strings or numbers"
                )

    def check_attributes(self) -> None:
        """Raise an error for parameters and modules in attributes where they are not found, such as sets.

        A constructor checks its own module; :func:`tinygrad_cifar.training.fit` checks all modules again.

        Raises
        ------
        TypeError
            If an attribute is a set, a deque, an array of objects, or a layer that is not a module, with parameters.

        Examples
        --------
        >>> from tinygrad_cifar import nn
        >>> class Heads(nn.Module):
        ...     def __init__(self) -> None:
        ...         self.heads = {nn.Linear(4, 2, rng=0), nn.Linear(4, 3, rng=1)}
        >>> Heads()
        Traceback (most recent call last):
        TypeError: Heads: heads is a set with parameters or modules, which are not found there; use a list or a dict
        """
        found: set[int] | None = None
        for module in self.modules():
            for name, child in module._children():
                if isinstance(child, (Tensor, Module, type)):
                    continue
                where = f"{type(module).__name__}: {name} is a {type(child).__name__}"
                is_array = isinstance(child, np.ndarray) and child.dtype == object
                if isinstance(child, (set, frozenset, deque)) or is_array:
                    if any(map(_has_parameters, child.ravel() if is_array else child)):
                        raise TypeError(
                            f"{where} with parameters or modules, which are not found there; use a list or a dict"
                        )
                elif callable(child) and hasattr(child, "__dict__"):
                    found = {id(p) for p in self.parameters()} if found is None else found
                    inside = [(n, t) for n, t in _flatten(vars(child)) if isinstance(t, Tensor) and t.requires_grad]
                    if lost := [n for n, t in inside if t.is_leaf and id(t) not in found]:
                        raise TypeError(
                            f"{where} with the parameter {lost[0]}, which is not found, since {type(child).__name__} "
                            "is not a module; derive it from nn.Module"
                        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result of the module. Subclasses define it with the parameters and results they need.

        Raises
        ------
        NotImplementedError
            If the subclass does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = self.forward(*args, **kwargs)  # of most modules; others may return several tensors
        if result is None:
            raise TypeError(f"forward of {type(self).__name__} returned None; it must return a tensor")
        return result

    def _children(self) -> Iterator[tuple[str, Any]]:
        return _flatten({k: v for k, v in vars(self).items() if k not in (_STATE_NAMES, _GIVEN_NAMES)})

    def _nested(self) -> list[tuple[str, Module]]:
        return [(name, child) for name, child in self._children() if isinstance(child, Module)]

    def modules(self) -> Iterator[Module]:
        """Yield this module and the modules inside it, each once."""
        seen: list[Module] = []
        unseen = [self]
        while unseen:
            module = unseen.pop()
            if not any(module is other for other in seen):
                seen.append(module)
                unseen += [child for _, child in module._nested()][::-1]
        yield from seen

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and tensors of the state of the module and of those inside it: parameters and constants.

        Results that a module stores for inspection are left out.
        """
        yield from ((name, tensor) for name, tensor, _ in self._named_tensors(()))

    def _named_tensors(self, above: tuple[Module, ...]) -> Iterator[tuple[str, Tensor, bool]]:
        """Yield the name of each tensor, the tensor, and whether it is a parameter."""
        own = vars(self)
        known, given = own.get(_STATE_NAMES), own.get(_GIVEN_NAMES, ())
        for name, child in self._children():
            if isinstance(child, Tensor):
                is_parameter = name in given or (child.is_leaf and child.requires_grad)
                if is_parameter:
                    if known is not None:
                        known.add(name)  # so that it remains part of the state if it is frozen later
                    if name not in given and (decays := self._decays(name)) is not None:
                        declare(child, decays)
                if is_parameter or (child.is_leaf and (known is None or name in known)):
                    yield name, child, is_parameter
            elif isinstance(child, Module) and not any(child is module for module in (*above, self)):
                inside = child._named_tensors((*above, self))
                yield from ((f"{name}.{inner}", tensor, is_parameter) for inner, tensor, is_parameter in inside)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for _ in self._named_tensors(()):  # which also declares the weights: the tensors of a copy are new ones
            pass

    def _decays(self, name: str) -> bool | None:
        """Return what the class, or one above it, says of an attribute; None if nothing."""
        for owner in (self, *type(self).__mro__):
            declared = vars(owner).get("decays", {})
            for key in (name, name.partition(".")[0]):
                if key in declared:
                    return bool(declared[key])
        return None

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and tensors of the parameters: leaves with ``requires_grad``, each once."""
        seen: set[int] = set()
        for name, tensor, is_parameter in self._named_tensors(()):
            if is_parameter and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def parameters(self) -> list[Tensor]:
        """Return the parameters, each once."""
        return [tensor for _, tensor in self.named_parameters()]

    def weights(self) -> list[Tensor]:
        """Return the parameters in the L2 term: not biases, scales or embeddings; see :attr:`decays`."""
        return [tensor for tensor in self.parameters() if is_weight(tensor)]

    def with_parameters(self: M, parameters: Mapping[str, Any]) -> M:  # noqa: PYI019 (Python 3.10 has no Self)
        """Return a module that computes with these tensors in place of its own; this module does not change.

        For derivatives with respect to given parameters: meta-learning, Hessians, or an optimiser such as SciPy's. The
        tensors may be results of recorded operations, through which gradients flow. All else is shared with this
        module, such as random generators and running statistics, which a call in training mode changes; but attributes
        that the new module assigns are not.

        Parameters
        ----------
        parameters : mapping of str to Tensor or array_like
            Tensors by their names in :meth:`named_tensors`. The module's own tensors are used for missing names.

        Raises
        ------
        ValueError
            If a name is not one of a tensor of this module, a shape differs, or two names of one tensor get different
            values.

        See Also
        --------
        unravel : The parameters from one vector.

        Examples
        --------
        One step of gradient descent that can itself be differentiated (MAML):

        >>> import numpy as np
        >>> from tinygrad_cifar import Tensor, functional, grad, nn
        >>> model = nn.Linear(2, 1, rng=0)
        >>> X, y = np.ones((3, 2)), np.zeros((3, 1))
        >>> before = dict(model.named_parameters())
        >>> gradients = grad(functional.mse(model(X), y), list(before.values()), create_graph=True)
        >>> after = {name: p - 0.1 * g for (name, p), g in zip(before.items(), gradients, strict=True)}
        >>> loss = functional.mse(model.with_parameters(after)(X), y)
        >>> [g.shape for g in grad(loss, model.parameters())]
        [(2, 1), (1,)]
        """
        kind = type(self).__name__
        if not isinstance(parameters, Mapping):
            raise TypeError(f"with_parameters: tensors must be given by name; got a {type(parameters).__name__}")
        own = {name: (tensor, is_parameter) for name, tensor, is_parameter in self._named_tensors(())}
        replaced: dict[int, tuple[Tensor, bool]] = {}
        given: dict[int, str] = {}
        for name, value in parameters.items():
            if name not in own:
                raise ValueError(f"with_parameters: {kind} has no tensor {name}{suggest(name, own)}")
            tensor, is_parameter = own[name]
            first = given.setdefault(id(tensor), name)
            if not _is_same(parameters[first], value):
                raise ValueError(f"with_parameters: {first} and {name} are one tensor; give both the same value")
            new = value if isinstance(value, Tensor) else Tensor(value)
            if new.shape != tensor.shape:
                raise ValueError(f"with_parameters: {name} must have the shape {tensor.shape}; got {new.shape}")
            if is_parameter and new is not tensor:
                declare(new, is_weight(tensor))
            replaced[id(tensor)] = new, is_parameter
        return _copy_with(self, replaced, {})

    def ravel(self) -> Array:
        """Return the values of all parameters as one vector, in the order of :meth:`named_parameters`."""
        return np.concatenate([np.zeros(0, np.float32), *[p.data.ravel() for p in self.parameters()]])

    def unravel(self, vector: Any) -> dict[str, Any]:
        """Return the parts of a vector as parameters, by name: the inverse of :meth:`ravel`.

        Parameters
        ----------
        vector : Tensor or array_like
            One element per element of the parameters.

        Returns
        -------
        dict of str to Tensor or ndarray
            Tensors through which gradients flow to ``vector`` if that is a tensor. A parameter that has several names
            in :meth:`named_tensors` is there under each of them.

        Raises
        ------
        ValueError
            If the size of the vector differs from that of the parameters.

        Examples
        --------
        A loss as a function of one vector, as ``scipy.optimize.minimize(objective, model.ravel(), jac=True)`` needs:

        >>> import numpy as np
        >>> from tinygrad_cifar import Tensor, models
        >>> model = models.SoftmaxRegression(2, 2, rng=0)
        >>> X, labels = np.eye(2), np.array([0, 1])
        >>> def objective(values):
        ...     w = Tensor(values, requires_grad=True)
        ...     loss = model.with_parameters(model.unravel(w)).loss(X, labels)
        ...     loss.backward()
        ...     return loss.item(), w.grad.data
        >>> values = model.ravel()
        >>> for _ in range(100):
        ...     values = values - objective(values)[1]
        >>> model.load_state_dict(model.state_dict() | model.unravel(values))
        >>> model.predict(X)
        array([0, 1])
        """
        vector = vector if isinstance(vector, Tensor) else np.asarray(vector)
        parameters = self.parameters()
        size = sum(p.size for p in parameters)
        if vector.shape != (size,):
            raise ValueError(
                f"unravel: the vector must have the shape ({size},), one element per element of the parameters of this "
                f"{type(self).__name__}; got {vector.shape}"
            )
        parts, start = {}, 0
        for p in parameters:
            part = ops.reshape(vector[start : start + p.size], p.shape)
            parts[id(p)] = part if part.dtype == p.dtype else part.astype(p.dtype)
            start += p.size
        return {name: parts[id(tensor)] for name, tensor in self.named_tensors() if id(tensor) in parts}

    def generators(self) -> list[np.random.Generator]:
        """Return the random generators of the module and of those inside it, each once.

        A checkpoint must include their states for a run to be resumed bit-for-bit.
        """
        found = [v for m in self.modules() for _, v in m._children() if isinstance(v, np.random.Generator)]
        return list({id(rng): rng for rng in found}.values())

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters():
            if p.is_leaf and p.requires_grad:
                p.grad = None

    def train(self: M, mode: bool = True) -> M:  # noqa: PYI019 (Python 3.10 has no Self)
        """Set training mode, or evaluation mode if ``mode`` is False, here and in all modules inside; return self.

        The method of a module inside is called if its class defines its own, for example to remain in evaluation mode.
        """
        self._set_mode(mode, [])
        return self

    def _set_mode(self, mode: bool, seen: list[Module]) -> None:
        seen.append(self)
        self.training = mode
        for _, module in self._nested():
            if type(module).train is not Module.train:
                module.train(mode)
            elif not any(module is other for other in seen):
                module._set_mode(mode, seen)

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
        """Return copies of the values of all parameters and constants, by name."""
        return {name: tensor.numpy() for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Load values that :meth:`state_dict` returned.

        Parameters
        ----------
        state : mapping of str to array_like
            One array per parameter and constant, with its shape.

        Raises
        ------
        ValueError
            If names or shapes do not match this module, an array is not real or has a number that the data type of the
            tensor cannot represent, or two names of one tensor have different values. The module then stays unchanged.
        """
        own = dict(self.named_tensors())
        kind = type(self).__name__
        missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
        if missing or unknown:
            parts = {"lacks": missing, "has": unknown}
            differences = " and ".join(f"{verb} {', '.join(names)}" for verb, names in parts.items() if names)
            raise ValueError(f"load_state_dict: the state does not match this {kind}: it {differences}")
        arrays = {name: np.asarray(unwrap_value(state[name])) for name in own}
        for name, array in arrays.items():
            if array.shape != own[name].shape or array.dtype.kind not in "fiub":
                raise ValueError(
                    f"load_state_dict: the state does not match this {kind}: {name} must be real, with shape "
                    f"{own[name].shape}; got {array.dtype} with shape {array.shape}"
                )
            with np.errstate(over="ignore"):
                lost = np.isfinite(array) & ~np.isfinite(array.astype(own[name].dtype))
            if lost.any():
                raise ValueError(
                    f"load_state_dict: the state does not match this {kind}: {name} is {own[name].dtype}, which cannot "
                    f"represent {array[lost][0]}"
                )
        names: dict[int, str] = {}
        for name, tensor in own.items():
            first = names.setdefault(id(tensor), name)
            if not _is_same(arrays[first], arrays[name]):
                raise ValueError(
                    f"load_state_dict: {first} and {name} are one tensor of this {kind}, and differ in the state"
                )
        for name, tensor in own.items():
            tensor.data = arrays[name]

    def save(self, path: Path | str) -> None:
        """Write the parameters and constants to a file, atomically.

        Parameters
        ----------
        path : str or Path
            File to create or replace. With the suffix ``.safetensors``, it has the format of that library, which must
            be installed; otherwise it is an archive that ``numpy.load`` opens, too (``.npz``, without pickles).

        Raises
        ------
        CheckpointError
            If the file cannot be written, or ``safetensors`` is not installed.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tinygrad_cifar import nn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     nn.Linear(4, 3, rng=0).save(Path(folder) / "model.npz")
        ...     model = nn.Linear(4, 3).load(Path(folder) / "model.npz")
        >>> (model.W.data == nn.Linear(4, 3, rng=0).W.data).all()
        np.True_
        """
        module_files.write_state(path, self.state_dict())

    def load(self: M, path: Path | str) -> M:  # noqa: PYI019
        """Read the parameters and constants from a file that :meth:`save` wrote, and return the module itself.

        Raises
        ------
        CheckpointError
            If the file cannot be read or is damaged, or if its names or shapes differ from those of this module, which
            then stays unchanged.
        """
        module_files.read_state(path, self.load_state_dict, type(self).__name__)
        return self

    def __repr__(self) -> str:
        return module_text.one_line(self)

    def __str__(self) -> str:
        return module_text.tree(self)

    def _repr_html_(self) -> str:
        return module_text.tree_html(self)

    def _arguments(self) -> str:
        """Return the arguments of the constructor that ``repr`` shows."""
        return ""

    def summary(self, input_shape: int | Sequence[int] | None = None, dtype: npt.DTypeLike | None = None) -> str:
        """Return a table of the parameters: name, shape and number of elements, and the total.

        Parameters
        ----------
        input_shape : int or sequence of int, optional
            Shape of one example, without the batch axis. If given, the table has one row for each layer instead, with
            the shape of its result, the number of its parameters, and the multiplications of its matrix products and
            convolutions, for one example. The module is called once, in evaluation mode, with zeros. The total also
            counts the parameters of layers that are not called, and of modules with layers inside.
        dtype : data-type, optional
            Type of the example: ``int`` for indices of an embedding. Default: that of the parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_cifar import nn
        >>> print(nn.Linear(3072, 10, rng=np.random.default_rng(0)).summary())
        Linear
          W      3072 x 10  30,720
          b             10      10
          total             30,730
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(5), nn.Flatten(), nn.Linear(288, 10))
        >>> print(model.summary((32, 32, 3)))
        Sequential
          name      layer            result       parameters  multiplications
          layers.0  Conv2d(3, 8, 3)  30 x 30 x 8         224          194,400
          layers.1  ReLU()           30 x 30 x 8
          layers.2  MaxPool2d(5)     6 x 6 x 8
          layers.3  Flatten()        288
          layers.4  Linear(288, 10)  10                2,890            2,880
          total                                        3,114          197,280
        """
        if input_shape is not None:
            sizes = input_shape if isinstance(input_shape, Iterable) else (input_shape,)
            for size in sizes:
                check_count("summary: a size of input_shape", size, least=0)
            return layer_table.layer_table(self, tuple(map(int, sizes)), dtype)
        rows = [(name, format_shape(tensor.shape), f"{tensor.size:,}") for name, tensor in self.named_parameters()]
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


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values of a tensor are the same tensor, or equal arrays."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return one is other
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")


def _has_parameters(item: Any) -> bool:
    return isinstance(item, Module) or (isinstance(item, Tensor) and item.requires_grad)


def _is_parameter(tensor: Tensor) -> bool:
    return tensor.requires_grad and tensor.is_leaf


def _removes_parameter(value: Any, is_constructed: bool) -> bool:
    """Return whether a parameter is lost by mistake if this value replaces it.

    The constructor of a subclass may remove a parameter that it inherits, such as by ``self.b = None``.
    """
    if isinstance(value, Tensor):
        return not _is_parameter(value)
    return is_constructed or isinstance(value, (np.ndarray, np.generic, Real, list, tuple))


# An attribute with one of these names would replace a method or the mode. A layer may be assigned to ``forward``.
_NAMES = frozenset(dir(Module)) - {"forward"}


def _copy_with(module: M, replaced: Mapping[int, tuple[Tensor, bool]], done: dict[int, Module]) -> M:
    """Return a copy of a module, and of those inside it, with other tensors; the key of each is the id of the old."""
    copy = object.__new__(type(module))
    done[id(module)] = copy

    def convert(value: Any) -> Any:
        if isinstance(value, Tensor):
            return replaced[id(value)][0] if id(value) in replaced else value
        if isinstance(value, Module):
            return done[id(value)] if id(value) in done else _copy_with(value, replaced, done)
        if not any(isinstance(item, (Tensor, Module)) for _, item in _flatten({"": value})):
            return value
        if isinstance(value, Mapping):
            return {key: convert(item) for key, item in value.items()}
        items: Iterable[Any] = map(convert, value)
        build: Callable[..., Any] = getattr(type(value), "_make", type(value))  # of a named tuple
        return build(items)

    given = {name for name, child in module._children() if replaced.get(id(child), (None, False))[1]}
    vars(copy).update({name: convert(value) for name, value in vars(module).items()})
    vars(copy)[_GIVEN_NAMES] = given | set(vars(module).get(_GIVEN_NAMES, ()))
    if _STATE_NAMES in vars(copy):
        vars(copy)[_STATE_NAMES] = set(vars(copy)[_STATE_NAMES])
    return copy
