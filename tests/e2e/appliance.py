"""What makes an appliance of a machine of the tests, beside the module's services."""

from __future__ import annotations

from pathlib import Path

HOME = "/data/acoupi"

MODULES = '[ { fileSystems."/boot/firmware" = { }; } ]'
"""What its system has beside the appliance's own modules, in Nix."""

# A radio, and never a network.
NO_NETWORK = """\
#!/bin/sh
echo "nmcli $*" >&2
[ "$1" != -t ] || echo wifi:disconnected:
"""


def add_command(top: Path, name: str, text: str) -> None:
    """Put a script where a layer has its commands."""
    path = top / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
