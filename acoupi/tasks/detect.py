"""The detection task: models, cleaners, store and messages for one recording."""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import TYPE_CHECKING

from acoupi.components.stores.errors import DatabaseError
from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from acoupi import data
    from acoupi.components import types

__all__ = ["generate_detection_task"]

MESSAGE_NAMESPACE = uuid.UUID("6b1c2a52-5f0e-4f43-9f0d-6d1a2f0c7b10")
"""Makes ids of messages the same whenever the same output is analysed again."""


def generate_detection_task(
    store: types.Store,
    models: Sequence[types.Model],
    output_cleaners: Sequence[types.ModelOutputCleaner] = (),
    processing_filters: Sequence[types.ProcessingFilter] = (),
    message_factories: Sequence[types.MessageBuilder] = (),
    message_store: types.MessageStore | None = None,
    logger: logging.Logger | None = None,
    max_attempts: int = 3,
) -> Callable[[data.Recording], None]:
    """Build the task that analyses a recording.

    Running it again for the same recording changes nothing: there is one output per
    recording and model, and an output and its messages are stored together or not at
    all. When the messages are in another database than the outputs, messages are
    stored first, under ids that are the same each time.

    Parameters
    ----------
    store
        Where outputs go.
    models
        Run one after the other.
    output_cleaners
        Applied to each output, in order.
    processing_filters
        ANDed; a recording that one refuses is noted as done without an output.
    message_factories
        Make messages of each cleaned output.
    message_store
        Where messages go; without one none are made.
    logger
        For what the task has to say.
    max_attempts
        How often a model is started on one recording. After that, the recording is
        given up for it, and the keeping task sets it aside.

    Returns
    -------
    callable
        Takes a recording and returns nothing.
    """
    detector = _Detector(
        store,
        output_cleaners,
        processing_filters,
        message_factories if message_store is not None else (),
        message_store,
        logger or logging.getLogger(__name__),
        max_attempts,
    )

    def detection_task(recording: data.Recording) -> None:
        """Run the model on a recording and store what it finds."""
        detector.detect(recording, models)

    return detection_task


class _Detector:
    def __init__(
        self,
        store: types.Store,
        cleaners: Sequence[types.ModelOutputCleaner],
        filters: Sequence[types.ProcessingFilter],
        factories: Sequence[types.MessageBuilder],
        message_store: types.MessageStore | None,
        logger: logging.Logger,
        max_attempts: int,
    ) -> None:
        self.store = store
        self.cleaners = cleaners
        self.filters = filters
        self.factories = factories
        self.message_store = message_store
        self.logger = logger
        self.max_attempts = max_attempts

    def detect(self, recording: data.Recording, models: Sequence[types.Model]) -> None:
        self.store.store_recording(recording)
        names = [model.name for model in models]
        unfinished = self.store.get_unfinished_models(recording, names)
        if not unfinished:
            self.logger.debug("%s was analysed before", recording.id)
            return
        current = self._find(recording)
        if current is None:
            return
        refusal = self._refuse(current)
        for model in models:
            if model.name not in unfinished:
                continue
            if refusal is not None:
                self.store.note_refusal(current, model.name, refusal)
            else:
                self._run(model, current)

    def _find(self, recording: data.Recording) -> data.Recording | None:
        """Return the recording as stored; its file may have moved since it was sent."""
        stored = self.store.get_recordings([recording.id])
        current = stored[0][0] if stored else recording
        if current.path is None or not current.path.exists():
            state = self.store.get_state(recording)
            if state in {"undecided", None}:
                self.logger.warning("%s is gone: not analysed", current.path)
            return None
        return current

    def _refuse(self, recording: data.Recording) -> str | None:
        for condition in self.filters:
            name = type(condition).__name__
            try:
                wanted = condition.should_process(recording)
            except Exception:
                # a filter that fails must not cost detections
                self.logger.exception("%s failed on %s", name, recording.path)
                continue
            if not wanted:
                self.logger.debug("%s refused %s", name, recording.path)
                return f"refused by {name}"
        return None

    def _run(self, model: types.Model, recording: data.Recording) -> None:
        attempt = self.store.note_attempt(recording, model.name)
        if not self.store.get_unfinished_models(recording, [model.name]):
            self.logger.debug("%s was decided meanwhile", recording.id)
            return
        if attempt > self.max_attempts:
            self._give_up(
                model, recording, f"ended the process {self.max_attempts} times"
            )
            return
        try:
            self._store(self._analyse(model, recording))
        except DatabaseError:
            # the disk's fault, not the model's: the attempt does not count
            with contextlib.suppress(Exception):
                self.store.withdraw_attempt(recording, model.name)
            raise
        except Exception as error:
            if not self.store.get_unfinished_models(recording, [model.name]):
                # whoever was at it at the same time may have had the file moved away
                self.logger.debug("%s was analysed meanwhile", recording.id)
                return
            self.logger.exception(
                "%s failed on %s (attempt %d of %d)",
                model.name,
                recording.path,
                attempt,
                self.max_attempts,
            )
            if attempt == self.max_attempts:
                reason = f"raised {type(error).__name__}: {error}"
                self._give_up(model, recording, reason)

    def _give_up(
        self, model: types.Model, recording: data.Recording, reason: str
    ) -> None:
        self.logger.error("%s is given up on %s: %s", model.name, recording.id, reason)
        self.store.note_failure(recording, model.name, reason)
        self.store.add_loss("analyses", 1, f"{model.name} failed")

    def _analyse(
        self, model: types.Model, recording: data.Recording
    ) -> data.ModelOutput:
        output = model.run(recording)
        if output.name_model != model.name:
            raise AcoupiError(
                f"the model {model.name!r} returned an output of "
                f"{output.name_model!r}: both names must be the same"
            )
        for cleaner in self.cleaners:
            output = cleaner.clean(output)
        return output.model_copy(update={"recording": recording})

    def _store(self, output: data.ModelOutput) -> None:
        messages = list(self._build_messages(output))
        with self.store.transaction():
            if not self.store.store_model_output(output):
                return
            if self.message_store is not None:
                for message in messages:
                    self.message_store.store_message(message)
        # Of a recording in which there is something, one line; of others none.
        self.logger.log(
            logging.INFO if output.detections else logging.DEBUG,
            "%s found %d in %s",
            output.name_model,
            len(output.detections),
            output.recording.path,
        )

    def _build_messages(self, output: data.ModelOutput) -> Iterator[data.Message]:
        for number, factory in enumerate(self.factories):
            try:
                built = factory.build_message(output)
            except Exception:
                # the detections matter more than the news of them
                name = type(factory).__name__
                self.logger.exception("%s failed on an output", name)
                self.store.add_loss("messages", 1, f"{name} failed")
                continue
            messages = built if isinstance(built, list) else [built]
            for place, message in enumerate(messages):
                if message is not None:
                    name = f"{output.recording.id}/{output.name_model}/{number}/{place}"
                    key = uuid.uuid5(MESSAGE_NAMESPACE, name)
                    yield message.model_copy(update={"id": key})
