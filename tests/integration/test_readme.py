"""What the README tells a newcomer to type works, in the order it stands there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(
    r"(?P<note><!-- not run by the tests: [^\n]* -->\n)?"
    r"```(?P<language>console|python)\n(?P<body>.*?)```",
    re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    language: str
    body: str
    run: bool

    @property
    def commands(self) -> list[str]:
        lines = re.findall(r"^\$ (.+)$", self.body, re.MULTILINE)
        assert len(lines) == len(self.body.splitlines()), "console blocks: `$ command`"
        return lines


def blocks() -> list[Block]:
    return [
        Block(match["language"], match["body"], match["note"] is None)
        for match in FENCE.finditer(README)
    ]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A newcomer's shell, with a home of its own and this venv's commands."""
    return {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VENV": str(Path(sys.executable).parents[1]),
        "PYTHONPATH": str(tmp_path),
        "LANG": "C.UTF-8",
    }


def test_the_readme_opens_with_the_two_commands() -> None:
    first, second = (block.commands for block in blocks()[:2])
    assert (first, second) == (["make run"], ["make test"])


def test_commands_and_code_of_the_readme_work_in_their_order(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    ran = 0
    for block in blocks():
        if block.language == "python":
            name = re.match(r"# (\w+\.py)\n", block.body)
            assert name, "a code block begins with the name of its file"
            (tmp_path / name[1]).write_text(block.body)
            continue
        for command in block.commands:
            words = shlex.split(command)
            if not block.run or words[0] == "make":
                continue
            done = subprocess.run(
                words,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            ran += 1
    assert ran >= 10


def test_commands_that_are_not_run_here_exist(environment: dict[str, str]) -> None:
    skipped = [
        shlex.split(command)
        for block in blocks()
        if block.language == "console" and not block.run
        for command in block.commands
    ]
    ours = [words for words in skipped if words[0] == "acoupi"]
    assert ours
    for words in ours:
        names = [word for word in words[1:3] if re.fullmatch(r"[a-z-]+", word)]
        help_text = subprocess.run(
            ["acoupi", *names, "--help"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in help_text


def test_every_command_in_the_table_has_help(environment: dict[str, str]) -> None:
    rows = re.findall(r"^\| `acoupi ([a-z-]+)([^`]*)`", README, re.MULTILINE)
    assert len(rows) >= 9
    for name, _ in rows:
        subprocess.run(
            ["acoupi", name, "--help"],
            env=environment,
            capture_output=True,
            check=True,
        )


@pytest.mark.parametrize("sound", [None, "folder"])
def test_make_run_prints_a_detection_within_thirty_seconds_and_ends_on_ctrl_c(
    tmp_path: Path, environment: dict[str, str], sound: str | None
) -> None:
    command = ["make", "--no-print-directory", "run"]
    if sound:
        folder = tmp_path / "my recordings"
        folder.mkdir()
        make_song(folder / "song.wav")
        command.append(f"SOUND={folder}")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    # From the end of the set-up, which has nothing left to do here.
    timer = threading.Timer(30, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    printed = []
    try:
        for line in process.stdout:
            printed.append(line)
            if re.search(r"kHz .* score \d\.\d\d", line):
                break
        timer.cancel()
        # Ctrl-C goes to everything in the terminal's foreground.
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=40)
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    text = "".join(printed) + rest
    assert re.search(r"\d\d:\d\d:\d\d.* kHz .* score \d\.\d\d", text), text
    summary = text[text.index("Ran for") :]
    for word in ("recordings", "samples lost", "detections", str(tmp_path)):
        assert word in summary
    assert "Traceback" not in text


def make_song(path: Path) -> None:
    """Twelve seconds of tone bursts over faint noise, as a user's own recording."""
    import numpy as np
    import soundfile

    rate = 48000
    time = np.arange(12 * rate) / rate
    noise = np.random.default_rng(3).normal(0, 0.003, time.size)
    bursts = np.where(time % 1.5 < 0.2, np.sin(2 * np.pi * 4000 * time), 0)
    soundfile.write(path, noise + 0.3 * bursts, rate, subtype="PCM_16")
