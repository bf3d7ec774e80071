"""The recording task: hands over what the recorder has finished."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from acoupi.components.types import ContinuousRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from acoupi import data
    from acoupi.components.types import AudioRecorder, RecordingCondition, Store

__all__ = ["generate_recording_task", "store_losses"]


def generate_recording_task(
    recorder: AudioRecorder,
    store: Store,
    recording_conditions: Sequence[RecordingCondition] = (),
    logger: logging.Logger | None = None,
) -> Callable[[], Iterator[data.Recording]]:
    """Build the task that stores finished recordings and passes them on.

    With a recorder that holds a stream open, the task harvests everything that is
    finished, and the recorder itself asks the conditions; with any other, it makes one
    recording if all conditions hold. A recording is stored before it is passed on.

    Parameters
    ----------
    recorder
        Makes the recordings.
    store
        Where their metadata go, and which knows the current deployment.
    recording_conditions
        ANDed; none means always.
    logger
        For what the task has to say.

    Returns
    -------
    callable
        Yields each recording.
    """
    logger = logger or logging.getLogger(__name__)

    def recording_task() -> Iterator[data.Recording]:
        """Store what was recorded and hand it on."""
        found = _next_recordings(recorder, store, recording_conditions)
        # Closed here and now: the recorder takes back what could not be stored.
        with contextlib.closing(found) as recordings:
            for recording in recordings:
                store.store_recording(recording)
                logger.debug(
                    "recorded %s: %.3f s at %d Hz",
                    recording.path,
                    recording.duration,
                    recording.samplerate,
                )
                yield recording
        store_losses(recorder, store, logger)

    return recording_task


def _next_recordings(
    recorder: AudioRecorder, store: Store, conditions: Sequence[RecordingCondition]
) -> Generator[data.Recording]:
    if isinstance(recorder, ContinuousRecorder):
        yield from recorder.harvest()
        return
    deployment = store.get_current_deployment()
    for condition in conditions:
        condition.use_deployment(deployment)
    if all(condition.should_record() for condition in conditions):
        recording = recorder.record(deployment)
        if recording is not None:
            yield recording


def store_losses(recorder: AudioRecorder, store: Store, logger: logging.Logger) -> None:
    """Keep account of what a recorder has lost since it was last asked.

    With recorders that tell, and stores that can count; never raises.
    """
    take_losses = getattr(recorder, "take_losses", None)
    add_loss = getattr(store, "add_loss", None)
    if take_losses is None or add_loss is None:
        return
    for loss in take_losses():
        try:
            add_loss(kind=loss.kind, count=loss.count, reason=loss.reason)
        except Exception:
            logger.exception(
                "%d lost %s cannot be accounted for now", loss.count, loss.kind
            )
            if (take_back := getattr(recorder, "take_back", None)) is not None:
                take_back(loss)
