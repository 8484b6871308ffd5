"""``python -m tinygrad_cifar``: the command line, as ``tinygrad-cifar``."""

import sys

from tinygrad_cifar_start import start

if __name__ == "__main__":
    sys.exit(start())
