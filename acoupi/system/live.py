"""Following a running sensor on a terminal: detections, progress, summary.

Reads what the sensor writes anyway, its store and its recorder's status file, and
never writes: a viewer can neither disturb the sensor nor be disturbed by it.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "Counts",
    "LiveView",
    "SeenDetection",
    "StoreFollower",
    "Summary",
]

_AFTER_ALL = 2**62
"""Beyond every position within an output."""

PAGE = 500
"""Most detections fetched at once; the rest follow in the next round."""


@dataclass(frozen=True)
class SeenDetection:
    """A detection as it is shown."""

    time: datetime.datetime
    """Beginning of the sound, or of its recording when it has no place in it."""
    score: float
    """Within [0, 1]."""
    model: str
    label: str
    """Value of the most confident tag; the model's name when there is none."""
    duration: float | None = None
    """Seconds."""
    low_freq: float | None = None
    """Hz."""
    high_freq: float | None = None
    """Hz."""

    @property
    def band(self) -> str:
        """Frequency band in kHz, as text."""
        if self.low_freq is None or self.high_freq is None:
            return "-"
        return f"{self.low_freq / 1000:.1f}-{self.high_freq / 1000:.1f} kHz"


@dataclass(frozen=True)
class Counts:
    """What a sensor has done since a moment."""

    recordings: int = 0
    analysed: int = 0
    """Recordings with a model's output."""
    detections: int = 0
    samples_lost: int = 0
    undecided: int = 0
    """Recordings, of all times, that are neither kept nor deleted yet."""
    kept: int = 0
    deleted: int = 0


_NEW_DETECTIONS = """
SELECT
    o.number, d.position, r.created_on, o.name_model, d.detection_score,
    d.start_time, d.end_time, d.low_freq, d.high_freq,
    (SELECT t.value FROM predicted_tag AS p JOIN tag AS t ON p.tag = t.number
     WHERE p.output = d.output AND p.position = d.position
     ORDER BY p.ordinal LIMIT 1)
FROM model_output AS o
JOIN recording AS r ON o.recording = r.number
JOIN detection AS d ON d.output = o.number
WHERE o.number >= :output AND (o.number > :output OR d.position > :position)
ORDER BY o.number, d.position
LIMIT :page
"""

_COUNTS = """
SELECT
    (SELECT count(*) FROM recording WHERE number > :recording),
    (SELECT count(DISTINCT recording) FROM model_output WHERE number > :output),
    (SELECT count(*) FROM detection WHERE output > :output),
    (SELECT coalesce(sum(json_extract(gap.value, '$.lost')), 0)
     FROM recording AS r, json_each(r.capture, '$.gaps') AS gap
     WHERE r.number > :recording AND r.capture IS NOT NULL),
    (SELECT count(*) FROM recording WHERE state = 'undecided'),
    (SELECT count(*) FROM recording WHERE +state = 'kept' AND number > :recording),
    (SELECT count(*) FROM recording WHERE +state = 'deleted' AND number > :recording)
"""


