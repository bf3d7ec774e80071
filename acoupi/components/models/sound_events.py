"""Sound events that rise above an adaptive noise floor, found with numpy alone.

The steps, for each stretch of some seconds:

1. Power spectra (Hann windows, half overlapping), smoothed over 3 by 3 cells with
   binomial weights.
2. Noise floor of each frequency: a low quantile of its power over the stretch,
   corrected to the mean that noise with this quantile has. The idea is that of minimum
   statistics (R. Martin, IEEE Trans. Speech and Audio Processing 9, 2001, 504-512); a
   quantile is steadier than a minimum (V. Stahl, A. Fischer, R. Bippus, ICASSP 2000).
3. Weather: what raises a whole band at once and lasts (wind, rain, engines), and what
   raises all bands for a moment (drops, clicks), is taken off. It is found as the
   median rise of the band's frequencies, which a narrow sound does not move.
4. Regions above the floor with hysteresis (`regions`), edges without leakage skirts.
5. Regions that are close in time, or simultaneous like harmonics, are one event.
6. What is short and rises at all frequencies at once is a click. One that stands alone
   is an event; many of them, or one that the flutter of rain explains, are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from acoupi.audio.spectrum import SpectrumLayout, decibels, power_spectra
from acoupi.components.models.regions import Region, find_regions
from acoupi.components.models.weather import BAND_BINS, FAINT, take_off_weather

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EventSettings", "SoundEvent", "find_sound_events"]

STRETCH = 6.0
"""Seconds of sound with one noise floor: several times longer than most calls."""
STRETCH_SPECTRA = 2048
"""Bound on the memory one stretch takes: at 384 kHz it is 2.7 s."""
FLOOR_QUANTILE = 0.25
"""Share of time that must be free of sound for the floor of a frequency to hold."""
FLOOR_CORRECTION = 1.9
"""dB from that quantile of smoothed white noise to its mean; measured, see the test."""
CLICK_SECONDS = 0.06
"""Longest duration of a click."""
CLICK_ALLOWANCE = 3.0
"""dB by which a click may stay below the threshold: it rises at all frequencies."""
CLICK_OCTAVES = 1.8
"""Ratio of a click's highest to its lowest frequency, at least."""
CLICK_UNITY = 0.7
"""Share of its frequencies that a click has at its loudest moment."""
EXTENT = 20.0
"""dB below its peak at which an event ends."""


@dataclass(frozen=True)
class EventSettings:
    """What counts as a sound event."""

    low_frequency: float = 200.0
    """Hz; what is below is ignored: wind, handling, mains."""
    high_frequency: float | None = None
    """Hz; what is above is ignored; None: half the samplerate."""
    threshold: float = 9.0
    """dB above the noise floor that an event reaches."""
    continuation: float = 5.0
    """dB above the noise floor down to which it continues."""
    min_cells: int = 8
    """Fewest time-frequency cells of an event."""
    merge_gap: float = 0.05
    """Seconds between two sounds at most for them to be one event."""
    min_duration: float = 0.0
    """Seconds; shorter events are dropped."""
    clicks: bool = True
    """Whether single clicks are events."""
    max_click_rate: float = 4.0
    """Clicks per second above which they are rain or crackle."""
    max_events: int = 500
    """Most events of one recording; the strongest are kept."""


@dataclass(frozen=True)
class SoundEvent:
    """A sound that rises above the noise."""

    start: float
    """Seconds from the start of the sound."""
    end: float
    low: float
    """Hz."""
    high: float
    peak_frequency: float
    """Hz, where it is strongest."""
    snr: float
    """dB above the noise floor, mean of its strongest cells."""
    cells: int
    """Time-frequency cells it covers."""
    kind: Literal["activity", "click"] = "activity"


def find_sound_events(
    blocks: Iterable[NDArray[np.float32]],
    samplerate: int,
    settings: EventSettings | None = None,
) -> list[SoundEvent]:
    """Find the events of one sound, in bounded memory.

    Parameters
    ----------
    blocks
        Pieces of the sound, shape (frames,) or (frames, channels).
    samplerate
        Frames per second, in Hz.
    settings
        What counts as an event.

    Returns
    -------
    list of SoundEvent
        In the order they begin; none for sound shorter than three spectra.
    """
    settings = settings or EventSettings()
    layout = SpectrumLayout.for_samplerate(samplerate)
    events: list[SoundEvent] = []
    clicks: list[SoundEvent] = []
    first = 0
    for power in _stretches(power_spectra(blocks, layout), layout):
        found = _events_of_stretch(power, layout, settings, first)
        events += (event for event in found if event.kind == "activity")
        clicks += (event for event in found if event.kind == "click")
        first += len(power)
    events = _merge(events, settings.merge_gap, layout.step)
    if settings.clicks:
        events += _single_clicks(clicks, settings)
    events = [e for e in events if e.end - e.start >= settings.min_duration]
    events = sorted(events, key=lambda event: -event.snr)[: settings.max_events]
    return sorted(events, key=lambda event: (event.start, event.low))


def _stretches(
    spectra: Iterable[NDArray[np.float32]], layout: SpectrumLayout
) -> Iterator[NDArray[np.float32]]:
    """Cut into stretches of about `STRETCH` seconds, none of them short."""
    length = min(STRETCH_SPECTRA, max(8, round(STRETCH / layout.step)))
    pending: list[NDArray[np.float32]] = []
    count = 0
    for piece in spectra:
        pending.append(piece)
        count += len(piece)
        if count >= 2 * length:
            joined = np.concatenate(pending)
            while len(joined) >= 2 * length:
                yield joined[:length]
                joined = joined[length:]
            pending, count = [joined], len(joined)
    if count >= 3:
        yield np.concatenate(pending)


