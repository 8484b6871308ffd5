"""``python -m tests.evidence``: run all measurements and generate docs/trust.md; see :mod:`tests.evidence.measure`."""

import sys

from tests.evidence.measure import main

if __name__ == "__main__":
    sys.exit(main())
