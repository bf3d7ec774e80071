"""A fixed piece of memory between the audio callback and the writer of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SampleRing"]


class SampleRing:
    """Frames on their way from one producer thread to one consumer thread.

    Positions are absolute: they count the frames stored since the ring was made and
    never wrap. Neither side ever waits for the other: a block that does not fit is
    refused as a whole, and the producer counts it as lost. No lock is needed, since
    each of the two counters is changed by one side only, and only after the bytes it
    covers were copied.

    Parameters
    ----------
    capacity
        Frames that fit, at least 1.
    frame_bytes
        Bytes of a frame: channels times sample width, at least 1.

    Raises
    ------
    ValueError
        When one of the two is below 1.
    """

    def __init__(self, capacity: int, frame_bytes: int) -> None:
        if capacity < 1 or frame_bytes < 1:
            raise ValueError(
                f"a ring of {capacity} frames of {frame_bytes} bytes: both must be >= 1"
            )
        self.capacity = capacity
        self.frame_bytes = frame_bytes
        self._memory = memoryview(bytearray(capacity * frame_bytes))
        self._stored = 0
        self._consumed = 0

    @property
    def stored(self) -> int:
        """Frames stored since the beginning; the position of the next one."""
        return self._stored

    @property
    def consumed(self) -> int:
        """Frames consumed since the beginning; the position of the next to read."""
        return self._consumed

    @property
    def available(self) -> int:
        """Frames that wait to be consumed."""
        return self._stored - self._consumed

    @property
    def free(self) -> int:
        """Frames that fit now."""
        return self.capacity - (self._stored - self._consumed)

    def write(self, block: Buffer) -> bool:
        """Store a block of whole frames; False, and nothing stored, when it is too big.

        Called by the producer only.

        Raises
        ------
        ValueError
            When the block does not consist of whole frames.
        """
        source = memoryview(block).cast("B")
        frames, rest = divmod(len(source), self.frame_bytes)
        if rest:
            raise ValueError(
                f"{len(source)} bytes are not whole frames of {self.frame_bytes} bytes"
            )
        if frames > self.capacity - (self._stored - self._consumed):
            return False
        start = self._stored % self.capacity
        first = min(frames, self.capacity - start)
        begin, middle = start * self.frame_bytes, first * self.frame_bytes
        self._memory[begin : begin + middle] = source[:middle]
        if first < frames:
            self._memory[: len(source) - middle] = source[middle:]
        self._stored += frames
        return True

    def peek(self, frames: int) -> memoryview:
        """Return a view of up to ``frames`` of the next frames, without copying.

        May hold fewer than asked for at the end of the memory: consume what it holds
        and peek again. Valid until it is consumed. Called by the consumer only.
        """
        start = self._consumed % self.capacity
        count = max(0, min(frames, self.available, self.capacity - start))
        begin = start * self.frame_bytes
        return self._memory[begin : begin + count * self.frame_bytes]

    def consume(self, frames: int) -> None:
        """Give the memory of the next frames back to the producer.

        Called by the consumer only.

        Raises
        ------
        ValueError
            When fewer frames than that wait.
        """
        if not 0 <= frames <= self.available:
            raise ValueError(
                f"cannot consume {frames} frames: {self.available} are available"
            )
        self._consumed += frames
