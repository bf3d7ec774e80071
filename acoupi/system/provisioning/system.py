"""What the operating system takes from the state directory: it is written here only.

``hostname``, ``timezone``, ``country``, ``authorized_keys`` (each absent when there is
nothing to say) and ``connections/``, NetworkManager's keyfiles.
"""

from __future__ import annotations

from pathlib import Path

from acoupi.system.files import sync_directory, write_durably
from acoupi.system.provisioning import connections
from acoupi.system.provisioning.wishes import Wishes

__all__ = ["write_system_files"]


def write_system_files(
    directory: Path, wishes: Wishes, hotspot_name: str, hotspot_password: str
) -> None:
    """Write the files, replacing only those that differ.

    Parameters
    ----------
    directory : Path
        Directory to write to; made when absent.
    wishes : Wishes
        What is wanted.
    hotspot_name, hotspot_password : str
        The sensor's own network.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    device = wishes.device
    keys = "".join(f"{key}\n" for key in device.ssh_key)
    _write_all(
        directory,
        {
            "hostname": f"{device.name}\n" if device.name else "",
            "timezone": f"{device.timezone}\n" if device.timezone else "",
            "country": f"{device.country}\n" if device.country else "",
            "authorized_keys": keys,
        },
    )
    files = connections.networks(wishes.networks)
    if wishes.hotspot.enabled:
        files[connections.HOTSPOT_FILE] = connections.hotspot(
            hotspot_name, hotspot_password
        )
    below = directory / "connections"
    below.mkdir(mode=0o700, exist_ok=True)
    stale = {path.name for path in below.iterdir()} - set(files)
    _write_all(below, {**dict.fromkeys(sorted(stale), ""), **files})


def _write_all(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    for name, text in files.items():
        path = directory / name
        present = path.read_bytes() if path.exists() else b""
        if not text:
            path.unlink(missing_ok=True)
        elif present != text.encode():
            write_durably(path, text.encode(), 0o600)
    sync_directory(directory)
