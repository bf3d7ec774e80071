"""What went wrong in a process lately, told to who asks how the sensor is.

A log is read by those who look for something. What a process logs as an error is also
kept, in a few words and counted, in a small file of its own, so that the status can
name it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from acoupi.audio.wallclock import read_boot_id
from acoupi.data import utc_now
from acoupi.system.credentials import mask_url_passwords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["TroubleLog", "read_troubles"]

RECENT = 900.0
"""Seconds for which a trouble that does not come again is told."""

MOST_KINDS = 5
"""Kinds of trouble that a process remembers, the latest."""

LONGEST_TEXT = 300

PAUSE = 10.0
"""Seconds at least between two writings, but for a trouble of a new kind."""

_TOLD_ELSEWHERE = ("celery.worker.consumer", "kombu")
"""Loggers of the connection to the broker, whose absence the services tell."""

_PREFIX = "trouble-"


class TroubleLog(logging.Handler):
    """Remembers the errors that a process logs.

    Parameters
    ----------
    path : Path
        The file that tells others.
    role : str
        Name of the process, as `acoupi.system.liveness.ProcessState` has it.
    clock : callable
        Monotonic clock in seconds, the same for all processes.
    """

    def __init__(
        self, path: Path, role: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(logging.ERROR)
        self._path = path
        self._role = role
        self._clock = clock
        self._kinds: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._writing = threading.Lock()
        self._due = 0.0
        self._boot_id = read_boot_id()
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._open()

    @classmethod
    def of_role(cls, run_dir: Path, role: str) -> TroubleLog:
        """Return the one of a role, which writes beside the other status files."""
        return cls(run_dir / f"{_PREFIX}{role}.json", role)

    def emit(self, record: logging.LogRecord) -> None:
        """Remember an error."""
        if record.name.startswith(_TOLD_ELSEWHERE):
            return
        raised = record.exc_info[1] if record.exc_info else None
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit the message
            text = str(record.msg)
        key = (record.name, str(record.msg), type(raised).__name__)
        self.note(text, raised, key)

    def note(
        self,
        text: str,
        raised: BaseException | None = None,
        key: tuple[str, str, str] | None = None,
    ) -> None:
        """Remember a trouble in words, and what was raised."""
        if raised is not None:
            text = f"{text.rstrip('.')}: {type(raised).__name__}: {raised}"
        # The status shows it to whoever asks; what connects names its address.
        text = mask_url_passwords(" ".join(text.split()))[:LONGEST_TEXT]
        key = key or ("", text, "")
        now, today = self._clock(), utc_now().isoformat()
        with self._writing:
            is_new = key not in self._kinds
            kind = self._kinds.pop(key, {"count": 0, "first_on": today})
            kind |= {"text": text, "last_on": today, "last_monotonic": now}
            kind["count"] += 1
            # The latest is last.
            self._kinds[key] = kind
            while len(self._kinds) > MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            if is_new or now >= self._due:
                self._due = now + PAUSE
                self._write()

    def _write(self) -> None:
        content = {
            "role": self._role,
            "boot_id": self._boot_id,
            "troubles": list(self._kinds.values()),
        }
        text = (json.dumps(content, indent=1) + "\n").encode()
        # It is in the log, where there is one; nothing else depends on it.
        with contextlib.suppress(OSError):
            # Into a file that is open already, since the trouble may be that no other
            # can be opened; not flushed, since it is about a process that runs.
            file = self._open() if self._file is None else self._file
            os.pwrite(file, text, 0)
            os.ftruncate(file, len(text))

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        # While the process ends, threads may still open files and log: the number of
        # one that was closed would be another file's, and that one written over.
        weakref.finalize(self, os.close, self._file).atexit = False
        return self._file


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        # It may have been written to just now; that takes no time.
        time.sleep(0.01)
        return json.loads(path.read_text("utf-8"))


def read_troubles(
    run_dir: Path, clock: Callable[[], float] = time.monotonic
) -> list[dict[str, Any]]:
    """Return what went wrong lately in the processes of a sensor, latest first.

    Returns
    -------
    list of dict
        ``role``, ``text``, ``count``, ``first_on``, ``last_on`` and ``age``, the
        seconds since it happened last.
    """
    found = []
    now, boot_id = clock(), read_boot_id()
    for path in sorted(run_dir.glob(f"{_PREFIX}*.json")):
        try:
            told = _read(path)
            if told["boot_id"] != boot_id:
                continue
            for trouble in told["troubles"]:
                age = now - trouble.pop("last_monotonic")
                if age < RECENT:
                    found.append({"role": told["role"], **trouble, "age": age})
        except (OSError, ValueError, KeyError, TypeError):
            # Half of it, or of another version: no trouble that one can name.
            continue
    return sorted(found, key=lambda it: float(it["age"]))
