"""Error messages for misspelt names of arguments and functions, and for arguments that a function does not take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    import inspect

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Names of the same arguments in PyTorch, Keras and scikit-learn.
_NAMES_ELSEWHERE = {
    "lr": "eta",
    "learning_rate": "eta",
    "betas": "beta1",
    "eps": "epsilon",
    "params": "parameters",
    "l2": "weight_decay",
    "lam": "weight_decay",
    "optimizer": "optimiser",
    "criterion": "loss",
    "loss_fn": "loss",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_iter": "epochs",
    "minibatch_size": "batch_size",
    "validation_data": "validation",
    "callbacks": "callback",
    "verbose": "progress",
    "seed": "rng",
    "random_state": "rng",
    "generator": "rng",
    "p": "rate",
    "in_features": "features",
    "out_features": "outputs",
    "units": "outputs",
    "num_embeddings": "count",
    "embedding_dim": "features",
    "Adagrad": "AdaGrad",
    "clip_grad_norm_": "clip_grad_norm",
    "clip_grad_value_": "clip_grad_value",
    "clip_value": "max_value",
    "centered": "centred",
    "ns_steps": "iterations",
    "EMA": "MovingAverage",
    "lr_scheduler": "schedules",
    "optimizers": "optim",
    "losses": "functional",
    "layers": "nn",
    "Dense": "Linear",
    "BCEWithLogitsLoss": "functional.binary_cross_entropy",
    "CrossEntropyLoss": "functional.cross_entropy",
    "MSELoss": "functional.mse",
    "MultiMarginLoss": "functional.hinge",
    "binary_cross_entropy_with_logits": "binary_cross_entropy",
    "mse_loss": "mse",
    "Softmax": "functional.softmax",
    "Parameter": "Tensor(values, requires_grad=True)",
    "abs": "absolute",
    "arange": "numpy.arange(...)",
    "argmax": "numpy.argmax(...)",
    "argmin": "numpy.argmin(...)",
    "cat": "concatenate",
    "clamp": "clip",
    "load": "module.load(path)",
    "ones": "Tensor(numpy.ones(shape))",
    "permute": "transpose",
    "rand": "Tensor(rng.random(shape))",
    "randn": "Tensor(rng.normal(size=shape))",
    "save": "module.save(path)",
    "tensor": "Tensor",
    "unsqueeze": "expand_dims",
    "view": "reshape",
    "zeros": "Tensor(numpy.zeros(shape))",
}
_SIMILARITY = 0.7  # from which a name is taken for a misspelt one; L1Loss and MSELoss, with 0.62, are different things
# Replies that are not names of the module that was asked, but what to write instead.
_ANYWHERE = frozenset(reply for reply in _NAMES_ELSEWHERE.values() if "." in reply or "(" in reply)


def suggest(name: str, names: Iterable[str], synonyms: Mapping[str, str] = _NAMES_ELSEWHERE) -> str:
    """Return "; did you mean ...?" for a misspelt name, or an empty string if no name resembles it.

    Parameters
    ----------
    name : str
        Name as given. Upper and lower case, and ``_`` and ``-``, count as equal.
    names : iterable of str
        Valid names.
    synonyms : mapping of str to str
        Valid names, or what to write, by other names. Default: those of the arguments of other libraries.

    Examples
    --------
    >>> from tinygrad_cifar.system.arguments import suggest
    >>> suggest("ta", ["eta", "epochs"])
    '; did you mean eta?'
    >>> suggest("learning_rate", ["eta", "epochs"])
    '; did you mean eta?'
    >>> suggest("xyz", ["eta", "epochs"])
    ''
    """
    import difflib  # noqa: PLC0415 (for errors only, as inspect below)

    names = list(names)
    valid = {other: meant for other, meant in synonyms.items() if meant in names or meant in _ANYWHERE}
    meanings = {_fold(other): meant for other, meant in valid.items()} | {_fold(own): own for own in reversed(names)}
    given = _fold(str(name))
    near = [given] if given in meanings else difflib.get_close_matches(given, meanings, n=1, cutoff=_SIMILARITY)
    return f"; did you mean {meanings[near[0]]}?" if near else ""


def _fold(name: str) -> str:
    return name.lower().replace("_", "-")


def explain_calls(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that a call with wrong arguments raises an error that says which ones are right.

    Raises
    ------
    TypeError
        If an argument is unknown or missing.

    Examples
    --------
    >>> from tinygrad_cifar.system.arguments import explain_calls
    >>> @explain_calls
    ... def train(model: str, *, eta: float) -> None: ...
    >>> train("softmax", lr=0.1)
    Traceback (most recent call last):
    TypeError: train: unexpected argument lr; did you mean eta?
    """
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError:
            message = describe_mismatch(name, function, args, kwargs)
            if message is None:
                raise
            raise TypeError(message) from None

    return call


