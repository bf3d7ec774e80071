"""The services of the NixOS module as unit files, on Debian.

What the module says is evaluated by Nix without nixpkgs (``tests/nixos/stand-in``), and
written as NixOS writes it, with Debian's programs in the place of the packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import layers
from machine import scratch_directory

STAND_IN = Path(__file__).parents[1] / "nixos" / "stand-in" / "system.nix"

USER = "acoupi"

REDIS_UNIT = {
    "description": "Redis Server - redis-acoupi",
    "wantedBy": ["multi-user.target"],
    "after": ["network.target"],
    "serviceConfig": {
        "Type": "notify",
        "ExecStart": "/usr/bin/redis-server /etc/redis-acoupi.conf",
        "User": "redis-acoupi",
        "Group": "redis-acoupi",
        "RuntimeDirectory": "redis-acoupi",
        "RuntimeDirectoryMode": "0750",
        "StateDirectory": "redis-acoupi",
        "StateDirectoryMode": "0700",
        "UMask": "0077",
        "CapabilityBoundingSet": "",
        "NoNewPrivileges": True,
        "ProtectSystem": "strict",
        "ProtectHome": True,
        "PrivateTmp": True,
        "PrivateDevices": True,
        "PrivateUsers": True,
        "ProtectClock": True,
        "ProtectHostname": True,
        "ProtectKernelLogs": True,
        "ProtectKernelModules": True,
        "ProtectKernelTunables": True,
        "ProtectControlGroups": True,
        "RestrictNamespaces": True,
        "LockPersonality": True,
        "MemoryDenyWriteExecute": True,
        "RestrictRealtime": True,
        "RestrictSUIDSGID": True,
        "PrivateMounts": True,
        "SystemCallArchitectures": "native",
        "SystemCallFilter": "~@cpu-emulation @debug @keyring @memlock @mount @obsolete"
        " @privileged @resources @setuid",
    },
}
"""What NixOS' own module makes of a Redis server; ours adds to it."""

ORDERING = {
    "after": "After",
    "before": "Before",
    "conflicts": "Conflicts",
    "partOf": "PartOf",
    "requires": "Requires",
    "wants": "Wants",
}
DEFAULT_PATH = "/usr/bin:/usr/sbin"


def missing() -> str | None:
    """Return why nothing can be evaluated here, None when it can."""
    if shutil.which("nix-instantiate") is None:
        return "nix-instantiate is not installed (Debian: nix-bin)"
    return None


