"""A real microphone, through PortAudio."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from acoupi.audio.anchor import TOLERANCE
from acoupi.audio.devices import (
    Microphone,
    choose_microphone,
    find_microphone,
    list_microphones,
    refresh,
)
from acoupi.audio.sources import Sink, Source, SourceError, SourceStream
from acoupi.audio.wav import SoundFormat

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "LATENCY",
    "SERVER_TOLERANCE",
    "MicrophoneSource",
    "MicrophoneStream",
    "smallest_block",
]

LATENCY = 1.0
"""Seconds of sound that the driver is asked to hold for us.

PortAudio's own suggestions (9 and 35 ms) lose samples on a busy machine."""

SERVER_TOLERANCE = 0.25
"""Seconds that a sound server may deliver late for good without having lost frames:
it changes its buffers when other programs come and go."""

_DTYPES = {2: "int16", 3: "int24", 4: "int32"}


def smallest_block(samplerate: int) -> int:
    """Return the smallest sensible block, in frames, at a rate in Hz.

    4,096 at 48 kHz and 16,384 at 384 kHz: fewer callbacks than 25 a second.
    """
    block = 4096
    while samplerate / block > 25 and block < 16384:
        block *= 2
    return block


class MicrophoneStream(SourceStream):
    """An opened microphone.

    Parameters
    ----------
    microphone
        Which one.
    sound
        The format to ask for.
    block
        Frames handed over at a time.
    latency
        Seconds of sound that the driver is asked to hold.

    Raises
    ------
    SourceError
        When the device refuses.
    """

    def __init__(
        self, microphone: Microphone, sound: SoundFormat, block: int, latency: float
    ) -> None:
        import sounddevice

        self.format = sound
        self.identity = microphone.identity
        self.clock_tolerance = TOLERANCE if microphone.is_hardware else SERVER_TOLERANCE
        self._sink: Sink | None = None
        self._finished = False
        try:
            self._stream = sounddevice.RawInputStream(
                device=microphone.index,
                samplerate=sound.samplerate,
                channels=sound.channels,
                dtype=_DTYPES[sound.sample_width],
                blocksize=block,
                latency=latency,
                callback=self._receive,
                finished_callback=self._note_end,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise SourceError(
                f"microphone {microphone.name!r} cannot be opened at "
                f"{sound.samplerate} Hz with {sound.channels} channel(s) of "
                f"{8 * sound.sample_width} bits: {error}. `acoupi devices` shows what "
                "it takes (keys microphone.samplerate, microphone.audio_channels)"
            ) from None
        self.latency = float(self._stream.latency)
        """Seconds of sound that the driver says it holds."""

    @property
    def ended(self) -> bool:
        """Whether the driver has ended the stream."""
        return self._finished

    @property
    def failure(self) -> str | None:
        """Why it ended, as far as the driver says."""
        return (
            f"{self.identity}: the audio driver ended the stream"
            if self._finished
            else None
        )

    def start(self, sink: Sink) -> None:
        """Begin to deliver from PortAudio's thread."""
        self._sink = sink
        self._stream.start()

    def close(self) -> None:
        """Stop and release the device."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)

    def _receive(self, block: Buffer, frames: int, times: Any, status: Any) -> None:
        now = time.monotonic()
        delay = times.currentTime - times.inputBufferAdcTime
        sink = self._sink
        if sink is not None:
            sink.deliver(
                block,
                frames,
                now,
                delay if 0 < delay < 30 else None,
                bool(status.input_overflow),
            )

    def _note_end(self) -> None:
        self._finished = True


class MicrophoneSource(Source):
    """A microphone, found by name at first and by identity ever after.

    Parameters
    ----------
    name
        Identity, name, part of one of them, or ``"default"``.
    sound
        The format to ask for.
    block
        Frames handed over at a time; raised to `smallest_block`.
    latency
        Seconds of sound that the driver is asked to hold.
    """

    def __init__(
        self,
        name: str,
        sound: SoundFormat,
        *,
        block: int = 0,
        latency: float = LATENCY,
    ) -> None:
        self.name = name
        self.format = sound
        self.block = max(block, smallest_block(sound.samplerate))
        self.latency = latency
        self.identity: str | None = None
        """Identity of the microphone found first; no other is used after that."""
        self._opened_before = False

    @property
    def exhausted(self) -> bool:
        """Never: a microphone that is gone may come back."""
        return False

    def open(self) -> MicrophoneStream:
        """Find the microphone and open it."""
        if self._opened_before:
            refresh()
        self._opened_before = True
        if self.identity is None:
            microphone = find_microphone(self.name)
        else:
            microphone = choose_microphone(
                self.identity,
                [
                    m
                    for m in list_microphones(probe=False)
                    if m.identity == self.identity
                ],
            )
        stream = MicrophoneStream(microphone, self.format, self.block, self.latency)
        self.identity = microphone.identity
        return stream
