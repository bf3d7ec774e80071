"""The file system that sensors boot from in the tests: layers, the lower ones cached.

1. ``base``: Debian with systemd and the programs that a sensor needs (mmdebstrap);
2. ``python``: a virtual environment with what acoupi depends on;
3. acoupi itself, installed from this checkout, and the tests' own units, for this run;
4. what a machine writes, in memory (`machine.NspawnMachine`).

The first two are kept below ``~/.cache/acoupi-tests`` under a hash of what they are
made from. Nothing is mounted where others see it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
VENV = "/opt/acoupi"
SUITE = "bookworm"
PYTHON = "3.11"

PACKAGES = (
    *("systemd-sysv", "dbus", "procps", "iproute2", "python3", "python3-venv"),
    *("redis-server", "libportaudio2", "libasound2-plugins"),
    *("pulseaudio", "pulseaudio-utils", "mosquitto", "mosquitto-clients", "sqlite3"),
)

APT_OPTIONS = (
    'APT::Install-Recommends "false"',
    'Acquire::Check-Valid-Until "false"',
    'Acquire::Check-Date "false"',
)

LEFT_OUT = tuple(
    f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")
)

MICROPHONE_UNIT = """\
[Unit]
Description=What stands for a sound card: what is played into it is recorded from it
[Service]
Environment=HOME=/run/microphone XDG_RUNTIME_DIR=/run/microphone
RuntimeDirectory=microphone
ExecStart=/usr/bin/pulseaudio -n --daemonize=no --use-pid-file=no --exit-idle-time=-1 \
--realtime=no --high-priority=no --disable-shm=yes --log-target=stderr \
--log-level=error \
-L "module-native-protocol-unix auth-anonymous=1 socket=/run/microphone/native" \
-L "module-null-sink sink_name=speaker format=s16le rate=48000 channels=1"
Restart=always
[Install]
WantedBy=multi-user.target
"""

LISTENER_UNIT = """\
[Unit]
Description=Keeps what is sent to the MQTT broker of the tests
After=mosquitto.service
StartLimitIntervalSec=0
[Service]
StateDirectory=listener
ExecStart=/bin/sh -c 'exec >>/var/lib/listener/messages && \\
exec mosquitto_sub -h 127.0.0.1 -p 1883 -t "#" -q 1 -c -i listener'
Restart=always
RestartSec=0.2
[Install]
WantedBy=multi-user.target
"""

FILES = {
    "etc/hostname": "sensor\n",
    "etc/hosts": "127.0.0.1 localhost sensor\n",
    "etc/fstab": "",
    "etc/asound.conf": (
        'pcm.microphone { type pulse server "unix:/run/microphone/native" '
        'device "speaker.monitor" }\n'
        'pcm.speaker { type pulse server "unix:/run/microphone/native" '
        'device "speaker" }\n'
    ),
    "etc/systemd/system/microphone.service": MICROPHONE_UNIT,
    "etc/systemd/system/listener.service": LISTENER_UNIT,
    "etc/profile.d/acoupi.sh": f"PATH={VENV}/bin:$PATH\n",
    # Refuses anonymous users elsewhere; here, nobody else can reach it.
    "etc/mosquitto/conf.d/test.conf": "listener 1883 127.0.0.1\nallow_anonymous true\n",
}

LINKS = {
    **{
        f"etc/systemd/system/multi-user.target.wants/{unit}": f"../{unit}"
        for unit in ("microphone.service", "listener.service")
    },
    # Their work is none of the tests'.
    **{
        f"etc/systemd/system/{unit}": "/dev/null"
        for unit in (
            *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
            *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
            *("systemd-timesyncd.service", "redis-server.service"),
            *("systemd-networkd.service", "systemd-resolved.service"),
        )
    },
}

NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
"""Commands, and the Debian packages that bring them."""


class CannotBuildError(Exception):
    """The layers cannot be made on this machine."""


def missing() -> str | None:
    """Return why no sensor can be booted here, None when one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine in a container"
    for command, package in NEEDED.items():
        if shutil.which(command) is None:
            return f"{command} is not installed (Debian: {package})"
    trial = "mount -t tmpfs none /mnt && mount -t cgroup2 none /mnt"
    tried = run(
        ["unshare", "--mount", "--cgroup", "--pid", "--fork", "sh", "-c", trial],
        check=False,
    )
    if tried.returncode != 0:
        return f"no namespaces with mounts of their own here: {tried.stdout.strip()}"
    return None


def cached_layers(directory: Path | None = None) -> list[Path]:
    """Return the layers to boot from, topmost first; those that lack are made.

    Raises
    ------
    CannotBuildError
        When a layer cannot be made, most often without a network.
    """
    cache = directory or cache_directory()
    base = cached_layer(
        cache, "base", _recipe(), lambda path: install_debian(path, PACKAGES)
    )
    requirements = _requirements()
    key = "\n".join([base.name, *requirements])
    python = cached_layer(
        cache, "python", key, lambda path: _build_python(path, base, requirements)
    )
    return [python, base]