def _events_of_stretch(
    power: NDArray[np.float32],
    layout: SpectrumLayout,
    settings: EventSettings,
    first: int,
) -> list[SoundEvent]:
    nyquist = layout.samplerate / 2
    top = min(settings.high_frequency or nyquist, nyquist)
    low = max(2, round(settings.low_frequency / layout.bin_width))
    high = min(layout.bins - 2, round(top / layout.bin_width))
    if high - low < BAND_BINS:
        return []
    rise = _rise(power[:, low:high], layout.silence)
    clicks = take_off_weather(rise, layout, low)
    regions = find_regions(
        rise,
        min(settings.continuation, settings.threshold),
        settings.threshold,
        min_cells=settings.min_cells,
        extent=EXTENT,
    )
    events = [_event(region, layout, first, low) for region in regions]
    return events + [_click(run, layout, first, low, high) for run in _runs_of(clicks)]


def _rise(power: NDArray[np.float32], silence: float) -> NDArray[np.float32]:
    """Return dB above the noise floor of each frequency."""
    smooth = _smooth(power)
    level = decibels(smooth, silence)
    rank = int(FLOOR_QUANTILE * (len(level) - 1))
    floor = np.partition(level, rank, axis=0)[rank]
    level -= floor + np.float32(FLOOR_CORRECTION)
    return level


def _smooth(power: NDArray[np.float32]) -> NDArray[np.float32]:
    across = power.copy()
    across[:, 1:-1] = (power[:, :-2] + power[:, 2:]) * np.float32(0.25)
    across[:, 1:-1] += power[:, 1:-1] * np.float32(0.5)
    smooth = across * np.float32(0.5)
    smooth[1:] += across[:-1] * np.float32(0.25)
    smooth[:-1] += across[1:] * np.float32(0.25)
    smooth[0] += across[0] * np.float32(0.25)
    smooth[-1] += across[-1] * np.float32(0.25)
    return smooth


def _event(region: Region, layout: SpectrumLayout, first: int, low: int) -> SoundEvent:
    return SoundEvent(
        start=(first + region.first_frame + 0.5) * layout.step,
        end=(first + region.last_frame + 1.5) * layout.step,
        low=(low + region.first_bin - 0.5) * layout.bin_width,
        high=(low + region.last_bin + 0.5) * layout.bin_width,
        peak_frequency=(low + region.peak_bin) * layout.bin_width,
        snr=region.strength,
        cells=region.cells,
        kind="click" if _is_impulse(region, layout, low) else "activity",
    )


def _is_impulse(region: Region, layout: SpectrumLayout, low: int) -> bool:
    """Tell whether a region is short and wide, and as wide at its loudest moment.

    A sweep is wide as well, but not at any one moment.
    """
    seconds = (region.last_frame - region.first_frame + 1) * layout.step
    width = region.last_bin - region.first_bin + 1
    return (
        seconds <= CLICK_SECONDS
        and width >= BAND_BINS
        and low + region.last_bin >= CLICK_OCTAVES * (low + region.first_bin)
        and region.peak_frame_width >= CLICK_UNITY * width
    )


def _runs_of(clicks: NDArray[np.float32]) -> list[tuple[int, int, float]]:
    return [
        (region.first_frame, region.last_frame, region.peak)
        for region in find_regions(clicks[:, None], FAINT, FAINT)
    ]


def _click(
    run: tuple[int, int, float],
    layout: SpectrumLayout,
    first: int,
    low: int,
    high: int,
) -> SoundEvent:
    return SoundEvent(
        start=(first + run[0] + 0.5) * layout.step,
        end=(first + run[1] + 1.5) * layout.step,
        low=low * layout.bin_width,
        high=high * layout.bin_width,
        peak_frequency=(low + high) / 2 * layout.bin_width,
        snr=run[2],
        cells=(run[1] - run[0] + 1) * (high - low),
        kind="click",
    )


def _single_clicks(
    clicks: list[SoundEvent], settings: EventSettings
) -> list[SoundEvent]:
    """Keep clicks that are strong, short and not one of many."""
    starts = np.array([click.start for click in clicks])
    single = []
    for click in clicks:
        around = np.count_nonzero(np.abs(starts - click.start) <= 1.0)
        if (
            click.snr >= settings.threshold - CLICK_ALLOWANCE
            and click.end - click.start <= CLICK_SECONDS
            and around <= 2 * settings.max_click_rate
        ):
            single.append(click)
    return single


def _merge(events: list[SoundEvent], gap: float, step: float) -> list[SoundEvent]:
    """Join events that are close in time or sound together."""
    merged: list[SoundEvent] = []
    for event in sorted(events, key=lambda event: event.start):
        joined = event
        keep = []
        for other in merged:
            if other.end < event.start - 1.0 - gap:
                keep.append(other)
            elif _belong_together(other, joined, gap, step):
                joined = _join(other, joined)
            else:
                keep.append(other)
        keep.append(joined)
        merged = keep
    return merged


def _belong_together(a: SoundEvent, b: SoundEvent, gap: float, step: float) -> bool:
    between = max(a.start, b.start) - min(a.end, b.end)
    shared_band = min(a.high, b.high) - max(a.low, b.low)
    if shared_band >= 0:
        return between <= gap
    overlap = -between
    shorter = min(a.end - a.start, b.end - b.start)
    longer = max(a.end - a.start, b.end - b.start)
    return overlap >= 0.6 * shorter and overlap >= 0.4 * longer - step


def _join(a: SoundEvent, b: SoundEvent) -> SoundEvent:
    stronger = a if a.snr >= b.snr else b
    return replace(
        stronger,
        start=min(a.start, b.start),
        end=max(a.end, b.end),
        low=min(a.low, b.low),
        high=max(a.high, b.high),
        cells=a.cells + b.cells,
    )
