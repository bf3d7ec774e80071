"""Check an installation: run every process for a few seconds and say what works."""

from __future__ import annotations

import datetime
import functools
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from acoupi.components.recorders import MicrophoneConfig
from acoupi.programs.templates import (
    AudioConfiguration,
    DetectionProgram,
    DetectionProgramConfiguration,
    PathsConfiguration,
)
from acoupi.programs.templates.places import data_path, temporary_audio_path

if TYPE_CHECKING:
    from acoupi import data
    from acoupi.components import types

__all__ = ["STEPS", "Finding", "TestConfiguration", "TestProgram", "read_findings"]

STEPS = {
    "scheduler": "the scheduler calls tasks, and the default worker runs them",
    "recording": "the recording worker makes recordings",
    "detection": "the detection worker analyses them",
    "keeping": "recordings are kept or deleted",
}
"""What the program tries, each with what it means when it works."""

_TASKS = {
    "scheduler": "report_task",
    "recording": "recording_task",
    "detection": "detection_task",
    "keeping": "file_management_task",
}

REPORT_INTERVAL = 2.0
"""Seconds between two reports."""


class Finding(BaseModel):
    """How one step went."""

    step: str
    works: bool
    runs: int = 0
    """How often it was run."""
    detail: str = ""
    """The last result, or the error."""


class TestConfiguration(DetectionProgramConfiguration):
    """Configuration of the test: everything has a default."""

    # Pytest takes names that begin with Test for its own.
    __test__ = False

    microphone: MicrophoneConfig = Field(
        default_factory=MicrophoneConfig,
        description="The microphone, or what stands for it.",
    )
    recording: AudioConfiguration = Field(
        default_factory=lambda: AudioConfiguration(
            duration=1,
            interval=1,
            schedule_start=datetime.time(0),
            schedule_end=datetime.time(0),
        ),
        description="How long, how often and when to record.",
    )
    paths: PathsConfiguration = Field(
        default_factory=lambda: PathsConfiguration(
            tmp_audio=temporary_audio_path() / "test",
            recordings=data_path("test") / "recordings",
            db_metadata=data_path("test") / "test.db",
        ),
        description="Where recordings and their metadata are kept.",
    )


class TestProgram(DetectionProgram[TestConfiguration]):
    """Tries every process of a sensor and reports what works."""

    __test__ = False

    config_schema = TestConfiguration

    def setup(self, config: TestConfiguration) -> None:
        """Make a whole sensor whose steps leave a note, and the task that reports."""
        self._note_lock = threading.Lock()
        self._runs: dict[str, int] = {}
        super().setup(config)
        self.add_task(
            self._watched("scheduler", self.report),
            schedule=REPORT_INTERVAL,
            name="report_task",
        )

    def configure_model(self, config: TestConfiguration) -> types.Model:  # noqa: ARG002  # The default will do.
        """Return the detector of acoustic activity."""
        from acoupi.components import ActivityDetector

        return ActivityDetector()

    def create_recording_task(
        self, config: TestConfiguration
    ) -> Callable[[], Iterator[data.Recording]]:
        """Return the recording task, watched."""
        return self._watched("recording", super().create_recording_task(config))

    def create_detection_task(
        self, config: TestConfiguration
    ) -> Callable[[data.Recording], object]:
        """Return the detection task, watched."""
        return self._watched("detection", super().create_detection_task(config))

    def create_file_management_task(
        self, config: TestConfiguration
    ) -> Callable[[], object]:
        """Return the keeping task, watched."""
        return self._watched("keeping", super().create_file_management_task(config))

    def report(self) -> None:
        """Log what works and what does not, as far as is known."""
        for finding in read_findings(self.run_dir):
            self.logger.info(
                "%s: %s (%s)",
                finding.step,
                "works" if finding.works else "does not work",
                finding.detail or "not run yet",
            )

    def worker_started(self, queues: Sequence[str]) -> None:
        """Forget the notes of a former run."""
        directory = _notes(self.run_dir)
        if directory is not None:
            for step, task in _TASKS.items():
                if self.get_queue(task) in queues:
                    (directory / f"{step}.json").unlink(missing_ok=True)
        super().worker_started(queues)

    def _watched(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, leaving a note of how each run went."""

        @functools.wraps(function)
        def run(*arguments: Any) -> Any:
            try:
                result = function(*arguments)
                if isinstance(result, Iterator):
                    return self._noted_items(step, result)
            except Exception as error:
                self._note(step, works=False, detail=f"{type(error).__name__}: {error}")
                raise
            self._note(step, works=True, detail="no error")
            return result

        return run

    def _noted_items(self, step: str, items: Iterator[Any]) -> Iterator[Any]:
        try:
            for item in items:
                self._note(step, works=True, detail=f"last: {_describe(item)}")
                yield item
        except Exception as error:
            self._note(step, works=False, detail=f"{type(error).__name__}: {error}")
            raise

    def _note(self, step: str, *, works: bool, detail: str) -> None:
        directory = _notes(self.run_dir)
        if directory is None:
            return
        with self._note_lock:
            self._runs[step] = self._runs.get(step, 0) + 1
            finding = Finding(
                step=step, works=works, runs=self._runs[step], detail=detail
            )
            directory.mkdir(parents=True, exist_ok=True)
            target = directory / f"{step}.json"
            temporary = target.with_suffix(".part")
            temporary.write_text(finding.model_dump_json(), encoding="utf-8")
            temporary.replace(target)


def read_findings(run_dir: Path | None) -> list[Finding]:
    """Return how every step of the test went so far.

    Parameters
    ----------
    run_dir : Path, optional
        The sensor's directory of status files.

    Returns
    -------
    list of Finding
        One for each of `STEPS`; one that was never run does not work.
    """
    directory = _notes(run_dir)
    found = []
    for step in STEPS:
        finding = Finding(step=step, works=False)
        if directory is not None:
            try:
                text = (directory / f"{step}.json").read_text(encoding="utf-8")
                finding = Finding.model_validate(json.loads(text))
            except (FileNotFoundError, ValueError):
                pass  # Not run yet.
        found.append(finding)
    return found


def _notes(run_dir: Path | None) -> Path | None:
    return run_dir / "test" if run_dir is not None else None


def _describe(item: object) -> str:
    path = getattr(item, "path", None)
    duration = getattr(item, "duration", None)
    if duration is None:
        return type(item).__name__
    return f"{duration:g} s in {os.fspath(path) if path else 'no file'}"
