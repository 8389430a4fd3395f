"""`python -m balustrade` is `balustrade`."""

from __future__ import annotations

import sys

from balustrade.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
