"""Random programs, whose results are compared with those of the naive engine.

Each step appends a line to a program and runs it: operations and views, ``index_update``, constants, ``no_grad`` and
``detach``, backward passes that retain or free the graph, gradients of gradients, leaves that are pickled, assigned or
overwritten. After each line, values and gradients are compared with those of :mod:`naive`, which computes element by
element, and its gradients with centred differences.

If they differ, a :class:`DisagreementError` is raised with the program, shortened by Hypothesis, which ends in the
check that fails. It can be pasted into a Python session.
"""

from __future__ import annotations

import functools
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.evidence import naive
from tests.evidence.naive import each

STEPS = 30  # the largest number of steps of a program

HEADER = """\
import pickle
import numpy as np
import tinygrad_cifar as tg

def check(tensor, expected):
    found = np.zeros(np.shape(expected)) if tensor is None else tensor.data
    atol = 1e-9 * max(1, np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=atol, strict=True)

def unless_freed(action):
    try:
        return True, action()
    except RuntimeError as error:
        assert "has been freed by an earlier backward pass" in str(error)
        return False, None

"""

# How many of each have been run.
counts: Counter[str] = Counter()


class DisagreementError(AssertionError):
    """A program whose last line fails.

    Attributes
    ----------
    program : str
        The program, as text.
    """

    def __init__(self, program: str) -> None:
        super().__init__(f"the last line of this program fails:\n\n{program}")
        self.program = program


class Variable:
    """A tensor of the program, as the test knows it.

    ``numbers`` are the naive engine's. ``inputs`` are the recorded variables that it was computed from, None for a
    constant. A leaf has an ``origin``, the numbers that it was created with, and ``grad``, the accumulated gradient.
    """

    def __init__(self, name: str, numbers: np.ndarray, inputs: set[Variable] | None, *, leaf: bool = False) -> None:
        self.name, self.numbers, self.inputs = name, numbers, inputs
        self.origin = numbers if leaf else None
        self.grad: np.ndarray | None = None
        self.depends: set[Variable] = set()  # the variables that grad was computed from
        self.order = max((v.order for v in inputs or ()), default=0)  # how often it was differentiated
        self.is_freed = False
        self.is_gradient = False

    @property
    def recorded(self) -> bool:
        return self.inputs is not None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape

    def ancestors(self) -> set[Variable]:
        """Return the variable and all variables that it was computed from."""
        found, unseen = {self}, [self]
        while unseen:
            new = (unseen.pop().inputs or set()) - found
            found |= new
            unseen += new
        return found


def literal(numbers: Any) -> str:
    """Format numbers as Python source."""
    array = np.asarray(numbers, dtype=float)
    if array.ndim == 0:
        return repr(float(f"{array.item():.12g}"))
    return "[" + ", ".join(map(literal, array)) + "]"


# -- what can be drawn -----------------------------------------------------------------------------------------------

SHAPES = [(), (1,), (2,), (3,), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (2, 1, 2)]
LARGEST, MOST = 30.0, 12  # the largest value, and the largest number of elements, that a program contains
GAP = 0.05  # the smallest distance from kinks

WHICH = st.sampled_from(["latest", "latest", "any", "again"])
eighths = st.integers(-16, 16).map(lambda n: n / 8)


def anywhere(*_: Any) -> bool:
    """Return True: the domain of a function without kinks and bounds."""
    return True


DOMAINS: dict[str, Callable[[float], bool]] = {
    "log": lambda x: x > 0.2,
    "log1p": lambda x: x > -0.7,
    "sqrt": lambda x: x > 0.2,
    "tan": lambda x: abs(x) < 1.2,
    "relu": lambda x: abs(x) > GAP,
    "absolute": lambda x: abs(x) > GAP,
}
FUNCTIONS = sorted(set(naive.FUNCTIONS) - {"itself"})

