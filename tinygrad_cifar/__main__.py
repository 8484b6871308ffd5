"""``tinygrad-cifar``, also as ``python -m tinygrad_cifar``: the command line in a process of its own.

The process is ours, so before it computes it may start itself again with the BLAS kernel that suits the processor.
"""

import os
import sys

_COMPUTE = {"train", "evaluate", "check", "search", "reproduce"}


def start() -> int:
    """Run the command line, in the better environment if the command computes."""
    if sys.stdout is None:  # closed by whoever started us: what is printed goes nowhere
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (as long as the process)
    try:
        from tinygrad_cifar.cli import main  # noqa: PLC0415
        from tinygrad_cifar.system import blas as machine  # noqa: PLC0415 (Ctrl-C during the imports is an answer, too)
    except KeyboardInterrupt:
        return 130
    if sys.argv[1:] and sys.argv[1] in _COMPUTE and not {"-h", "--help"} & set(sys.argv):
        machine.relaunch(["-m", "tinygrad_cifar", *sys.argv[1:]])
    return main()


if __name__ == "__main__":
    sys.exit(start())