class StoreFollower:
    """Reads what is new in a store since this object was made.

    Parameters
    ----------
    path
        The store's database; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = (0, -1)
        self._start = {"recording": 0, "output": 0}
        self._connection: sqlite3.Connection | None = None
        with self._reading() as connection:
            if connection is not None:
                recording, output = connection.execute(
                    "SELECT (SELECT coalesce(max(number), 0) FROM recording),"
                    " (SELECT coalesce(max(number), 0) FROM model_output)"
                ).fetchone()
                self._start = {"recording": recording, "output": output}
                self._position = (output, _AFTER_ALL)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a read-only connection, or None while there is no usable store."""
        try:
            if self._connection is None and self.path.is_file():
                self._connection = sqlite3.connect(
                    f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=2
                )
            yield self._connection
        except sqlite3.Error:
            # The store is being made, migrated or replaced: look again next time.
            self.close()

    def close(self) -> None:
        """Close the store; the next look opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def new_detections(self) -> list[SeenDetection]:
        """Return detections stored since the last call, at most `PAGE`, by time."""
        rows: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            if connection is not None:
                output, position = self._position
                rows = connection.execute(
                    _NEW_DETECTIONS,
                    {"output": output, "position": position, "page": PAGE},
                ).fetchall()
        if rows:
            self._position = (rows[-1][0], rows[-1][1])
        return sorted(map(_as_seen, rows), key=lambda seen: seen.time)

    def counts(self) -> Counts:
        """Return what was done since this object was made."""
        with self._reading() as connection:
            if connection is not None:
                return Counts(*connection.execute(_COUNTS, self._start).fetchone())
        return Counts()


def _as_seen(row: tuple[Any, ...]) -> SeenDetection:
    _, _, created_on, model, score, start, end, low, high, label = row
    moment = datetime.datetime.fromisoformat(created_on)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return SeenDetection(
        time=moment + datetime.timedelta(seconds=start or 0),
        score=score,
        model=model,
        label=label or model,
        duration=None if start is None or end is None else end - start,
        low_freq=low,
        high_freq=high,
    )


def _read_recorder_status(path: Path) -> dict[str, Any]:
    """Return what the recorder says of itself; empty when it says nothing now."""
    from acoupi.components.health import read_recorder_status

    status = read_recorder_status(path)
    return status if status is not None and status["current"] else {}


@dataclass
class Summary:
    """What a run did, for its end."""

    seconds: float
    counts: Counts
    samples_lost: int
    places: dict[str, Path] = field(default_factory=dict)
    """Where the files are: what, and its path."""

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        counts = self.counts
        kept = f"{counts.kept} kept, {counts.deleted} deleted"
        if counts.undecided:
            kept += f", {counts.undecided} left for the next start"
        width = max((len(what) for what in self.places), default=0)
        return [
            f"Ran for {_duration(self.seconds)}.",
            f"  recordings    {counts.recordings} ({kept})",
            f"  samples lost  {self.samples_lost}",
            f"  detections    {counts.detections} in {counts.analysed} analysed",
            *(
                f"  {what.ljust(max(width, 12))}  {path}"
                for what, path in self.places.items()
            ),
        ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class LiveView:
    """Prints detections as they happen, a progress line, and a summary.

    Parameters
    ----------
    store
        The store's database; None when the program has none that is known.
    recorder_status
        The recorder's status file.
    out
        Where to print; on a terminal, the progress line is redrawn in place.
    timezone
        In which times are shown; None for the machine's.
    places
        Where the files are, for the summary.
    progress_every
        Seconds between two progress lines when ``out`` is not a terminal.
    """

    def __init__(
        self,
        store: Path | None,
        recorder_status: Path,
        out: TextIO,
        timezone: datetime.tzinfo | None = None,
        places: dict[str, Path] | None = None,
        progress_every: float = 15.0,
    ) -> None:
        self.follower = None if store is None else StoreFollower(store)
        self.recorder_status = recorder_status
        self.out = out
        self.timezone = timezone
        self.places = dict(places or {})
        self.progress_every = progress_every
        self._terminal = out.isatty()
        self._began = time.monotonic()
        self._last_progress = self._began
        self._samples_lost = 0
        self._latest = Counts()
        self._count_again = 0.0

    def run(self, wait: Callable[[float], bool], poll: float = 0.5) -> None:
        """Show until ``wait(poll)`` returns true, then print the summary.

        Parameters
        ----------
        wait
            Waits for the given seconds; returns true when it is time to end.
        poll
            Seconds between two looks.
        """
        while not wait(poll):
            self.refresh()
        self.refresh()
        self.finish()

    def refresh(self) -> None:
        """Print what is new."""
        detections = self.follower.new_detections() if self.follower else []
        if detections:
            self._clear()
        for detection in detections:
            self.out.write(f"{self.describe(detection)}\n")
        now = time.monotonic()
        if self._terminal or now - self._last_progress >= self.progress_every:
            self._last_progress = now
            self._clear()
            line = self.progress()
            if self._terminal:
                # A wrapped line could not be redrawn in place.
                self.out.write(line[: shutil.get_terminal_size().columns - 1])
            else:
                self.out.write(f"{line}\n")
        self.out.flush()

    def describe(self, detection: SeenDetection) -> str:
        """Return a detection as one line: time, band, length, score, label."""
        moment = detection.time.astimezone(self.timezone)
        length = "" if detection.duration is None else f"{detection.duration:.2f} s"
        return (
            f"{moment:%H:%M:%S}.{moment.microsecond // 100000}  "
            f"{detection.band:>15}  {length:>7}  "
            f"score {detection.score:.2f}  {detection.label}"
        )

    def progress(self) -> str:
        """Return the progress line."""
        status = _read_recorder_status(self.recorder_status)
        counts = self._counts(status)
        state = "recording" if status.get("recording") else "not recording (yet)"
        parts = [
            f"{state} {_duration(time.monotonic() - self._began)}",
            f"{counts.recordings} recordings",
            f"{self._samples_lost} samples lost",
            f"{counts.detections} detections",
        ]
        if counts.undecided:
            parts.append(f"{counts.undecided} in work")
        level = status.get("level_dbfs")
        if isinstance(level, int | float):
            parts.append(f"level {level:.0f} dBFS")
        problems = status.get("problems") or []
        parts.extend(str(problem) for problem in problems[:2])
        return ", ".join(parts)

    def _counts(self, status: dict[str, Any], *, fresh: bool = False) -> Counts:
        began = time.monotonic()
        if self.follower and (fresh or began >= self._count_again):
            self._latest = self.follower.counts()
            ended = time.monotonic()
            # Months of recordings take a while to count: at most 2 % of the time.
            self._count_again = ended + 50 * (ended - began)
        counts = self._latest
        reported = status.get("samples_lost")
        # The recorder also knows losses between recordings, but forgets at a restart.
        self._samples_lost = max(
            self._samples_lost,
            counts.samples_lost,
            reported if isinstance(reported, int) else 0,
        )
        return counts

    def finish(self) -> None:
        """Print the summary."""
        status = _read_recorder_status(self.recorder_status)
        counts = self._counts(status, fresh=True)
        summary = Summary(
            seconds=time.monotonic() - self._began,
            counts=counts,
            samples_lost=self._samples_lost,
            places=self.places,
        )
        self._clear()
        self.out.write("\n".join(["", *summary.lines(), ""]))
        self.out.flush()
        if self.follower:
            self.follower.close()

    def _clear(self) -> None:
        if self._terminal:
            self.out.write("\r\x1b[K")