# The source text, the naive computation, and where it is smooth.
BINARY: dict[str, tuple[str, Callable[..., Any], Callable[[float, float], bool]]] = {
    "add": ("{} + {}", lambda x, y: x + y, anywhere),
    "subtract": ("{} - {}", lambda x, y: x - y, anywhere),
    "multiply": ("{} * {}", lambda x, y: x * y, anywhere),
    "divide": ("{} / {}", lambda x, y: x / y, lambda _, y: abs(y) > 0.2),
    "power": ("{} ** {}", lambda x, y: x**y, lambda x, _: x > 0.2),
    "maximum": ("tg.maximum({}, {})", naive.largest, lambda x, y: abs(x - y) > GAP),
    "minimum": ("tg.minimum({}, {})", naive.smallest, lambda x, y: abs(x - y) > GAP),
}


def reduced(operation: Callable[[Any, Any], Any], x: np.ndarray, axis: int | None, keepdims: bool) -> np.ndarray:
    if axis is not None:
        out = np.frompyfunc(operation, 2, 1).reduce(x, axis=axis, keepdims=keepdims)
        return np.asarray(out, dtype=object)
    out = np.asarray(functools.reduce(operation, x.ravel()), dtype=object)
    return out.reshape((1,) * x.ndim) if keepdims else out


total = functools.partial(reduced, operator.add)


def of_each(name: str, x: np.ndarray) -> np.ndarray:
    return each(functools.partial(naive.apply, name), x)


def mean(x: np.ndarray, axis: int | None, keepdims: bool) -> np.ndarray:
    out = total(x, axis, keepdims)
    return each(lambda s: s * (out.size / x.size), out)


def variance(x: np.ndarray, axis: int | None, keepdims: bool) -> np.ndarray:
    return mean(each(lambda x, m: (x - m) * (x - m), x, mean(x, axis, True)), axis, keepdims)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = of_each("exp", x)
    return each(lambda x, y: x / y, powers, total(powers, axis, True))


def apart(x: np.ndarray, axis: int | None) -> bool:
    """Return whether no two elements along the axis are near each other, so that an extreme is smooth."""
    ordered = np.sort(naive.values(x), axis=axis)
    return bool(np.all(np.diff(ordered, axis=-1 if axis is None else axis) > GAP))


REDUCTIONS: dict[str, tuple[str, Callable[..., np.ndarray], Callable[..., bool]]] = {
    "sum": ("{}.sum({}, {})", total, anywhere),
    "mean": ("{}.mean({}, {})", mean, anywhere),
    "var": ("{}.var({}, keepdims={})", variance, anywhere),
    "prod": ("{}.prod({}, {})", functools.partial(reduced, operator.mul), anywhere),
    "max": ("{}.max({}, {})", functools.partial(reduced, naive.largest), apart),
    "min": ("{}.min({}, {})", functools.partial(reduced, naive.smallest), apart),
    "logsumexp": (
        "tg.logsumexp({}, {}, {})",
        lambda x, axis, keepdims: of_each("log", total(of_each("exp", x), axis, keepdims)),
        anywhere,
    ),
    "norm": (
        "tg.norm({}, {}, {})",
        lambda x, axis, keepdims: of_each("sqrt", total(of_each("square", x), axis, keepdims)),
        lambda x, _: bool(np.all(np.abs(naive.values(x)) > GAP)),
    ),
}


