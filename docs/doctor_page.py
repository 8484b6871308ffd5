"""The page doctor.md: ten wrong gradients, what a comparison says of each, and what the doctor says.

``python -m docs.doctor_page`` writes it again, after a change of the doctor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from tinygrad_cifar import Tensor

PAGE = Path(__file__).with_name("doctor.md")

COST = """\
def cost(X, Y, W1, b1, W2, b2, lam):
    H = tg.relu(W1 @ X + b1)
    S = W2 @ H + b2
    P = tg.softmax(S, axis=0)
    loss = -tg.sum(Y * tg.log(P)) / X.shape[1]
    return loss + lam * (tg.sum(W1**2) + tg.sum(W2**2))
"""
GRADIENTS = """\
def gradients(X, Y, W1, b1, W2, b2, lam):
    N = X.shape[1]
    A = W1 @ X + b1
    H = np.maximum(A, 0)
    S = W2 @ H + b2
    P = np.exp(S) / np.exp(S).sum(axis=0)
    G = (P - Y) / N
    dW2 = G @ H.T + 2 * lam * W2
    db2 = G.sum(axis=1, keepdims=True)
    G = W2.T @ G
    G = G * (A > 0)
    dW1 = G @ X.T + 2 * lam * W1
    db1 = G.sum(axis=1, keepdims=True)
    return dW1, db1, dW2, db2
"""
MISTAKES = (
    ("G = (P - Y) / N", "G = P - Y"),
    ("G = (P - Y) / N", "G = (Y - P) / N"),
    ("G = (P - Y) / N", "G = Y * (P - 1) / N"),
    ("dW2 = G @ H.T + 2 * lam * W2", "dW2 = G @ H.T + lam * W2"),
    ("dW2 = G @ H.T + 2 * lam * W2", "dW2 = G @ H.T + 2 * lam * W2 / N"),
    ("dW2 = G @ H.T + 2 * lam * W2", "dW2 = G @ A.T + 2 * lam * W2"),
    ("db2 = G.sum(axis=1, keepdims=True)", "db2 = G.mean(axis=1, keepdims=True)"),
    ("G = G * (A > 0)", "G = G"),
    ("G = G * (A > 0)", "G = G * (1 - H**2)"),
    ("G = W2.T @ G", "G = (W2 - 0.1 * dW2).T @ G"),
)
_START = """\
# Ten wrong gradients

A comparison with numerical gradients says that a gradient is wrong. The [gradient doctor](reference/doctor.md) says
what is wrong in it. It knows the right cost, changes one step of the backward pass at a time, as common mistakes do,
and states a mistake only if the change reproduces the given gradients. If they are given as a function, it must also
reproduce them on other problems, of other sizes where the functions accept them; the report says how a mistake was
confirmed. Otherwise the answer is that the mistake is not known, and what is known.

The examples are gradients of a network of two layers, with one image per column as in the course:

```python
import numpy as np
import tinygrad_cifar as tg


{cost}```

The right gradients:

```python
{gradients}```

`tg.doctor.diagnose` takes the cost, the gradients as a function or as arrays, and a problem:

```python
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(5, 7)), np.eye(3)[:, [0, 1, 2, 1, 0, 2, 2]]
W1, b1 = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))
W2, b2 = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
report = tg.doctor.diagnose(cost, gradients, X=X, Y=Y, W1=W1, b1=b1, W2=W2, b2=b2, lam=0.1)
print(report)
```

`tinygrad-cifar doctor FILE.py` does the same with the function in a student's file. `tinygrad-cifar doctor --help`
lists the signatures; images may be columns or rows. The command executes the imports, definitions and assignments of
the file with your rights, so run files that you do not trust in a container. The exit status is 0 if the gradients are
right, 1 if they are not, and 2 if the file cannot be diagnosed, so a loop in a shell can check all files of a class.
"""

_MEASURED = """\
## How often it is right

726 mistakes of the kinds that people make were injected into 19 programs that were written by an author who had not
read the doctor's code, and that had not been used to develop it: softmax regression, support vector machines, networks
of two and more layers with and without batch normalisation and dropout, and networks with filters on patches, each with
drawn sizes, names, layouts and precisions. The doctor was run on them once. The first sentence named 702 of them right
(96.7 %); of 12 it said that the mistake was not known, 12 were named wrong, and none was called right. The 152 right
gradients, half of them in float32, raised no false alarm, and the 57 gradients with an error that follows no rule were
all "not known". Of 57 pairs of mistakes, the first sentence named one in 52, and both were named in 48. The longest
answer took 1.7 s of processor time.

Mistakes of other kinds are more often "not known": then the table still says which parameters are right, and from which
layer on they are wrong. In a clone of the repository, with the extra `test`,
`python -m tests.evidence.hand_derived --set held-out` asks the doctor about the 726 again, as it is now.
"""


def problem() -> dict[str, Any]:
    """Return the arguments of the cost."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(5, 7)), np.eye(3)[:, [0, 1, 2, 1, 0, 2, 2]]
    W1, b1 = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))
    W2, b2 = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
    return {"X": X, "Y": Y, "W1": W1, "b1": b1, "W2": W2, "b2": b2, "lam": 0.1}


def define(source: str, name: str) -> Any:
    """Return a function from its source text."""
    namespace: dict[str, Any] = {"np": np, "tg": tg}
    exec(compile(source, f"<{name}>", "exec"), namespace)  # noqa: S102 (the text above)
    return namespace[name]


def compare(gradients: Any) -> str:
    """Return what a comparison element by element says."""
    arguments = problem()
    names = ("W1", "b1", "W2", "b2")
    tensors = {name: Tensor(arguments[name], requires_grad=True) for name in names}
    right = tg.grad(define(COST, "cost")(**{**arguments, **tensors}), list(tensors.values()))
    wrong = []
    for name, given, g in zip(names, gradients(**arguments), right, strict=True):
        count = int(np.count_nonzero(~np.isclose(given, g.data, rtol=1e-6)))
        if count:
            wrong.append(f"{name} is wrong in {count} of {g.data.size} elements")
    return ", ".join(wrong)


def build() -> str:
    """Return the text of the page."""
    parts = [_START.format(cost=COST, gradients=GRADIENTS)]
    for k, (right, wrong) in enumerate(MISTAKES, 1):
        assert GRADIENTS.count(right) == 1
        gradients = define(GRADIENTS.replace(right, wrong), "gradients")
        report = tg.doctor.diagnose(define(COST, "cost"), gradients, problem())
        (mistake,) = report.mistakes
        said = [mistake.sentence]
        if mistake.right:
            said.append(f"Right: `{mistake.right}`; yours: `{mistake.yours}`.")
        parts.append(
            f"## {k}. `{wrong}`\n\nfor `{right}`.\n\n"
            f"- A comparison: {compare(gradients)}.\n"
            f"- The doctor: {' '.join(said)}\n"
        )
    return "\n".join([*parts, _MEASURED])


if __name__ == "__main__":
    PAGE.write_text(build())
