"""A user's program with mistakes: type checkers must report every line that is marked, and no other."""

import tinygrad_cifar as tg
from tinygrad_cifar import nn, optim

x = tg.Tensor([1.0])
tg.relux(x)  # error
nn.Liner(3)  # error
nn.Linear(3)  # error
nn.Linear(3, 2, rngs=0)  # error
optim.Adam([x], lr=0.1)  # error
tg.optimiser  # error
x.summ()  # error
tg.sum(x, axes=0)  # error
x.sum(axes=0)  # error
tg.relu(x, 1)  # error
tg.add(x)  # error
count: int = tg.relu(x)  # error
fine: tg.Tensor = tg.relu(x)
tg.doctor.diagnose(tg.sum)  # error
tg.doctor.diagnose(3, [1.0])  # error
tg.doctor.diagnose(tg.sum, [x], [x], wrt=1)  # error
tg.doctor.diagnose(tg.sum, [x], [x], None)  # error
tg.doctor.diagnose(tg.sum, [x], [x]).sentence  # error
