"""A user's program that passes mypy --strict and pyright: every line states the type that it must have."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import tinygrad_cifar as tg
from tinygrad_cifar import doctor, gradcheck, models, nn, optim, schedules, training
from tinygrad_cifar import functional as F

Array = NDArray[Any]


def loss(x: tg.Tensor) -> tg.Tensor:
    return tg.relu(x @ x + 1.0).sum()


class Net(models.Classifier):
    def __init__(self) -> None:
        self.hidden = nn.Linear(2, 4, rng=np.random.default_rng(0))
        self.last = nn.Linear(4, 2, rng=np.random.default_rng(1))

    def forward(self, X: tg.Tensor) -> tg.Tensor:
        return self.last(tg.relu(self.hidden(X)))


class Encoder(nn.Module):
    """A module with several arguments and results."""

    def __init__(self) -> None:
        self.mean, self.deviation = nn.Linear(2, 3, rng=0), nn.Linear(2, 3, rng=1)

    def forward(self, X: tg.Tensor, factor: float = 1.0) -> tuple[tg.Tensor, tg.Tensor]:
        return self.mean(X) * factor, self.deviation(X)


t = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
a: Array = np.ones((2, 2))

# Operations: a tensor for a tensor, an array for an array.
assert_type(tg.relu(t), tg.Tensor)
assert_type(tg.relu(a), Array)
assert_type(tg.relu([1.0, 2.0]), Array)
assert_type(tg.add(t, 1.0), tg.Tensor)
assert_type(tg.add(a, t), tg.Tensor)
assert_type(tg.add(a, a), Array)
assert_type(tg.sum(t, axis=0, keepdims=True), tg.Tensor)
assert_type(tg.sum(a, axis=(0, 1)), Array)
assert_type(tg.reshape(t, (4,)), tg.Tensor)
assert_type(tg.concatenate([t, t]), tg.Tensor)
assert_type(tg.concatenate([a, a], axis=1), Array)
assert_type(tg.where(t > 0, t, 0.0), tg.Tensor)
assert_type(tg.matmul(t, a), tg.Tensor)
assert_type(tg.dot(a, t), tg.Tensor)
assert_type(tg.quantile(t, 0.5, axis=0), tg.Tensor)
assert_type(tg.vstack([t, t]), tg.Tensor)
assert_type(tg.einsum("ij->i", t), tg.Tensor)
assert_type(tg.solve(t, t), tg.Tensor)
assert_type(tg.det(t), tg.Tensor)
assert_type(tg.inv(np.eye(2)), Array)
assert_type(F.softmax(t), tg.Tensor)
assert_type(F.cross_entropy(t, [0, 1]), tg.Tensor)
assert_type(F.accuracy(t, [0, 1]), float)

# Methods and operators.
assert_type(t.sum(), tg.Tensor)
assert_type(t.sum(axis=0, keepdims=True), tg.Tensor)
assert_type(t.reshape(4), tg.Tensor)
assert_type(t.T, tg.Tensor)
assert_type(t + t, tg.Tensor)
assert_type(1.0 + t, tg.Tensor)
assert_type(t @ a, tg.Tensor)
assert_type(np.ones((2, 2)) @ t, tg.Tensor)
assert_type(-t, tg.Tensor)
assert_type(t[:, 0], tg.Tensor)
assert_type(t**2, tg.Tensor)
assert_type(t % 2, tg.Tensor)
assert_type(t.exp(), tg.Tensor)
assert_type(t.std(axis=0, keepdims=True), tg.Tensor)
assert_type(t.take([0, 1], axis=0), tg.Tensor)
assert_type(t[0, 0].item(), float)

# Derivatives.
assert_type(tg.grad(loss(t), t), tg.Tensor)
assert_type(tg.grad(loss(t), [t, t]), tuple[tg.Tensor, ...])
assert_type(tg.hessian(loss, t), tg.Tensor)
cube = tg.primitive("cube_of_a_typed_program", lambda x: x**3, x=lambda g, x: 3 * g * x**2)
assert_type(cube(t), tg.Tensor)

# The recorded graph.
with tg.trace_graph(values=True):
    recorded = loss(t)
view = tg.graph(recorded, cotangents=True)
assert_type(view["t"].name, str)
assert_type(view.cotangents(override={view.result.edges[0]: lambda g, edge: 2 * edge.vjp(g)})[view.result], Array)
for node in view:
    assert_type(node.is_freed, bool)
with tg.profile() as profiled:
    handle = t.register_hook(lambda g: 2 * g)
    handle.remove()
assert_type(profiled.seconds, float)

# Models and training.
net = Net()
assert_type(net(t), tg.Tensor)
assert_type(net.loss(t, [0, 1]), tg.Tensor)
optimiser = optim.SGD(net.parameters(), eta=0.1)
history = training.fit(net, optimiser, (a, np.array([0, 1])), epochs=1, batch_size=1)
assert_type(history.rows[-1].train_accuracy, float)
assert_type(gradcheck.check_model(net, a, [0, 1]).passed, bool)
assert_type(gradcheck.check_model(net, a, [0, 1]).parameters[0].unjudged, int)
assert_type(gradcheck.extrapolated_gradient(np.sin, a, cotangent=a).error, Array)

# Any module, with a loss and metrics; the calls with given parameters; files.
regression = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, rng=0), nn.Tanh(), tg.relu, nn.Linear(3, 1))
training.fit(
    regression,
    optim.Adam(regression.parameters()),
    lambda _: [(a, np.zeros((2, 1)))],
    (a, np.zeros((2, 1))),
    epochs=1,
    steps_per_epoch=1,
    loss=F.mse,
    metrics={"worst": lambda outputs, targets: float(abs(outputs - targets).max())},
)
assert_type(regression.with_parameters(regression.unravel(regression.ravel())), nn.Sequential)
assert_type(nn.Linear(2, 3).weights(), list[tg.Tensor])
assert_type(F.binary_cross_entropy(t, [0, 1]), tg.Tensor)


# Groups of parameters, several optimisers as one, averages, clipping.
groups = [{"parameters": regression.weights(), "weight_decay": 1e-4}, {"parameters": net.parameters(), "eta": 0.2}]
adam = optim.AdamW(groups, schedules.Cosine(0.1, 0.0, 100))
both = optim.MovingAverage(optim.Combined(adam, optim.Muon([tg.Tensor(a, requires_grad=True)])), 0.99)
assert_type(both.penalty(), float)
assert_type(adam.beta1, float)
assert_type(optim.clip_grad_norm(net.parameters(), 1.0), float)
with both.averaged():
    assert_type(both.eta, float)


def apply(function: Callable[[tg.Tensor], tg.Tensor], x: tg.Tensor) -> tg.Tensor:
    return function(x)


apply(tg.tanh, t)
apply(tg.sum, t)

# The gradient doctor: gradients as a function, or as arrays; the cost as a function, or a model.
report = doctor.diagnose(loss, lambda x: 2 * x, {"x": t}, wrt="x", time_limit=5.0, seed=1)
assert_type(report, doctor.Report)
assert_type(tg.doctor.diagnose(loss, [a], [t]), doctor.Report)
guesses = {name: np.zeros(parameter.shape) for name, parameter in Net().named_parameters()}
assert_type(doctor.diagnose(Net(), guesses, [a, np.array([0, 1])]), doctor.Report)
assert_type(report.status, str)
assert_type(report.is_right, bool)
assert_type(report.sentences, tuple[str, ...])
assert_type(report.rows, tuple[doctor.Row, ...])
assert_type(report.mistakes, tuple[doctor.Mistake, ...])
assert_type(report.rows[0].shape, tuple[int, ...])
assert_type(report.rows[0].error, float)
for mistake in report.mistakes:
    assert_type(mistake.sentence, str)
    assert_type(mistake.parameters, tuple[str, ...])
    assert_type(mistake.line, int)
assert_type(report.table(), str)
refused: type[ValueError] = doctor.DiagnosisError
