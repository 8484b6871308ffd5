"""``tinygrad-cifar``, also as ``python -m tinygrad_cifar``: the command line in a process of its own.

The process is ours, so before it computes it may start itself again with the BLAS kernel that suits the processor.
"""

import sys

from tinygrad_cifar import machine
from tinygrad_cifar.cli import main

_COMPUTE = {"train", "evaluate", "check", "reproduce"}


def start() -> int:
    """Run the command line, in the better environment if the command computes."""
    if sys.argv[1:] and sys.argv[1] in _COMPUTE and not {"-h", "--help"} & set(sys.argv):
        machine.relaunch(["-m", "tinygrad_cifar", *sys.argv[1:]])
        print(machine.runtime(), flush=True)  # noqa: T201 (the command line's first line)
    return main()


if __name__ == "__main__":
    sys.exit(start())