def moves(draw: Callable[..., Any], shape: tuple[int, ...]) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """Draw an operation that moves, repeats or selects elements; return its text and the function of arrays."""
    axis = draw(st.integers(-len(shape), len(shape) - 1)) if shape else None
    wide = (2, *shape)
    anything = {
        "{}.reshape(-1)": lambda x: x.reshape(-1),
        f"{{}}.reshape({shape[::-1]})": lambda x: x.reshape(shape[::-1]),
        "{}.T": lambda x: x.T,
        "tg.expand_dims({}, 0)": lambda x: x[None],
        "tg.squeeze({})": np.squeeze,
        "tg.flip({})": np.flip,
        f"tg.broadcast_to({{}}, {wide})": lambda x: np.broadcast_to(x, wide),
        "{}[...]": lambda x: x[...],
        "{}[None]": lambda x: x[None],
        "{} + 0.0": lambda x: x,
    }
    along = {
        f"tg.flip({{}}, {axis})": lambda x: np.flip(x, axis),
        f"tg.cumsum({{}}, {axis})": lambda x: np.frompyfunc(operator.add, 2, 1).accumulate(x, axis),
        f"{{}}.swapaxes(0, {axis})": lambda x: x.swapaxes(0, axis),
        f"tg.softmax({{}}, {axis})": lambda x: softmax(x, axis),
        f"tg.sum_to({{}}, {shape[1:]})": lambda x: total(x, 0, False),
        "tg.pad({}, 1, constant_values=0.5)": lambda x: np.pad(x, 1, constant_values=0.5),
        "{}[::-1]": lambda x: x[::-1],
        "{}[0]": lambda x: x[0],
        "{}[-1:]": lambda x: x[-1:],
        "{}[..., -1]": lambda x: x[..., -1],
        "{}[[0, -1, 0]]": lambda x: x[[0, -1, 0]],
        f"{{}}[np.arange({shape[0] if shape else 0}) % 2 == 0]": lambda x: x[np.arange(shape[0]) % 2 == 0],
    }
    choices = anything | along if shape else anything
    text = draw(st.sampled_from(sorted(choices)))
    return text, choices[text]


