"""``tinygrad-cifar``, also as ``python -m tinygrad_cifar``: the command line in a separate process.

Before a command computes, the process may restart itself with the BLAS kernel that suits the processor.
"""

import os
import sys

_COMPUTE = {"train", "evaluate", "check", "search", "reproduce"}


def start() -> int:
    """Run the command line, in the recommended environment if the command computes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the stream is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (until the process ends)
    try:  # Ctrl-C during the imports ends the command as well
        from tinygrad_cifar.cli import main  # noqa: PLC0415
        from tinygrad_cifar.system import blas  # noqa: PLC0415
    except KeyboardInterrupt:
        return 130
    if sys.argv[1:] and sys.argv[1] in _COMPUTE and not {"-h", "--help"} & set(sys.argv):
        blas.relaunch(["-m", "tinygrad_cifar", *sys.argv[1:]])
    return main()


if __name__ == "__main__":
    sys.exit(start())
