"""``python -m tinygrad_cifar.testing FILE``: see :mod:`tinygrad_cifar.testing.fault_score`."""

import sys

from tinygrad_cifar.testing.fault_score import main

if __name__ == "__main__":
    sys.exit(main())
