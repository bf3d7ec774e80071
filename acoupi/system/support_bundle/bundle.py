"""What goes into a support bundle, and writing it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.configuration import read_raw_config
from acoupi.system.support_bundle.archive import BundleArchive
from acoupi.system.support_bundle.observations import (
    acoupi_command,
    command_output,
    describe_database,
    file_list,
    read_all,
    read_end,
    versions,
)
from acoupi.system.support_bundle.redaction import SECRET_NAME, Redactor, mask_values
from acoupi.system.support_bundle.secrets import find_secrets, secrets_by_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acoupi.system.settings import Settings

__all__ = ["SupportBundle", "write_support_bundle"]

_JOURNAL_LINES = "4000"

_ABOUT = """\
A support bundle of acoupi {version}, made on {when} (UTC) of the sensor in
{home}.

It has no recordings, no detections and no messages, and none of the sensor's secrets:
passwords, tokens, keys and header values are replaced by **********. {how}
It has the sensor's configuration, its place, its logs and the names of its files.

{names}
"""

_BY_SCHEMA = "The program's schema says what is secret, as do the names of settings."
_BY_NAME = """\
The program could not be asked what is secret: of its configuration only what acoupi
itself knows is shown."""


@dataclass(frozen=True)
class SupportBundle:
    """A bundle that was written."""

    path: Path
    size: int
    names: tuple[str, ...]
    """What is in it."""


def write_support_bundle(settings: Settings, path: Path | None = None) -> SupportBundle:
    """Write one file with what a maintainer needs, and without secrets.

    Takes a minute at most per command that hangs; changes nothing of the sensor.

    Parameters
    ----------
    settings
        The home; a sensor that is set up half, or not at all, is no hindrance.
    path
        The file. Default: ``acoupi-support-<time>.tar.gz`` in this directory.

    Raises
    ------
    ConfigurationError
        When there is such a file already.
    AcoupiError
        When it cannot be written.
    """
    now = int(time.time())
    folder = time.strftime("acoupi-support-%Y%m%dT%H%M%SZ", time.gmtime(now))
    target = (path or Path(f"{folder}.tar.gz")).expanduser().absolute()
    if target.exists():
        raise ConfigurationError(f"{target} is there already: name another file")
    if not target.parent.is_dir():
        raise ConfigurationError(f"{target.parent} is not a directory")
    named = secrets_by_schema(settings)
    redactor = Redactor(find_secrets(settings) | (named or set()))
    archive = BundleArchive(folder, redactor, now)
    for name, observe in _parts(settings, known_schema=named is not None):
        try:
            text = observe()
        # Above all a sensor that is ill wants a bundle.
        except Exception as error:  # noqa: BLE001 - half of it is better than none
            text = f"[cannot be had: {type(error).__name__}: {error}]\n"
        archive.add(name, text)
    archive.add("README.txt", _about(settings, folder, archive.names, by_schema=named))
    try:
        size = archive.write(target)
    except OSError as error:
        raise AcoupiError(
            f"{target} cannot be written: {error.strerror or error}; name another "
            "place with --output"
        ) from error
    return SupportBundle(target, size, tuple(archive.names))


def _about(
    settings: Settings, folder: str, names: list[str], *, by_schema: set[str] | None
) -> str:
    import acoupi

    return _ABOUT.format(
        version=acoupi.__version__,
        when=folder.rpartition("-")[2],
        home=settings.home,
        how=_BY_SCHEMA if by_schema is not None else _BY_NAME,
        names="\n".join(names),
    )


def _parts(
    settings: Settings, *, known_schema: bool
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the name of each file in the bundle, and what makes it."""
    home = settings.home
    yield "status.json", lambda: acoupi_command(home, "status", "--json")
    yield "doctor.json", lambda: acoupi_command(home, "doctor", "--json", patience=60)
    yield "metrics.txt", lambda: acoupi_command(home, "metrics")
    yield "versions.json", lambda: _as_json(versions())
    yield "config/program.json", lambda: _config(settings.program_file, known_schema)
    yield "config/celery.json", lambda: _config(settings.celery_file, True)
    for file in (settings.name_file, settings.deployment_file, settings.managed_file):
        if file.exists():
            yield f"config/{file.name}", partial(read_end, file)
    yield "databases.json", lambda: _databases(settings)
    yield "files.txt", lambda: _files(settings)
    for file in sorted(settings.log_dir.glob("*.log*")):
        yield f"log/{file.name}", partial(read_end, file)
    for file in sorted(
        [*settings.run_dir.glob("*.json"), *settings.run_dir.glob("*.pid")]
    ):
        yield f"run/{file.name}", partial(read_end, file)
    yield from _services()
    yield (
        "devices.json",
        lambda: acoupi_command(home, "devices", "--no-probe", "--json"),
    )
    yield "sound.txt", _sound
    yield "machine.txt", _machine
    yield "processes.txt", lambda: _processes(settings)


