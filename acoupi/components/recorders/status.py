"""What the recorder is doing, told to other processes by a small file."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["write_status"]

logger = logging.getLogger(__name__)


def write_status(path: Path, status: Mapping[str, object]) -> None:
    """Replace a status file, so that readers see the old or the new one, never half.

    Not flushed to the disk: it describes a running process and means nothing after a
    power cut. A failure is logged, since recording matters more.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(status, indent=1) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        logger.warning("the recorder's status cannot be written: %s", error)