def explain_constructor(cls: type[T]) -> type[T]:
    """Decorate a class, such as a dataclass, as :func:`explain_calls` decorates its constructor.

    Examples
    --------
    >>> from tinygrad_cifar.nn import schedules
    >>> schedules.Cosine(eta_max=0.1, eta_min=0.0, step=100)
    Traceback (most recent call last):
    TypeError: Cosine: unexpected argument step; did you mean steps?
    """
    cls.__init__ = explain_calls(cls.__init__)  # type: ignore[method-assign]
    return cls


def explain_names(module: str, names: Collection[str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module: it raises an error that suggests another name.

    Notebooks do not add Python's own suggestions to errors.

    Parameters
    ----------
    module : str
        Name of the module.
    names : collection of str
        Names to suggest.

    Examples
    --------
    >>> from tinygrad_cifar import nn
    >>> nn.Sequental
    Traceback (most recent call last):
    AttributeError: module 'tinygrad_cifar.nn' has no attribute 'Sequental'; did you mean Sequential?
    """

    def getattr_of_module(name: str) -> Any:
        is_special = name.startswith("__")  # Python asks modules for many of these
        hint = "" if is_special else suggest(name, [n for n in names if not n.startswith("_")])
        raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}")

    return getattr_of_module


def describe_mismatch(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str | None:
    """Return the message for arguments that a function does not take; None if it takes them.

    Examples
    --------
    >>> from tinygrad_cifar.system.arguments import describe_mismatch
    >>> describe_mismatch("f", lambda x, *, y: None, (1,), {})
    'f: the argument y is missing'
    """
    import inspect  # noqa: PLC0415

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return f"{name}: {_describe(signature, args, kwargs) or error}"
    return None


def _describe(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    named = {n: p for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    named = {n: p for n, p in named.items() if n != "self"}
    positional = [n for n, p in named.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    count = len(args) - ("self" in signature.parameters)
    kinds = {p.kind.name for p in signature.parameters.values()}
    if "VAR_KEYWORD" not in kinds:
        for name in kwargs:
            if name not in named:
                arguments = f"; the arguments are {listed(named)}" if named else "; it takes none by name"
                return f"unexpected argument {name}{suggest(name, [n for n in named if n not in kwargs]) or arguments}"
    if "VAR_POSITIONAL" not in kinds and count > len(positional):
        others = [n for n in named if n not in positional]
        remedy = f": give {listed(others, 'or')} by name" if others else ""
        return f"takes {len(positional)} positional argument{'s' * (len(positional) != 1)}; got {count}{remedy}"
    given = {*positional[:count], *kwargs}
    missing = [n for n, p in named.items() if p.default is p.empty and n not in given]
    if missing:
        several = len(missing) > 1
        return f"the argument{'s' * several} {listed(missing)} {'are' if several else 'is'} missing"
    return ""


def listed(names: Iterable[str], word: str = "and") -> str:
    """Return names as a list in a sentence.

    Examples
    --------
    >>> from tinygrad_cifar.system.arguments import listed
    >>> listed(["a", "b", "c"]), listed(["a", "b"], "or"), listed(["a"])
    ('a, b and c', 'a or b', 'a')
    """
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else str(last)
