"""``python -m tests.evidence.referee``: see :mod:`tests.evidence.referee.table`."""

import sys

from tests.evidence.referee.table import main

if __name__ == "__main__":
    sys.exit(main())