class NixSystem:
    """What the module makes of some options.

    Parameters
    ----------
    settings : mapping
        The options of ``services.acoupi``.
    modules : str
        More modules, a list in Nix.
    appliance : bool
        Whether it is an appliance.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, modules: str = "[ ]", appliance: bool
    ) -> None:
        self.store = Path(tempfile.mkdtemp(prefix="acoupi-store-"))
        try:
            self.content = self._evaluate(settings, modules, appliance=appliance)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the store."""
        shutil.rmtree(self.store, ignore_errors=True)

    def _evaluate(
        self, settings: Mapping[str, Any], modules: str, *, appliance: bool
    ) -> dict[str, Any]:
        given = json.dumps(json.dumps(settings)).replace("${", r"\${")
        done = subprocess.run(
            [
                *("nix-instantiate", "--eval", "--strict", "--json"),
                "--read-write-mode",
                *("--arg", "settings", f"builtins.fromJSON {given}"),
                *("--arg", "modules", modules),
                *("--arg", "appliance", json.dumps(appliance), str(STAND_IN)),
            ],
            env={
                **os.environ,
                # The same paths as on NixOS, in a place of our own.
                "NIX_REMOTE": f"local?root={self.store}",
                "HOME": str(self.store),
            },
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ValueError(done.stderr)
        content: dict[str, Any] = json.loads(done.stdout)
        if content["refused"]:
            raise ValueError("\n".join(content["refused"]))
        return content

    def units(self) -> dict[str, dict[str, Any]]:
        """Return every unit by its name, as `unit_text` takes it."""
        content = self.content
        found = {
            f"{name}.{kind[:-1]}": unit
            for kind in ("services", "timers", "targets", "slices")
            for name, unit in content[kind].items()
            # Drop-ins for services of others.
            if name.startswith("acoupi")
        }
        for mount in content["mounts"]:
            name = mount["where"].strip("/").replace("/", "-")
            found[f"{name}.mount"] = mount
        if content["redis"]:
            found["redis-acoupi.service"] = _joined(
                REDIS_UNIT, content["services"]["redis-acoupi"]
            )
        return found

    def write(self, layer: Path) -> None:
        """Write units, scripts and files of the system to a layer."""
        shutil.copytree(self.store / "nix/store", layer / "nix/store", symlinks=True)
        for path in (layer / "nix/store").rglob("*"):
            path.chmod(0o755)  # files of the store are for reading, scripts to be run
        directory = layer / "etc/systemd/system"
        directory.mkdir(parents=True, exist_ok=True)
        for name, unit in self.units().items():
            (directory / name).write_text(unit_text(name, unit))
            for target in unit.get("wantedBy", []):
                wants = directory / f"{target}.wants"
                wants.mkdir(exist_ok=True)
                (wants / name).symlink_to(f"../{name}")
        for name, text in self.content["etc"].items():
            path = layer / "etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for command in self.content["commands"]:
            path = layer / "usr/local/bin" / command["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(command["path"])
        self._write_redis(layer)

    def _write_redis(self, layer: Path) -> None:
        for name, server in self.content["redis"].items():
            lines = [f"port {server['port']}", f"unixsocket {server['unixSocket']}"]
            lines += [
                f"unixsocketperm {server['unixSocketPerm']}",
                "supervised systemd",
            ]
            lines += [f"dir /var/lib/redis-{name}", 'save ""', "daemonize no"]
            lines += [f"{key} {value}" for key, value in server["settings"].items()]
            (layer / f"etc/redis-{name}.conf").write_text("\n".join([*lines, ""]))

    def build(self, layer: Path, lowers: Sequence[Path]) -> None:
        """Make users and what is built, in the layer, as in a sandbox of Nix."""
        script = """
set -eu
useradd --system --no-create-home acoupi
usermod --append --groups audio acoupi
useradd --system --no-create-home redis-acoupi
patchShebangs() { :; } # there are no scripts of ours whose interpreter is elsewhere
mkdir -p /built /tmp/build
while read -r out builder; do
    (cd /tmp/build && export out TMPDIR=/tmp/build && . "$builder")
done </mnt/builds
chmod -R a=rX /built
rm -r /tmp/build
"""
        with tempfile.TemporaryDirectory(prefix="acoupi-builds-") as name:
            builds = self.content["builds"].items()
            text = "".join(f"{out} {builder}\n" for out, builder in builds)
            (Path(name) / "builds").write_text(text)
            path = f"PATH={layers.VENV}/bin:{DEFAULT_PATH}"
            with layers.work_beside(layer) as work:
                layers.run_in_layers(
                    ["env", path, "bash", "-c", script],
                    lowers,
                    layer,
                    work,
                    shown=Path(name),
                )


@contextlib.contextmanager
def system_layer(
    lowers: Sequence[Path],
    settings: Mapping[str, Any],
    *,
    appliance: bool,
    modules: str = "[ ]",
) -> Iterator[Path]:
    """Make a layer with the services that the module declares, for a while.

    Parameters
    ----------
    lowers : sequence of Path
        The layers that it is put on.
    settings, appliance, modules
        As of `NixSystem`.
    """
    top = scratch_directory("e2e-nix-")
    try:
        evaluated = NixSystem(settings, modules=modules, appliance=appliance)
        try:
            evaluated.write(top)
            evaluated.build(top, lowers)
        finally:
            evaluated.discard()
        yield top
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _joined(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(base)
    for key, value in more.items():
        below = joined.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            joined[key] = _joined(below, value)
        else:
            joined[key] = value
    return joined


def unit_text(name: str, unit: Mapping[str, Any]) -> str:
    """Write a unit file.

    Parameters
    ----------
    name : str
        With its suffix.
    unit : mapping
        As ``systemd.services`` and the like take it.
    """
    about = {"Description": unit.get("description", name)}
    about |= {key: unit[our] for our, key in ORDERING.items() if our in unit}
    about |= unit.get("unitConfig", {})
    sections = {"Unit": about}
    kind = name.rpartition(".")[2]
    if kind == "service":
        path = [
            f"{it}/{part}" for it in unit.get("path", []) for part in ("bin", "sbin")
        ]
        environment = {
            "LANG": "C.UTF-8",
            "PATH": ":".join([*dict.fromkeys(path), DEFAULT_PATH]),
            **unit.get("environment", {}),
        }
        quoted = [json.dumps(f"{key}={value}") for key, value in environment.items()]
        sections["Service"] = {"Environment": quoted, **unit.get("serviceConfig", {})}
    elif kind == "timer":
        sections["Timer"] = unit["timerConfig"]
    elif kind == "slice":
        sections["Slice"] = unit["sliceConfig"]
    elif kind == "mount":
        sections["Mount"] = {
            "What": unit["what"],
            "Where": unit["where"],
            "Type": unit["type"],
            "Options": unit["options"],
        }
    return "\n".join(
        line
        for section, settings in sections.items()
        for line in [f"[{section}]", *_lines(settings), ""]
    )


def _lines(settings: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in settings.items():
        values = value if isinstance(value, list) else [value]
        # An empty list takes back what is the default.
        for it in values or [""]:
            text = str(it).lower() if isinstance(it, bool) else str(it)
            lines.append(f"{key}={text}")
    return lines
