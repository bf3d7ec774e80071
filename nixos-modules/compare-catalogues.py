# ruff: noqa: INP001 - a script of a build, in a folder of Nix modules
"""Check that a catalogue says of programs what they say themselves now.

``compare-catalogues.py KEPT NOW``, both written by ``acoupi catalogue``: each program
of NOW must be in KEPT as it is now, or the units would be those of another version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def differences(kept: dict[str, object], now: dict[str, object]) -> list[str]:
    """Return the names of the parts of a program's entry that differ, sorted."""
    keys = sorted({*kept, *now})
    return [key for key in keys if kept.get(key) != now.get(key)]


def main(kept_file: str, now_file: str) -> int:
    """Compare two catalogues; 1 when they disagree."""
    kept = json.loads(Path(kept_file).read_text(encoding="utf-8"))
    now = json.loads(Path(now_file).read_text(encoding="utf-8"))
    code = 0
    for module, program in now["programs"].items():
        found = differences(kept["programs"].get(module, {}), program)
        if found:
            print(  # noqa: T201 - what the build shows
                f"services.acoupi: the catalogue of {module} is out of date "
                f"({', '.join(found)}): make it anew with "
                f"`acoupi catalogue {module} > FILE`",
                file=sys.stderr,
            )
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
