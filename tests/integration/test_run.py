"""`acoupi run`: a whole sensor, from sound to detections on the screen."""

from __future__ import annotations

import array
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import wave
from contextlib import closing
from pathlib import Path

import pytest

from acoupi.system.broker import find_server
from acoupi.testing import VirtualMicrophone

needs_server = pytest.mark.skipif(
    find_server() is None, reason="no Redis-compatible server is installed"
)

DETECTION = re.compile(
    r"^\d\d:\d\d:\d\d\.\d +[\d.]+-[\d.]+ kHz +[\d.]+ s +score [01]\.\d\d  \S",
    re.MULTILINE,
)


class Running:
    """A command in the background whose output is collected."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.began = time.monotonic()
        self.lines = []
        self.first_detection = None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            if self.first_detection is None and DETECTION.match(line):
                self.first_detection = time.monotonic() - self.began
            self.lines.append(line)

    @property
    def output(self):
        return "".join(self.lines)

    def wait_for(self, condition, timeout=60):
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()


@pytest.fixture
def environment(tmp_path):
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "ACOUPI_HOME": str(tmp_path / "home"),
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def start(environment):
    running = []

    def start_command(*arguments, code="from acoupi.cli import main"):
        program = f"import sys\n{code}\nsys.exit(main({list(arguments)!r}))"
        one = Running([sys.executable, "-c", program], environment)
        running.append(one)
        return one

    yield start_command
    for one in running:
        one.close()


def processes_below(folder: Path) -> list[int]:
    """Find the processes started with this $HOME, whoever their parent is."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={folder}\0".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def children_of(pid: int) -> dict[int, str]:
    """Return the children of a process, with their command lines."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        int(child): Path(f"/proc/{child}/cmdline").read_bytes().decode()
        for child in children
    }


def write_tones(path: Path, seconds: float = 9, samplerate: int = 32_000) -> None:
    """Write quiet noise-like sound with a loud chirp every two seconds."""
    samples = array.array("h")
    state = 1
    for index in range(int(seconds * samplerate)):
        state = (state * 1103515245 + 12345) % 2**31
        value = (state / 2**31 - 0.5) * 60
        when = index / samplerate % 2
        if 1 <= when < 1.25:
            value += 9000 * math.sin(2 * math.pi * (3000 + 2000 * (when - 1)) * when)
        samples.append(int(value))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(samplerate)
        file.writeframes(samples.tobytes())


@needs_server
def test_the_demonstration_detects_within_30_s_and_ends_with_a_summary(start, tmp_path):
    sensor = start("run", "--demo")
    sensor.wait_for(lambda: sensor.first_detection is not None)
    assert sensor.first_detection < 30
    home = tmp_path / "acoupi-demo"
    status = json.loads((home / "run" / "recorder.json").read_text())
    assert status["recording"] is True
    assert sensor.stop() == 0
    summary = sensor.output.partition("\nRan for ")[2]
    assert re.search(r"recordings +[1-9]\d* \(", summary)
    assert re.search(r"samples lost +0\n", summary)
    assert re.search(r"detections +[1-9]", summary)
    assert str(home / "data" / "recordings") in summary
    assert str(home / "log") in summary
    assert "Traceback" not in sensor.output
    assert processes_below(tmp_path) == []
    assert not (tmp_path / "home").exists(), "the demonstration has a home of its own"
    with closing(sqlite3.connect(home / "data" / "metadata.db")) as database:
        assert database.execute("SELECT count(*) FROM detection").fetchone()[0] > 0


@needs_server
def test_an_interrupt_of_every_process_of_that_name_ends_with_a_summary(start):
    # As from `acoupi run &` in a script, and then pkill -INT.
    sensor = start(
        "run",
        "--demo",
        code="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from acoupi.cli import main",
    )
    sensor.wait_for(lambda: sensor.first_detection is not None)
    for pid in children_of(sensor.process.pid):
        os.kill(pid, signal.SIGINT)
    began = time.monotonic()
    assert sensor.stop() == 0
    assert time.monotonic() - began < 5
    assert "\nRan for " in sensor.output
    assert "killing it" not in sensor.output


@needs_server
def test_the_demonstration_hears_speech_through_a_real_sound_device(
    start, environment, tmp_path_factory
):
    missing = VirtualMicrophone.missing()
    if missing or shutil.which("espeak-ng") is None or shutil.which("paplay") is None:
        pytest.skip(missing or "espeak-ng or paplay is not installed")
    folder = tmp_path_factory.mktemp("vm")
    speech = folder / "speech.wav"
    text = "Birds sing at dawn. The quick brown fox jumps over the lazy dog."
    subprocess.run(["espeak-ng", "-w", str(speech), text], check=True)
    with VirtualMicrophone(folder) as microphone:
        environment.update(microphone.environment)
        sensor = start("run", "--demo", "--home", str(folder / "h"))
        sensor.wait_for(lambda: recording(folder / "h"))
        subprocess.run(
            ["paplay", "--device=mic", str(speech)], env=environment, check=True
        )
        sensor.wait_for(lambda: len(DETECTION.findall(sensor.output)) >= 3)
        assert sensor.stop() == 0
    assert "Sound: the microphone 'default' at 48000 Hz" in sensor.output
    assert re.search(r"samples lost +0\n", sensor.output)
    assert re.search(r"recordings +\d+ \([1-9]\d* kept", sensor.output)
    assert list((folder / "h" / "data" / "recordings").iterdir())


def recording(home: Path) -> bool:
    try:
        return json.loads((home / "run" / "recorder.json").read_text())["recording"]
    except (OSError, ValueError):
        return False


@needs_server
def test_a_folder_of_sound_files_stands_for_the_microphone(start, tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    write_tones(folder / "one.wav")
    (folder / "notes.txt").write_text("not a sound")
    sensor = start("run", "--demo", "--sound", str(folder))
    sensor.wait_for(lambda: sensor.first_detection is not None)
    assert sensor.stop(signal.SIGTERM) == 0
    assert f"the sound folder {folder} at 32000 Hz" in sensor.output
    line = DETECTION.search(sensor.output).group()
    low, high = map(float, re.search(r"([\d.]+)-([\d.]+) kHz", line).groups())
    assert low < 5
    assert high > 2.5


@needs_server
def test_roles_in_interpreters_of_their_own_do_the_same(start, tmp_path):
    sensor = start(
        "run", "--demo", "--layout", "separate", "--home", str(tmp_path / "h")
    )
    sensor.wait_for(lambda: sensor.first_detection is not None)
    assert sensor.stop() == 0
    assert re.search(r"detections +[1-9]", sensor.output)
    assert processes_below(tmp_path) == []


def test_without_any_broker_all_runs_in_one_process_with_a_loud_note(start, tmp_path):
    sensor = start(
        "run",
        "--demo",
        "--home",
        str(tmp_path / "h"),
        code=(
            "from acoupi.cli import main\n"
            "import acoupi.system.foreground as f\n"
            "f.find_server = lambda: None"
        ),
    )
    sensor.wait_for(lambda: sensor.first_detection is not None)
    assert "NOTE: there is no broker" in sensor.output
    assert "apt install redis-server" in sensor.output
    assert sensor.stop() == 0
    assert re.search(r"samples lost +0\n", sensor.output)
    assert processes_below(tmp_path) == []


@needs_server
def test_a_killed_broker_comes_back_and_detection_goes_on(start, tmp_path):
    home = tmp_path / "h"
    sensor = start("run", "--demo", "--home", str(home))
    sensor.wait_for(lambda: sensor.first_detection is not None)
    children = children_of(sensor.process.pid)
    (broker,) = [pid for pid, command in children.items() if "broker.sock" in command]
    os.kill(broker, signal.SIGKILL)
    sensor.wait_for(lambda: "the embedded broker died" in sensor.output)
    seen = len(DETECTION.findall(sensor.output))
    sensor.wait_for(lambda: len(DETECTION.findall(sensor.output)) > seen)
    assert sensor.stop() == 0
    assert re.search(r"samples lost +0\n", sensor.output)


@needs_server
def test_nothing_survives_a_launcher_that_is_killed_outright(start, tmp_path):
    home = tmp_path / "h"
    sensor = start("run", "--demo", "--home", str(home))
    sensor.wait_for((home / "run" / "recorder.json").exists)
    children = children_of(sensor.process.pid)
    assert len(children) == 6, "broker, three workers, beat and the view"
    sensor.process.kill()
    sensor.process.wait()
    deadline = time.monotonic() + 30
    while left := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@needs_server
def test_a_second_run_of_the_same_home_is_refused_and_the_first_goes_on(
    start, tmp_path
):
    first = start("run", "--demo", "--home", str(tmp_path / "h"))
    first.wait_for(lambda: first.first_detection is not None)
    second = start("run", "--demo", "--home", str(tmp_path / "h"))
    assert second.process.wait(30) == 1
    second.close()
    assert "runs already" in second.output
    assert "Traceback" not in second.output
    assert first.process.poll() is None
    assert first.stop() == 0