class Programs(RuleBasedStateMachine):
    """A state machine that writes a program, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []
        self.known: list[Variable] = []
        self.names = 0
        self.space: dict[str, Any] = {}
        exec(HEADER, self.space)
        counts["programs"] += 1

    # -- running lines -----------------------------------------------------------------------------------------------

    def run(self, line: str, pure: str = "") -> None:
        """Add a line to the program, and run it; ``pure`` is the name that it assigns, if it has no other effect."""
        self.ask(line)
        self.lines.append((line, pure))

    def ask(self, line: str) -> None:
        """Run a line, and add it to the program only if it fails."""
        try:
            exec(line, self.space)
        except Exception as error:
            raise DisagreementError(self.program(line)) from error

    def program(self, last: str) -> str:
        """Return the program up to a last line, without unused assignments."""
        kept = [last]
        for line, pure in self.lines[::-1]:
            if not pure or any(re.search(rf"\b{pure}\b", other) for other in kept):
                kept.append(line)
        return HEADER + "\n".join(kept[::-1]) + "\n"

    def check(self, what: str, numbers: np.ndarray) -> None:
        counts["comparisons"] += 1
        self.ask(f"check({what}, {literal(naive.values(numbers))})")

    def name(self) -> str:
        self.names += 1
        return f"t{self.names - 1}"

    def pick(self, data: st.DataObject, where: Callable[[Variable], bool] = anywhere) -> Variable | None:
        """Draw one of the program's variables; the oldest is the simplest."""
        candidates = [v for v in self.known if where(v)]
        return data.draw(st.sampled_from(candidates)) if candidates else None

    @property
    def leaves(self) -> list[Variable]:
        return [v for v in self.known if v.origin is not None]

    def take(
        self, data: st.DataObject, text: str, compute: Callable[[], np.ndarray], operands: Sequence[Variable]
    ) -> None:
        """Add ``name = text``, if its values are of moderate size; sometimes under no_grad."""
        try:
            numbers = compute()
        except (OverflowError, ZeroDivisionError, ValueError):
            return
        if not 0 < numbers.size <= MOST or np.max(np.abs(naive.values(numbers))) > LARGEST:
            return
        name = self.name()
        inputs = {v for v in operands if v.recorded}
        if inputs and data.draw(st.sampled_from([False] * 9 + [True])):
            inputs = set()
            self.run(f"with tg.no_grad():\n    {name} = {text}\n", pure=name)
        else:
            self.run(f"{name} = {text}", pure=name)
        counts["operations"] += 1
        variable = Variable(name, naive.fresh(numbers) if inputs else naive.constants(numbers), inputs or None)
        self.known.append(variable)
        self.check(name, variable.numbers)
        self.ask(f"assert {name}.requires_grad is {variable.recorded}")

    # -- leaves and constants ----------------------------------------------------------------------------------------

    @initialize(data=st.data())
    def first_leaf(self, data):
        self.make(data, leaf=True)

    @rule(data=st.data(), leaf=st.booleans())
    def make(self, data, leaf):
        numbers = data.draw(npst.arrays(float, data.draw(st.sampled_from(SHAPES)), elements=eighths))
        name = self.name()
        self.run(f"{name} = tg.Tensor({literal(numbers)}{', requires_grad=True' * leaf})", pure=name)
        numbers = naive.variables(numbers) if leaf else naive.constants(numbers)
        self.known.append(Variable(name, numbers, set() if leaf else None, leaf=leaf))

    @rule(data=st.data())
    def detach(self, data):
        x = self.pick(data)
        name = self.name()
        self.run(f"{name} = {x.name}.detach()", pure=name)
        self.known.append(Variable(name, naive.constants(x.numbers), None))

    # -- operations --------------------------------------------------------------------------------------------------

    @rule(data=st.data(), function=st.sampled_from(FUNCTIONS))
    def of_one(self, data, function):
        x = self.pick(data)
        if np.all([DOMAINS.get(function, anywhere)(v) for v in naive.values(x.numbers).ravel()]):
            self.take(data, f"tg.{function}({x.name})", lambda: of_each(function, x.numbers), [x])

    @rule(
        data=st.data(),
        operation=st.sampled_from(sorted(BINARY)),
        other=st.sampled_from(["tensor", "tensor", "array", "number"]),
    )
    def of_two(self, data, operation, other):
        x = self.pick(data)
        if other == "tensor":
            y = self.pick(data, lambda y: _fit(x.shape, y.shape))
            operands = [(x.name, x.numbers), (y.name, y.numbers)]
        else:
            y = x
            shape = x.shape if other == "array" else ()
            numbers = data.draw(npst.arrays(float, shape, elements=eighths))
            text = f"np.array({literal(numbers)})" if other == "array" else literal(numbers)
            operands = [(x.name, x.numbers), (text, naive.constants(numbers))]
            if data.draw(st.booleans()):
                operands.reverse()
        text, meaning, smooth = BINARY[operation]
        (a, left), (b, right) = operands
        if np.all(each(lambda x, y: smooth(naive.value(x), naive.value(y)), left, right)):
            self.take(data, text.format(a, b), lambda: each(meaning, left, right), [x, y])

    @rule(data=st.data(), operation=st.sampled_from(sorted(REDUCTIONS)), keepdims=st.booleans())
    def reduce(self, data, operation, keepdims):
        x = self.pick(data)
        axis = data.draw(st.sampled_from([None, *range(len(x.shape))]))
        text, meaning, smooth = REDUCTIONS[operation]
        if smooth(x.numbers, axis):
            line = text.format(x.name, axis, keepdims)
            self.take(data, line, lambda: meaning(x.numbers, axis, keepdims), [x])

    @rule(data=st.data())
    def move(self, data):
        x = self.pick(data)
        text, meaning = moves(data.draw, x.shape)
        self.take(data, text.format(x.name), lambda: np.asarray(meaning(x.numbers), dtype=object), [x])

    @rule(data=st.data(), join=st.sampled_from(["concatenate", "stack"]))
    def join(self, data, join):
        x = self.pick(data, lambda x: x.shape != ())
        if x is not None:
            y = self.pick(data, lambda y: y.shape == x.shape)
            function = getattr(np, join)
            self.take(data, f"tg.{join}([{x.name}, {y.name}])", lambda: function([x.numbers, y.numbers]), [x, y])

    @rule(data=st.data())
    def multiply_matrices(self, data):
        x = self.pick(data, lambda x: x.shape != ())
        y = x and self.pick(data, lambda y: len(y.shape) in (1, 2) and x.shape[-1] == y.shape[0])
        if y is None:
            return
        text = f"{x.name} @ {y.name}"
        if len(x.shape) == len(y.shape) == 2 and data.draw(st.booleans()):
            text = f'tg.einsum("ij,jk->ik", {x.name}, {y.name})'
        self.take(data, text, lambda: np.asarray(np.matmul(x.numbers, y.numbers), dtype=object), [x, y])

    @rule(data=st.data(), index=st.sampled_from(["0", "-1", "...", "slice(1)", "[0, 0]"]))
    def update(self, data, index):
        x = self.pick(data, lambda x: x.shape != ())
        if x is None:
            return
        at = eval(index)
        part = x.numbers[at]
        value = self.pick(data, lambda v: _fit(v.shape, np.shape(part), exactly=np.shape(part)))
        if value is None:
            return

        def updated():
            out = x.numbers.copy()
            out[at] = value.numbers if value.shape else value.numbers[()]
            return out

        self.take(data, f"tg.index_update({x.name}, {index}, {value.name})", updated, [x, value])

    @rule(data=st.data())
    def choose(self, data):
        x = self.pick(data)
        y = self.pick(data, lambda y: y.shape == x.shape)
        if np.all(np.abs(naive.values(x.numbers)) > GAP):
            self.take(
                data,
                f"tg.where({x.name} > 0, {x.name}, {y.name})",
                lambda: each(lambda x, y: x if naive.value(x) > 0 else y, x.numbers, y.numbers),
                [x, y],
            )

    # -- changing leaves ---------------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        how=st.sampled_from(["{}.data = {}", "{}.overwrite(lambda array: array.__setitem__(..., {}))"]),
    )
    def assign_other_numbers(self, data, how):
        leaf = self.pick(data, lambda v: v.origin is not None)
        numbers = data.draw(npst.arrays(float, leaf.shape, elements=eighths))
        self.run(how.format(leaf.name, literal(numbers)))
        leaf.numbers = each(lambda o, new: o + (new - o.value), leaf.origin, numbers.astype(object))
        for variable in self.known:  # no other variable changes
            self.check(variable.name, variable.numbers)

    @rule(data=st.data())
    def copy_by_pickle(self, data):
        leaf = self.pick(data, lambda v: v.origin is not None and not self.has_recorded_gradient(v))
        if leaf is None:
            return
        name = self.name()
        self.run(f"{name} = pickle.loads(pickle.dumps({leaf.name}))", pure=name)
        twin = Variable(name, naive.variables(naive.values(leaf.numbers)), set(), leaf=True)
        twin.grad = leaf.grad
        self.known.append(twin)
        self.check(name, twin.numbers)
        self.check_gradients_of_leaves()

    def has_recorded_gradient(self, leaf: Variable) -> bool:
        gradient = self.space[leaf.name].grad
        return gradient is not None and gradient.requires_grad

    @rule(data=st.data())
    def clear(self, data):
        leaf = self.pick(data, lambda v: v.grad is not None)
        if leaf is not None:
            self.run(f"{leaf.name}.grad = None")
            leaf.grad, leaf.depends = None, set()

    # -- differentiation ---------------------------------------------------------------------------------------------

    def differentiated(
        self, data: st.DataObject, out: Variable, wrt: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], str, Variable] | None:
        """Draw an initial cotangent; return the derivatives, the options' text, and a variable for the pass itself."""
        like = self.pick(data, lambda v: v.shape == out.shape) if data.draw(st.booleans()) else None
        options = []
        if like is not None:
            cotangents = like.numbers
            options.append(f"gradient={like.name}")
        elif out.numbers.size == 1 and data.draw(st.booleans()):
            cotangents = np.full(out.shape, 1.0, dtype=object)
        else:
            numbers = data.draw(npst.arrays(float, out.shape, elements=eighths))
            cotangents = naive.constants(numbers)
            options.append(f"gradient={literal(numbers)}")
        derivatives = [naive.gradient(out.numbers, cotangents, x) for x in wrt]
        if any(np.max(np.abs(naive.values(derivative))) > 1e6 for derivative in derivatives):
            return None
        for x, derivative in zip(wrt, derivatives, strict=True):
            self.check_against_differences(out.numbers, naive.values(cotangents), x, naive.values(derivative))
        this_pass = Variable("a pass", out.numbers, {v for v in (out, like) if v and v.recorded})
        this_pass.order += 1
        return derivatives, "".join(f", {option}" for option in options), this_pass

    def check_against_differences(
        self, out: np.ndarray, cotangents: np.ndarray, wrt: np.ndarray, derivative: np.ndarray
    ) -> None:
        """Compare the naive engine's derivative with a centred difference along a random direction."""
        direction = np.random.default_rng(len(self.lines)).uniform(-1, 1, wrt.size)
        h = 1e-6

        def moved(by: float) -> float:
            places = {x: x.value + by * d for x, d in zip(wrt.ravel(), direction, strict=True)}
            return float(np.sum(cotangents * naive.recompute(out, places)))

        slope = (moved(h) - moved(-h)) / (2 * h)
        size = 1 + float(np.sum(np.abs(derivative))) + float(np.sum(np.abs(cotangents * naive.values(out))))
        error = abs(slope - float(np.sum(derivative.ravel() * direction)))
        if not error <= 1e-6 * size:
            raise RuntimeError(f"the naive engine is wrong by {error}:\n{self.program('')}")
        counts["derivatives compared with differences"] += 1

    def run_backward(self, call: str, result: str, this_pass: Variable, *, keep: bool) -> bool:
        """Run a backward pass, which may raise if a part of the graph was freed; return whether it ran."""
        behind = this_pass.ancestors() - {this_pass}
        risky = any(v.is_freed for v in behind)
        if risky:
            done = self.name()
            self.run(f"{done}, result = unless_freed(lambda: {call})")
            if self.space[done] and result:
                self.run(f"{result} = result")
            if not self.space[done]:
                counts["passes rejected: graph freed"] += 1
        else:
            self.run(f"{result} = {call}" if result else call)
        made = not risky or self.space[done]
        if not keep or not made:
            for v in behind:
                v.is_freed = v.origin is None
        return made

    def recorded_or_constant(self, name: str, numbers: np.ndarray, depends: set[Variable], *, may: bool) -> Variable:
        """Return the variable of a gradient, which is recorded only if it depends on a recorded variable."""
        if self.space[name].requires_grad:
            self.ask(f"assert {name}.requires_grad is {may}")
            variable = Variable(name, naive.fresh(numbers), depends)
            variable.is_gradient = True
            return variable
        if may:
            weights = np.arange(1.0, 1 + numbers.size).reshape(numbers.shape).astype(object)
            slopes = [naive.gradient(numbers, weights, leaf.origin) for leaf in self.leaves]
            if any(np.any(np.abs(naive.values(slope)) > 1e-9) for slope in slopes):
                self.ask(f"assert {name}.requires_grad")
        return Variable(name, naive.constants(numbers), None)

    def result(self, data: st.DataObject, which: str) -> Variable | None:
        """Draw the result to differentiate: the latest, any, or any that was computed from a gradient."""
        if which == "latest":
            return next((v for v in reversed(self.known) if v.recorded), None)
        from_gradient = self.pick(data, lambda v: v.recorded and v.order > 0) if which == "again" else None
        return from_gradient or self.pick(data, lambda v: v.recorded)

    @staticmethod
    def may_be_target(v: Variable, out: Variable | None) -> bool:
        """Return whether the derivative with respect to ``v`` is unique.

        A gradient may depend on intermediate results in more than one form (on x, or on exp(x)), and two gradients may
        be one tensor; derivatives with respect to those depend on the form.
        """
        return v.recorded and not v.is_gradient and (v.origin is not None or (out is not None and out.order == 0))

    @rule(data=st.data(), count=st.sampled_from([1, 1, 2]), create_graph=st.booleans(), which=WHICH)
    def grad(self, data, count, create_graph, which):
        out = self.result(data, which)
        targets = [self.pick(data, lambda v: self.may_be_target(v, out)) for _ in range(count)]
        if out is None or None in targets or (create_graph and naive.count(out.numbers) > 400):
            return
        retain = data.draw(st.sampled_from([None, True, False])) if not create_graph else None
        origins = [v.numbers if v.origin is None else v.origin for v in targets]
        found = self.differentiated(data, out, origins)
        if found is None:
            return
        derivatives, options, this_pass = found
        options += f", retain_graph={retain}" * (retain is not None) + ", create_graph=True" * create_graph
        names = [self.name() for _ in targets]
        wrt = targets[0].name if count == 1 else f"({', '.join(v.name for v in targets)})"
        call = f"tg.grad({out.name}, {wrt}{options})"
        if not self.run_backward(call, ", ".join(names), this_pass, keep=create_graph or bool(retain)):
            return
        for name, numbers in zip(names, derivatives, strict=True):
            self.check(name, numbers)
            counts["gradients"] += 1
            counts["gradients of order 2 and more"] += this_pass.order > 1
            self.known.append(self.recorded_or_constant(name, numbers, {this_pass}, may=create_graph))

    @rule(data=st.data(), create_graph=st.booleans(), retain=st.booleans(), which=WHICH)
    def backward(self, data, create_graph, retain, which):
        out = self.result(data, which)
        if out is None or (create_graph and naive.count(out.numbers) > 400):
            return
        leaves = self.leaves
        found = self.differentiated(data, out, [leaf.origin for leaf in leaves])
        if found is None:
            return
        derivatives, options, this_pass = found
        options += ", create_graph=True" if create_graph else ", retain_graph=True" if retain else ""
        if not self.run_backward(f"{out.name}.backward({options[2:]})", "", this_pass, keep=create_graph or retain):
            return
        for leaf, derivative in zip(leaves, derivatives, strict=True):
            if leaf in out.ancestors():
                new = derivative if create_graph else naive.constants(derivative)
                leaf.grad = new if leaf.grad is None else each(lambda x, y: x + y, leaf.grad, new)
                leaf.depends |= {this_pass} if create_graph else set()
        counts["backward passes"] += 1
        counts["gradients"] += len(leaves)
        counts["gradients of order 2 and more"] += len(leaves) * (this_pass.order > 1)
        self.check_gradients_of_leaves()

    def check_gradients_of_leaves(self) -> None:
        for leaf in self.leaves:
            nothing = np.zeros(leaf.shape, dtype=object)
            self.check(f"{leaf.name}.grad", nothing if leaf.grad is None else leaf.grad)

    @rule(data=st.data())
    def use_gradient_of_a_leaf(self, data):
        leaf = self.pick(data, lambda v: v.origin is not None and self.space[v.name].grad is not None)
        if leaf is not None:
            name = self.name()
            self.run(f"{name} = {leaf.name}.grad", pure=name)
            self.known.append(self.recorded_or_constant(name, leaf.grad, leaf.depends, may=True))


def _fit(*shapes: tuple[int, ...], exactly: tuple[int, ...] | None = None) -> bool:
    """Return whether shapes broadcast (if ``exactly`` is given, to that shape)."""
    try:
        return np.broadcast_shapes(*shapes) == exactly or exactly is None
    except ValueError:
        return False
