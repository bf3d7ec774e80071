"""Sound files that a former run of the recorder did not finish."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from acoupi.audio.repair import repair

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["repair_leftovers"]

logger = logging.getLogger(__name__)


def repair_leftovers(directory: Path) -> list[Path]:
    """Cut torn recordings to the sound that is there and give them their final names.

    Complete recordings that nobody harvested are found by the keeping task. A file
    that holds no sound is deleted; one that cannot be repaired is renamed to end in
    ``.damaged``, so that it is not tried again, and the reason is logged.

    Parameters
    ----------
    directory
        Where the recorder writes.

    Returns
    -------
    list of Path
        The repaired files.
    """
    repaired = []
    for path in sorted(directory.glob("*.wav.part")):
        try:
            outcome = repair(path)
            if outcome.repaired:
                logger.warning("%s was repaired: %s", outcome.path, outcome.reason)
                repaired.append(outcome.path)
            else:
                aside = path.with_name(path.name + ".damaged")
                path.rename(aside)
                logger.error("%s cannot be repaired: %s", aside, outcome.reason)
        except OSError as error:
            logger.warning("%s cannot be repaired now: %s", path, error)
    return repaired
