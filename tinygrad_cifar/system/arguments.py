"""Error messages for misspelt names and for calls that do not match a function's parameters."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

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
}


def suggest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" for a misspelt name, or an empty string if no name resembles it.

    Parameters
    ----------
    name : str
        Name as given.
    names : iterable of str
        Valid names.

    Examples
    --------
    >>> from tinygrad_cifar.system.arguments import suggest
    >>> suggest("ta", ["eta", "epochs"])
    '; did you mean eta?'
    >>> suggest("xyz", ["eta", "epochs"])
    ''
    """
    names = list(names)
    elsewhere = _NAMES_ELSEWHERE.get(name)
    same = [other for other in names if other.lower() == str(name).lower()]
    found = [elsewhere] if elsewhere in names else same or difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {found[0]}?" if found else ""


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
    TypeError: train: there is no argument lr; did you mean eta?
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
    kinds = {p.kind for p in signature.parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in kwargs:
            if name not in named:
                listed = f"; the arguments are {_listed(named)}" if named else "; it takes none by name"
                return f"there is no argument {name}{suggest(name, [n for n in named if n not in kwargs]) or listed}"
    if inspect.Parameter.VAR_POSITIONAL not in kinds and count > len(positional):
        others = [n for n in named if n not in positional]
        remedy = f": give {_listed(others, 'or')} by name" if others else ""
        return f"takes {len(positional)} positional argument{'s' * (len(positional) != 1)}; got {count}{remedy}"
    given = {*positional[:count], *kwargs}
    missing = [n for n, p in named.items() if p.default is p.empty and n not in given]
    if missing:
        several = len(missing) > 1
        return f"the argument{'s' * several} {_listed(missing)} {'are' if several else 'is'} missing"
    return ""


def _listed(names: Iterable[str], word: str = "and") -> str:
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else str(last)
