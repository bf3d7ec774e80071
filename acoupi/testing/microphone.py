"""A microphone without a sound card: real PortAudio and ALSA over a sound server."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Self

from acoupi.testing.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VirtualMicrophone"]


class VirtualMicrophone:
    """A sound server of its own, and the ALSA devices that capture from it.

    Needs ``pulseaudio``, ``pactl`` and ALSA's ``pulse`` plugin (Debian: pulseaudio,
    pulseaudio-utils, libasound2-plugins). PortAudio reads `environment` when it is
    loaded, so capture in a process started with it. Devices:

    ``testmic``
        The samples of ``sound``, from its beginning at each opening, paced by the
        server in real time; open it with 16-bit samples. Silence after its end.
    ``testmon``
        What other programs play into the server's sink ``mic``.

    Parameters
    ----------
    directory
        Where the server keeps its files; short, since it holds a socket.
    samplerate
        Frames per second.
    channels
        Number of channels.
    sound
        Raw 16-bit little-endian interleaved samples for ``testmic``.
    """

    def __init__(
        self,
        directory: Path,
        samplerate: int = 48_000,
        channels: int = 1,
        sound: Path | None = None,
    ) -> None:
        self.directory = directory
        self.samplerate = samplerate
        self.channels = channels
        self.sound = sound
        run = directory / "run"
        self.socket = run / "pulse" / "native"
        self.environment = {
            **os.environ,
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(run),
            "PULSE_RUNTIME_PATH": str(run / "pulse"),
            "PULSE_SERVER": f"unix:{self.socket}",
            "ALSA_CONFIG_PATH": str(directory / "alsa.conf"),
        }
        """For processes that are to see the microphone."""
        self.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        self.environment.pop("DISPLAY", None)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Return what is not installed and needed; None when all is there."""
        for program in ("pulseaudio", "pactl"):
            if shutil.which(program) is None:
                return f"{program} is not installed"
        return None

    def start(self) -> None:
        """Start the sound server and wait until it answers."""
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.parent.parent.chmod(0o700)
        sound = self.sound or "/dev/null"
        (self.directory / "alsa.conf").write_text(
            "</usr/share/alsa/alsa.conf>\n"
            'pcm.testmon { type pulse device "mic.monitor" }\n'
            'pcm.testmic { type file slave.pcm "testmon" file "/dev/null" '
            f'infile "{sound}" format "raw" }}\n'
        )
        command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no"]
        command += ["--exit-idle-time=-1", "--realtime=no", "--high-priority=no"]
        command += [f"--log-target=file:{self.directory / 'pulseaudio.log'}"]
        command += [
            "-L",
            f"module-native-protocol-unix auth-anonymous=1 socket={self.socket}",
            "-L",
            (
                "module-null-sink sink_name=mic format=s16le "
                f"rate={self.samplerate} channels={self.channels}"
            ),
        ]
        self._process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, what="PulseAudio")

    def stop(self) -> None:
        """End the sound server, as when a microphone goes away."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        answer = subprocess.run(
            ["pactl", "info"], env=self.environment, capture_output=True, check=False
        )
        return answer.returncode == 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
