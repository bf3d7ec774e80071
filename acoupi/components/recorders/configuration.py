"""What sound to record, as users configure it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from acoupi.components.places import FullPath

if TYPE_CHECKING:
    from acoupi.audio.sources import Source

__all__ = ["MicrophoneConfig"]


class MicrophoneConfig(BaseModel):
    """The microphone, or what stands for one."""

    model_config = ConfigDict(extra="forbid")

    device_name: str = Field(
        default="default",
        min_length=1,
        description=(
            "Microphone: its identity or name, or a part of it, as `acoupi devices` "
            "shows it; 'default' is the system's default device"
        ),
    )
    samplerate: int = Field(
        default=48_000,
        ge=1_000,
        le=1_000_000,
        description="Samples per second, in Hz",
    )
    audio_channels: int = Field(
        default=1, ge=1, le=64, description="Number of channels to record"
    )
    time_expansion: float = Field(
        default=1,
        gt=0,
        description="Factor by which the microphone slows sound down; 1 for most",
    )
    bit_depth: Literal[16, 24, 32] = Field(
        default=16, description="Bits per sample that the microphone is asked for"
    )
    source: Literal["microphone", "file", "folder", "signal"] = Field(
        default="microphone",
        description=(
            "Where sound comes from: the microphone, or what stands for one: a sound "
            "file, a folder of them, or a generated signal"
        ),
    )
    source_path: FullPath | None = Field(
        default=None,
        description="Sound file or folder to play when source is file or folder",
        json_schema_extra={"applies_when": {"source": ["file", "folder"]}},
    )
    source_loop: bool = Field(
        default=True,
        description="Whether to play the file or folder again and again",
        json_schema_extra={"applies_when": {"source": ["file", "folder"]}},
    )
    source_realtime: bool = Field(
        default=True,
        description=(
            "Whether what stands for a microphone keeps the pace of real time; "
            "otherwise it is recorded as fast as the machine can"
        ),
        json_schema_extra={"applies_when": {"source": ["file", "folder", "signal"]}},
    )

    @model_validator(mode="after")
    def _check_path(self) -> Self:
        if self.source in {"file", "folder"} and self.source_path is None:
            raise ValueError(
                f"source_path is missing: source is {self.source!r}, so it must name "
                f"a {'sound file' if self.source == 'file' else 'folder'}"
            )
        return self

    def build_source(self, chunksize: int = 0) -> Source:
        """Return the source of sound that is configured; opens nothing.

        Parameters
        ----------
        chunksize
            Frames that the microphone hands over at a time; raised when too small for
            the rate.
        """
        width = self.bit_depth // 8
        if self.source == "signal":
            from acoupi.audio.scene import SignalSource

            return SignalSource(
                self.samplerate,
                channels=self.audio_channels,
                sample_width=2 if width == 2 else 4,
                realtime=self.source_realtime,
            )
        if self.source_path is not None and self.source in {"file", "folder"}:
            from acoupi.audio.sources import FileSource

            return FileSource(
                self.source_path,
                channels=self.audio_channels,
                sample_width=2 if width == 2 else 4,
                loop=self.source_loop,
                realtime=self.source_realtime,
            )
        from acoupi.audio.microphone import MicrophoneSource
        from acoupi.audio.wav import SoundFormat

        return MicrophoneSource(
            self.device_name,
            SoundFormat(self.samplerate, self.audio_channels, width),
            block=chunksize,
        )