def _services() -> Iterator[tuple[str, Callable[[], str]]]:
    for scope, options in (("system", []), ("user", ["--user"])):
        if options and os.geteuid() == 0:
            continue
        control = ["systemctl", *options, "--no-pager"]
        journal = ["journalctl", *options, "--no-pager", "--output=short-iso-precise"]
        for name, command in (
            ("units", [*control, "cat", "acoupi*"]),
            ("state", [*control, "show", "acoupi*"]),
            ("journal", [*journal, "--lines", _JOURNAL_LINES, "--unit=acoupi*"]),
        ):
            yield f"services/{scope}-{name}.txt", partial(command_output, command)
    for name, arguments in (
        ("kernel", ["--dmesg", "--lines=1000"]),
        ("boots", ["--list-boots"]),
    ):
        yield (
            f"services/{name}.txt",
            partial(command_output, ["journalctl", "--no-pager", *arguments]),
        )


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _config(file: Path, known_schema: bool) -> str:
    data = read_raw_config(file)
    public = None if known_schema else _public_keys()

    def hidden(path: tuple[str, ...]) -> bool:
        if "headers" in path:
            return True
        # Where a secret is to be found is no secret.
        if any(SECRET_NAME.search(k) for k in path if not k.endswith("_file")):
            return path[-1] != "_secret"
        return public is not None and ".".join(path) not in public

    return _as_json(mask_values(data, hidden))


def _public_keys() -> set[str]:
    from acoupi.programs.templates import DetectionProgramConfiguration
    from acoupi.system.schemas import dotted, leaves_of

    return {
        dotted(key)
        for key, field in leaves_of(DetectionProgramConfiguration)
        if not field.secret
    }


def _paths(settings: Settings) -> dict[str, Path]:
    """Return the places of data that the configuration names."""
    try:
        data = read_raw_config(settings.program_file)
    except AcoupiError:
        return {}
    found = {}
    for group, key in (
        ("paths", "db_metadata"),
        ("messaging", "messages_db"),
        ("paths", "tmp_audio"),
        ("paths", "recordings"),
    ):
        values = data.get(group) if isinstance(data, dict) else None
        value = values.get(key) if isinstance(values, dict) else None
        if isinstance(value, str):
            found[key] = Path(value).expanduser()
    return found


def _databases(settings: Settings) -> str:
    paths = _paths(settings)
    files = {paths[key] for key in ("db_metadata", "messages_db") if key in paths}
    return _as_json([describe_database(path) for path in sorted(files)])


def _files(settings: Settings) -> str:
    paths = _paths(settings)
    texts = [file_list(settings.home)]
    texts += [
        file_list(paths[key], 500)
        for key in ("tmp_audio", "recordings")
        if key in paths and settings.home not in paths[key].parents
    ]
    return "\n".join(texts)


def _sound() -> str:
    proc = Path("/proc/asound")
    files = [
        *(proc / name for name in ("version", "cards", "devices", "pcm")),
        *sorted(proc.glob("card*/stream*")),
        *sorted(proc.glob("card*/pcm*c/sub*/hw_params")),
        *sorted(proc.glob("card*/pcm*c/sub*/status")),
    ]
    return read_all(file for file in files if file.exists()) or "[no ALSA here]\n"


def _machine() -> str:
    names = [
        *("/etc/os-release", "/proc/version", "/proc/cmdline", "/proc/uptime"),
        *("/proc/loadavg", "/proc/meminfo", "/proc/mounts", "/proc/swaps"),
        *("/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory"),
        *("/proc/device-tree/model", "/sys/class/thermal/thermal_zone0/temp"),
        *("/sys/devices/platform/soc/soc:firmware/get_throttled",),
    ]
    files = [Path(name) for name in names]
    commands = [
        ["df", "--block-size=1"],
        ["df", "--inodes"],
        ["timedatectl", "show"],
        ["vcgencmd", "get_throttled"],
        ["vcgencmd", "measure_temp"],
        ["lsusb"],
        ["lscpu"],
    ]
    return read_all(file for file in files if file.exists()) + "\n".join(
        f"== {' '.join(command)}\n{command_output(command)}" for command in commands
    )


def _processes(settings: Settings) -> str:
    import psutil

    lines = []
    for process in psutil.process_iter(["pid", "ppid", "cmdline", "status", "nice"]):
        words = " ".join(process.info["cmdline"] or [])
        if "acoupi" not in words and str(settings.home) not in words:
            continue
        try:
            with process.oneshot():
                memory, times = process.memory_info(), process.cpu_times()
                numbers = (
                    f"rss {memory.rss} threads {process.num_threads()} "
                    f"user {times.user} system {times.system}"
                )
        except psutil.Error as error:
            numbers = f"[{type(error).__name__}]"
        info = process.info
        lines.append(
            f"{info['pid']} (of {info['ppid']}) {info['status']} nice {info['nice']} "
            f"{numbers}: {words}"
        )
    return "\n".join([*lines, ""])
