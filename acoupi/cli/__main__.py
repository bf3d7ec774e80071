"""``python -m acoupi.cli``: the same as ``acoupi``."""

from __future__ import annotations

import sys

from acoupi.cli import main

if __name__ == "__main__":
    sys.exit(main())
