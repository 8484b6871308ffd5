"""``python -m tests.evidence``: measure the evidence and write docs/trust.md; see :mod:`tests.evidence.measure`."""

import sys

from tests.evidence.measure import main

if __name__ == "__main__":
    sys.exit(main())
