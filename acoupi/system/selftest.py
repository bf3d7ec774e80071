"""Checking an installation: run every process for a few seconds, say what works.

A sensor of its own, with the program `acoupi.programs.custom.test`, is set up in a
temporary home, started by its generated scripts, watched, stopped and removed::

    python -m acoupi.system.selftest [--source signal] [--seconds 40]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from acoupi.programs.custom.test import Finding
    from acoupi.system.settings import Settings

__all__ = ["main", "run_selftest"]

PROGRAM = "acoupi.programs.custom.test"

STOP_SECONDS = 15.0
"""Seconds that a process is given to end."""


def run_selftest(
    microphone: Mapping[str, Any] | None = None,
    *,
    seconds: float = 40.0,
    report: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Run all processes of a sensor until each step worked, and tell how they went.

    Parameters
    ----------
    microphone : mapping, optional
        Fields of `acoupi.components.MicrophoneConfig`; default: the default
        microphone.
    seconds : float
        How long to wait for the last step at most.
    report : callable, optional
        Told each step as soon as it works, and the others at the end.

    Returns
    -------
    list of Finding
        How each step went; for one that does not work with the reason, as far as it
        is known.

    Raises
    ------
    AcoupiError
        If the test cannot even be set up.
    """
    from acoupi.system.broker import Broker
    from acoupi.system.settings import Settings
    from acoupi.system.setup import setup_program

    with ExitStack() as stack:
        root = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="acoupi-test-", ignore_cleanup_errors=True
                )
            )
        )
        settings = Settings(root / "home")
        setup_program(settings, PROGRAM, _configuration(root, microphone or {}))
        stack.enter_context(
            Broker(settings.broker_socket, settings.log_dir / "broker.log")
        )
        _start(settings, stack)
        findings = _watch(settings, time.monotonic() + seconds, report)
        return [_explained(finding, settings) for finding in findings]


def _configuration(root: Path, microphone: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "microphone": dict(microphone),
        "paths": {
            "tmp_audio": str(root / "audio"),
            "recordings": str(root / "recordings"),
            "db_metadata": str(root / "test.db"),
        },
        "messaging": {"messages_db": str(root / "test.db")},
        "detections": {"threshold": 0},
    }


def _start(settings: Settings, stack: ExitStack) -> None:
    from acoupi.system.programs import load_program

    workers = load_program(PROGRAM).get_worker_config().workers
    commands = {
        f"worker-{worker.name}": [str(settings.start_script), worker.name]
        for worker in workers
    }
    commands["beat"] = [str(settings.beat_script)]
    processes: list[subprocess.Popen[bytes]] = []
    stack.callback(_stop, processes)
    for name, command in commands.items():
        with (settings.log_dir / f"{name}.log").open("ab") as log:
            processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _watch(
    settings: Settings,
    deadline: float,
    report: Callable[[Finding], None] | None,
) -> list[Finding]:
    from acoupi.programs.custom.test import read_findings

    told: set[str] = set()
    while True:
        findings = read_findings(settings.run_dir)
        over = time.monotonic() >= deadline or all(f.works for f in findings)
        for finding in findings:
            if finding.step not in told and (finding.works or over):
                told.add(finding.step)
                if report is not None:
                    report(_explained(finding, settings))
        if over:
            return findings
        time.sleep(0.2)


_LOGS = {
    "scheduler": ("beat", "worker-default"),
    "recording": ("worker-recording",),
    "detection": ("worker-detection", "worker-recording"),
    "keeping": ("worker-default",),
}


def _explained(finding: Finding, settings: Settings) -> Finding:
    """Return the finding, with what the logs say when it does not work."""
    if finding.works:
        return finding
    lines = [finding.detail] if finding.detail else []
    for name in _LOGS.get(finding.step, ()):
        try:
            text = (settings.log_dir / f"{name}.log").read_text(errors="replace")
        except OSError:
            continue
        lines += [
            line
            for line in text.splitlines()
            if " WARNING " in line or " ERROR " in line or " CRITICAL " in line
        ][-2:]
    return finding.model_copy(update={"detail": "; ".join(lines) or "it did not run"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Check this installation and print what works.

    Returns
    -------
    int
        Exit code: 0 when everything works, 1 otherwise.
    """
    from acoupi.errors import AcoupiError
    from acoupi.programs.custom.test import STEPS

    parser = argparse.ArgumentParser(prog="python -m acoupi.system.selftest")
    parser.add_argument("--source", choices=["microphone", "signal"])
    parser.add_argument("--device-name")
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args(arguments)
    microphone = {
        key: value
        for key in ("source", "device_name")
        if (value := getattr(options, key)) is not None
    }

    def say(finding: Finding) -> None:
        outcome = "works" if finding.works else "DOES NOT WORK"
        sys.stdout.write(f"{finding.step:10} {outcome}: {STEPS[finding.step]}\n")
        if not finding.works:
            sys.stdout.write(f"           {finding.detail}\n")
        sys.stdout.flush()

    try:
        findings = run_selftest(microphone, seconds=options.seconds, report=say)
    except AcoupiError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0 if all(finding.works for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
