from __future__ import annotations

import numpy as np
import pytest
import soundfile

from acoupi.audio.spectrum import (
    SpectrumLayout,
    band_levels,
    decibels,
    power_spectra,
    write_spectrogram_image,
)

LAYOUT = SpectrumLayout.for_samplerate(48000)
RNG = np.random.default_rng(3)


def tone(frequency: float, seconds: float = 1.0, samplerate: int = 48000) -> np.ndarray:
    moments = np.arange(int(seconds * samplerate)) / samplerate
    return np.sin(2 * np.pi * frequency * moments).astype(np.float32)


@pytest.mark.parametrize(
    ("samplerate", "window"),
    [(8000, 128), (16000, 256), (48000, 1024), (192_000, 1024), (384_000, 1024)],
)
def test_the_window_suits_the_samplerate(samplerate, window):
    assert SpectrumLayout.for_samplerate(samplerate).window == window


def test_the_power_of_all_frequencies_is_the_mean_square():
    noise = RNG.normal(0, 0.1, 48000).astype(np.float32)
    (power,) = power_spectra([noise], LAYOUT)
    assert power.sum(axis=1).mean() == pytest.approx(np.mean(noise**2), rel=0.02)


def test_a_tone_is_where_it_belongs():
    (power,) = power_spectra([tone(6000)], LAYOUT)
    assert (power.argmax(axis=1) == 128).all()
    assert power.sum(axis=1) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("sizes", [[1] * 30 + [5000], [1023, 1, 511, 2000], [5030]])
def test_pieces_give_the_same_spectra_as_the_whole(sizes):
    sound = RNG.normal(0, 0.1, 5030).astype(np.float32)
    pieces = np.split(sound, np.cumsum(sizes)[:-1])
    whole = np.concatenate(list(power_spectra([sound], LAYOUT)))
    pieced = np.concatenate(list(power_spectra(pieces, LAYOUT)))
    assert len(whole) == (5030 - 1024) // 512 + 1
    np.testing.assert_allclose(pieced, whole, rtol=1e-5)


def test_channels_are_averaged():
    stereo = np.stack([tone(6000), np.zeros(48000, np.float32)], axis=1)
    (power,) = power_spectra([stereo], LAYOUT)
    assert power.sum(axis=1) == pytest.approx(0.25, rel=1e-3)


def test_sound_shorter_than_a_window_has_no_spectra():
    assert list(power_spectra([np.zeros(1023, np.float32)], LAYOUT)) == []


def test_silence_has_the_level_of_rounding_errors():
    noise = np.round(RNG.uniform(-0.5, 0.5, 48000 * 4)) * 0
    noise += RNG.uniform(-(2.0**-16), 2.0**-16, noise.size)
    (power,) = power_spectra([noise.astype(np.float32)], LAYOUT)
    assert power[:, 1:-1].mean() == pytest.approx(LAYOUT.silence, rel=0.02)
    level = decibels(np.zeros((1, 3), np.float32), LAYOUT.silence)
    assert np.isfinite(level).all()


def test_a_band_has_the_level_of_what_sounds_in_it():
    (power,) = power_spectra([tone(6000)], LAYOUT)
    levels = band_levels(power, LAYOUT, [(5000, 7000), (7000, 24001)])
    assert levels[:, 0] == pytest.approx(-3.01, abs=0.1)
    assert (levels[:, 1] < -80).all()


def test_the_image_shows_time_to_the_right_and_frequency_upwards(tmp_path):
    sound = np.concatenate([np.zeros(24000, np.float32), tone(18000, 0.5)])
    path = write_spectrogram_image(tmp_path / "a.png", [sound], LAYOUT)
    image = read_png(path)
    assert image.shape == (513, 92)
    row, column = np.unravel_index(image.argmin(), image.shape)
    assert row == pytest.approx(513 * (1 - 0.75), abs=2)
    assert column > 45
    assert image[:, :40].min() == 255
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("seconds", [3, 4.99, 7])
def test_a_long_sound_gives_an_image_of_bounded_width(tmp_path, seconds):
    sound = np.concatenate([tone(3000, seconds / 2), tone(9000, seconds / 2)])
    pieces = np.array_split(sound, 7)
    path = write_spectrogram_image(tmp_path / "a.png", pieces, LAYOUT, max_width=100)
    image = read_png(path)
    assert 45 <= image.shape[1] <= 101
    change = np.flatnonzero(np.diff(image.argmin(axis=0) < 385))
    assert change == pytest.approx([image.shape[1] / 2], abs=3)


def test_an_image_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="shorter than one window"):
        write_spectrogram_image(tmp_path / "a.png", [], LAYOUT)
    assert list(tmp_path.iterdir()) == []


def test_spectra_of_a_file_read_in_pieces(tmp_path):
    from acoupi.audio.soundfiles import read_blocks

    soundfile.write(tmp_path / "a.flac", tone(6000) / 2, 48000)
    power = np.concatenate(
        list(power_spectra(read_blocks(tmp_path / "a.flac", 10_000), LAYOUT))
    )
    assert (power.argmax(axis=1) == 128).all()


def read_png(path):
    import struct
    import zlib

    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks = {}
    place = 8
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        checksum = content[place + 8 + length : place + 12 + length]
        assert struct.unpack(">I", checksum)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
    rows = rows.reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]
