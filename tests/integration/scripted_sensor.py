"""Sensors that run as the scripts of their homes run them: as separate processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acoupi import data
from acoupi.components import SqliteStore
from acoupi.system import Settings, setup_program
from acoupi.system.broker import Broker


def environment_with(library: Path, **modules: str) -> dict[str, str]:
    """Write modules, and return an environment in which Python finds them."""
    library.mkdir()
    for name, text in modules.items():
        (library / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(library)}


class ScriptedSensor:
    """A program in a home, its broker, and a process for each script.

    Parameters
    ----------
    root : Path
        The home is in it, and what `configurations.gapless` puts there.
    program : str
        Name of its module.
    config : dict
        Its configuration.
    environment : mapping, optional
        Of the processes, when it is not that of the tests.
    """

    def __init__(
        self,
        root: Path,
        program: str,
        config: dict[str, Any],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = Settings(root / "home")
        self.config = setup_program(self.settings, program, config)
        self.store = SqliteStore(root / "sensor.db")
        self.broker = Broker(self.settings.broker_socket)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = environment

    def start(self, *names: str) -> None:
        """Start workers by their names, and ``beat``."""
        for name in names:
            script = (
                [self.settings.beat_script]
                if name == "beat"
                else [self.settings.start_script, name]
            )
            with (self.settings.log_dir / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    script,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                )

    def kill(self, name: str) -> None:
        """Kill a process."""
        self.processes[name].kill()
        self.processes[name].wait(10)

    def stop(self, *names: str, patience: float = 20) -> None:
        """Let processes end as they should."""
        for name in names:
            self.processes[name].terminate()
        for name in names:
            assert self.processes[name].wait(patience) == 0, name

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.broker.stop()

    def status(self) -> dict[str, Any]:
        """Return what the recorder says of itself."""
        text = (self.settings.run_dir / "recorder.json").read_text()
        said: dict[str, Any] = json.loads(text)
        return said

    def recordings(self) -> list[data.Recording]:
        """Return what the store knows."""
        return [recording for recording, _ in self.store.get_recordings()]

    def logs(self) -> str:
        """Return the end of each log."""
        files = sorted(self.settings.log_dir.glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text()[-3000:]}" for f in files)