def cache_directory() -> Path:
    """Return where layers and images are kept from run to run."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(caches) / "acoupi-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def install_checkout(target: Path, lowers: Sequence[Path]) -> None:
    """Make a layer that has acoupi, as this checkout is now, in the environment."""
    with tempfile.TemporaryDirectory(prefix="acoupi-source-") as name:
        # A copy, so that the build leaves nothing in the checkout.
        source = Path(name)
        for part in ("acoupi", "pyproject.toml", "README.md", "LICENSE"):
            path = CHECKOUT / part
            if path.is_dir():
                left_out = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(path, source / part, ignore=left_out)
            else:
                shutil.copy(path, source)
        with work_beside(target) as work:
            run_in_layers(
                [*_pip("--no-deps", "--no-build-isolation"), "/mnt"],
                lowers,
                target,
                work,
                shown=source,
            )


def configure(
    target: Path,
    files: Mapping[str, str] = FILES,
    links: Mapping[str, str] = LINKS,
) -> None:
    """Add the files of the tests, and what links lead to, to a layer."""
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, aim in links.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(aim)


def cached_layer(
    cache: Path, kind: str, key: str, build: Callable[[Path], None]
) -> Path:
    """Return what is made from ``key``; made now unless it is in the cache.

    Parameters
    ----------
    cache : Path
        Directory of what was made before; one of each kind is kept.
    kind : str
        Beginning of its name.
    key : str
        All that decides what it contains.
    build : callable
        Makes it at the path that it is given.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    layer = cache / f"{kind}-{digest}"
    with (cache / f"{kind}.lock").open("w") as lock:
        # Another run may be making it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layer.is_dir():
            started = Path(f"{layer}.new")
            shutil.rmtree(started, ignore_errors=True)
            build(started)
            started.rename(layer)
            for old in cache.glob(f"{kind}-*"):
                if old != layer and _is_unused(old):
                    shutil.rmtree(old, ignore_errors=True)
        _hold(layer)
    return layer


_held: dict[Path, int] = {}


def _hold(layer: Path) -> None:
    """Let no other run delete a layer while this process lives."""
    if layer not in _held:
        _held[layer] = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(_held[layer], fcntl.LOCK_SH)


def _is_unused(layer: Path) -> bool:
    descriptor = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _recipe() -> str:
    return repr((SUITE, PACKAGES, APT_OPTIONS, LEFT_OUT))


def install_debian(target: Path, packages: Sequence[str], *options: str) -> None:
    """Make a Debian with these packages and what they depend on."""
    left_out = [f"--aptopt={option}" for option in APT_OPTIONS]
    left_out += [f"--dpkgopt={option}" for option in LEFT_OUT]
    mirror = os.environ.get("ACOUPI_TEST_MIRROR")
    run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", *options),
            *(f"--include={','.join(packages)}", *left_out),
            *(SUITE, str(target), *([mirror] if mirror else [])),
        ]
    )


def _requirements() -> list[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    # What builds acoupi, and pip's own wheel support, are no dependencies of it.
    return [
        *project["project"]["dependencies"],
        *project["build-system"]["requires"],
        "wheel",
        # Of redis, before Python 3.11.3; pip judges that by the Python that runs it.
        "async-timeout",
    ]


def _build_python(target: Path, base: Path, requirements: Sequence[str]) -> None:
    target.mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="acoupi-wheels-") as wheels,
        work_beside(target) as work,
    ):
        # Fetched outside, where pip knows this machine's way to packages.
        run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet"),
                *("--disable-pip-version-check", "--only-binary=:all:"),
                *(f"--python-version={PYTHON}", "--implementation=cp"),
                *(f"--dest={wheels}", *requirements),
            ]
        )
        command = f'python3 -m venv {VENV} && exec "$@"'
        run_in_layers(
            ["sh", "-c", command, "-", *_pip("--find-links=/mnt"), *requirements],
            [base],
            target,
            work,
            shown=Path(wheels),
        )


def _pip(*options: str) -> list[str]:
    pip = [f"{VENV}/bin/python", "-m", "pip", "install", "--quiet", "--no-index"]
    return [*pip, "--disable-pip-version-check", "--root-user-action=ignore", *options]


def run_in_layers(
    command: Sequence[str],
    lowers: Sequence[Path],
    upper: Path,
    work: Path,
    shown: Path,
) -> None:
    """Run a command in the layers; it finds ``shown`` at ``/mnt``."""
    script = """
set -eu
root=$1 options=$2 shown=$3; shift 3
mount -t overlay -o "$options" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$shown" "$root/mnt"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \\
    PYTHONWARNINGS=ignore chroot "$root" "$@"
"""
    root = work / "root"
    root.mkdir()
    run(
        [
            *("unshare", "--mount", "--propagation=private", "--pid", "--fork"),
            *("--kill-child", "sh", "-c", script, "-", str(root)),
            *(overlay_options(lowers, upper, work), str(shown), *command),
        ]
    )


def overlay_options(lowers: Sequence[Path], upper: Path, work: Path) -> str:
    """Return the mount options of an overlay, topmost lower layer first."""
    scratch = work / "work"
    scratch.mkdir(parents=True, exist_ok=True)
    below = ":".join(str(layer) for layer in lowers)
    return f"lowerdir={below},upperdir={upper},workdir={scratch}"


@contextlib.contextmanager
def work_beside(target: Path) -> Iterator[Path]:
    """Make a directory for an overlay that writes to ``target``, for a while."""
    # An overlay wants it on the same file system.
    work = target.with_name(f"{target.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run(
    command: Sequence[str], *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of this machine.

    Raises
    ------
    CannotBuildError
        When it fails, and ``check`` is true.
    """
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    if check and done.returncode != 0:
        raise CannotBuildError(f"{command[0]} failed: {done.stdout[-2000:]}")
    return done
