"""``python -m tinygrad_cifar`` is the command ``tinygrad-cifar``."""

import sys

from tinygrad_cifar.cli import main

if __name__ == "__main__":
    sys.exit(main())
