from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from acoupi import data
from acoupi.audio.soundfiles import SoundFileError, read_recording
from acoupi.components.models import ActivityConfig, ActivityDetector
from acoupi.components.models.activity import band_name, score
from acoupi.components.models.sound_events import (
    EventSettings,
    SoundEvent,
    find_sound_events,
)

BENCH = Path(__file__).parents[3] / "bench"


@cache
def scenes():
    spec = importlib.util.spec_from_file_location(
        "activity_scenes", BENCH / "activity_scenes.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def bench():
    scenes()
    spec = importlib.util.spec_from_file_location(
        "activity_bench", BENCH / "activity.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tally(made, threshold=0.2):
    counted = bench().Tally()
    for scene in made:
        counted.add(bench().find(scene, threshold), scene.truths)
    return counted


# Seeds that neither the weights of the score nor the tables of the docs use.
SEEDS = (1000, 1001)


@pytest.mark.parametrize("kind", ["chirp", "call", "trill", "tone", "click"])
def test_clear_sounds_in_steady_noise_are_all_found_and_nothing_else(kind):
    made = [scenes().make_scene(kind, "pink", 10, 48000, seed) for seed in SEEDS]
    counted = tally(made)
    assert counted.recall >= 0.95
    assert counted.precision == 1


@pytest.mark.parametrize("kind", ["chirp", "call", "trill", "tone", "click"])
def test_clear_sounds_in_wind_are_found(kind):
    made = [scenes().make_scene(kind, "wind", 15, 48000, seed) for seed in SEEDS]
    counted = tally(made)
    assert counted.recall >= 0.9
    assert counted.precision >= 0.7


@pytest.mark.parametrize("kind", ["chirp", "call", "trill", "tone"])
def test_clear_sounds_in_rain_are_found(kind):
    made = [scenes().make_scene(kind, "rain", 15, 48000, seed) for seed in SEEDS]
    assert tally(made).recall >= 0.9
    assert tally(made, 0.5).precision >= 0.6


@pytest.mark.parametrize("kind", ["sweep", "constant", "social", "click"])
def test_clear_ultrasonic_calls_are_all_found_and_nothing_else(kind):
    counted = tally([scenes().make_scene(kind, "pink", 10, 384_000, 1000, 5.0)])
    assert counted.recall == 1
    assert counted.precision == 1


@pytest.mark.parametrize(
    ("background", "samplerate", "most"),
    [("pink", 48000, 0), ("wind", 48000, 4), ("rain", 48000, 6), ("pink", 384_000, 1)],
)
def test_noise_alone_seldom_counts(background, samplerate, most):
    seconds = 20.0 if samplerate == 48000 else 5.0
    scene = scenes().make_empty_scene(background, samplerate, 1000, seconds)
    assert len(bench().find(scene, 0.5)) <= most


@pytest.mark.parametrize("background", ["pink", "wind", "rain"])
def test_every_spoken_sentence_is_found(background):
    scene = scenes().make_speech_scene(background, 10, 1000)
    if scene is None:
        pytest.skip("espeak-ng is not installed")
    events = bench().find(scene, 0.2)
    counted = bench().Tally()
    counted.add(events, scene.truths)
    assert counted.recall == 1
    assert counted.precision >= 0.8
    covered = [bench().covered(events, truth) for truth in scene.truths]
    assert np.mean(covered) > 0.5


def tone_in_noise(level, samplerate=48000, seconds=4.0, at=1.5, length=0.3):
    rng = np.random.default_rng(5)
    sound = rng.normal(0, 0.01, int(seconds * samplerate))
    moments = np.arange(int(length * samplerate)) / samplerate
    tone = level * np.sin(2 * np.pi * 3000 * moments) * np.hanning(len(moments))
    sound[int(at * samplerate) :][: len(tone)] += tone
    return sound.astype(np.float32)


def clearest(sound, samplerate=48000, **settings):
    events = find_sound_events([sound], samplerate, EventSettings(**settings))
    return max(events, key=score, default=None)


def test_an_event_has_its_place_in_time_and_frequency():
    event = clearest(tone_in_noise(0.1))
    assert event.start == pytest.approx(1.53, abs=0.05)
    assert event.end == pytest.approx(1.77, abs=0.05)
    assert event.low < 3000 < event.high
    assert event.high - event.low < 400
    assert event.peak_frequency == pytest.approx(3000, abs=47)


def test_the_score_grows_with_the_signal_to_noise_ratio():
    levels = 0.01 * 2.0 ** np.arange(-2, 6)
    found = [clearest(tone_in_noise(level)) for level in levels]
    values = [0 if event is None else score(event) for event in found]
    assert values == sorted(values)
    assert values[0] < 0.2
    assert values[-1] > 0.99


@given(st.floats(0, 200), st.floats(0, 200), st.integers(1, 10**6))
def test_more_distance_from_the_noise_never_scores_less(one, other, cells):
    low, high = sorted([one, other])

    def value(snr, kind):
        return score(SoundEvent(0, 1, 0, 1, 1, snr, cells, kind))

    for kind in ("activity", "click"):
        assert 0 < value(low, kind) <= value(high, kind) <= 1


def test_the_same_sound_gives_the_same_events_however_it_is_cut():
    sound = scenes().make_scene("call", "wind", 15, 48000, 1000).samples
    whole = find_sound_events([sound], 48000)
    pieces = find_sound_events(np.array_split(sound, 17), 48000)
    assert whole == pieces == find_sound_events([sound], 48000)
    assert whole


def test_loudness_does_not_matter():
    sound = tone_in_noise(0.1)
    # Far above the rounding errors of 16 bits, only the ratio to the noise counts.
    loud, quiet = clearest(sound), clearest(sound * np.float32(0.3))
    assert loud.snr == pytest.approx(quiet.snr, abs=0.1)
    assert (loud.start, loud.end) == (quiet.start, quiet.end)


def test_samples_that_are_no_numbers_cost_no_detections():
    sound = tone_in_noise(0.1)
    sound[1000:1010] = np.nan
    sound[100_000] = np.inf
    event = clearest(sound)
    assert event.peak_frequency == pytest.approx(3000, abs=47)
    assert event.start == pytest.approx(1.53, abs=0.05)


@pytest.mark.parametrize("level", [0.0, 0.5, -1.0])
def test_silence_and_constant_sound_are_no_events(level):
    assert find_sound_events([np.full(96000, level, np.float32)], 48000) == []


def test_a_steady_hum_is_part_of_the_noise():
    moments = np.arange(10 * 48000) / 48000
    rng = np.random.default_rng(0)
    hum = 0.1 * np.sin(2 * np.pi * 2000 * moments) + rng.normal(0, 0.01, len(moments))
    assert find_sound_events([hum.astype(np.float32)], 48000) == []


def test_only_the_wanted_frequencies_count():
    sound = tone_in_noise(0.1)
    assert clearest(sound, low_frequency=4000) is None
    assert clearest(sound, high_frequency=2000) is None
    assert clearest(sound, low_frequency=2000, high_frequency=4000) is not None


def test_sounds_close_together_are_one_event():
    sound = tone_in_noise(0.1, length=0.1) + tone_in_noise(0.1, at=1.7, length=0.1)
    apart = find_sound_events([sound], 48000, EventSettings(merge_gap=0.02))
    joined = find_sound_events([sound], 48000, EventSettings(merge_gap=0.3))
    assert len([e for e in apart if score(e) > 0.5]) == 2
    assert len([e for e in joined if score(e) > 0.5]) == 1


def test_an_event_across_two_stretches_stays_one():
    sound = tone_in_noise(0.1, seconds=14, at=5.8, length=0.5)
    events = [e for e in find_sound_events([sound], 48000) if score(e) > 0.5]
    assert len(events) == 1
    assert events[0].end - events[0].start > 0.35


def test_short_events_can_be_ignored():
    sound = tone_in_noise(0.1)
    assert clearest(sound, min_duration=0.2) is not None
    assert clearest(sound, min_duration=0.5) is None


def test_the_clearest_events_are_kept_when_there_are_too_many():
    sound = scenes().make_scene("chirp", "pink", 20, 48000, 1000).samples
    every = find_sound_events([sound], 48000)
    kept = find_sound_events([sound], 48000, EventSettings(max_events=2))
    assert len(every) > 2
    assert {e.snr for e in kept} == set(sorted(e.snr for e in every)[-2:])


def test_many_clicks_are_rain_and_single_ones_are_events():
    rng = np.random.default_rng(0)
    for clicks_per_second, expected in ((0.5, True), (20, False)):
        sound = rng.normal(0, 0.001, 10 * 48000)
        for place in np.arange(0.7, 9.5, 1 / clicks_per_second):
            first = int(place * 48000)
            sound[first : first + 100] += rng.normal(0, 0.2, 100)
        events = find_sound_events([sound.astype(np.float32)], 48000)
        clicks = [e for e in events if e.kind == "click" and score(e) > 0.5]
        assert bool(clicks) is expected


@settings(max_examples=40, deadline=None)
@given(
    samplerate=st.sampled_from([4000, 8000, 22050, 48000, 384_000]),
    frames=st.integers(0, 20_000),
    kind=st.sampled_from(["noise", "steps", "huge", "zeros", "pulse"]),
    seed=st.integers(0, 100),
)
def test_any_sound_is_analysed_without_an_error(samplerate, frames, kind, seed):
    rng = np.random.default_rng(seed)
    sound = {
        "noise": rng.normal(0, 0.1, frames),
        "steps": np.repeat(rng.integers(-1, 2, frames // 100 + 1), 100)[:frames],
        "huge": rng.normal(0, 1e4, frames),
        "zeros": np.zeros(frames),
        "pulse": np.eye(1, frames, frames // 2)[0] if frames else np.zeros(0),
    }[kind]
    for event in find_sound_events([sound.astype(np.float32)], samplerate):
        assert 0 <= event.start < event.end <= frames / samplerate + 0.1
        assert 0 <= event.low < event.high <= samplerate / 2 + samplerate / 1024


def save(path, sound, samplerate=48000):
    soundfile.write(path, sound, samplerate, "PCM_16")
    return read_recording(path)


def test_the_model_gives_detections_with_place_score_and_tags(tmp_path):
    recording = save(tmp_path / "a.wav", tone_in_noise(0.1))
    detector = ActivityDetector()
    output = detector.run(recording)
    assert output.name_model == detector.name == "activity"
    assert output.recording == recording
    detection = output.detections[0]
    assert detection.prediction_type == "event"
    start, low, end, high = detection.location.coordinates
    assert start < 1.65 < end
    assert low < 3000 < high
    assert detection.detection_score > 0.9
    tags = {tag.tag.key: tag.tag.value for tag in detection.tags}
    assert tags == {"sound": "activity", "band": "2-4 kHz"}
    json.dumps(output.model_dump(mode="json"))


def test_times_and_frequencies_are_those_before_time_expansion(tmp_path):
    recording = save(tmp_path / "a.wav", tone_in_noise(0.1, 384_000), 38_400)
    expanded = recording.model_copy(update={"time_expansion": 10})
    location = ActivityDetector().run(expanded).detections[0].location
    start, low, end, high = location.coordinates
    assert start < 1.65 < end
    assert low < 3000 < high


def test_lost_samples_are_not_taken_for_a_click(tmp_path):
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.001, 4 * 48000)
    sound[96000:96003] = 0.9
    recording = save(tmp_path / "a.wav", sound)
    assert len(ActivityDetector().run(recording).detections) == 1
    gap = data.CaptureReport(gaps=(data.SampleGap(at=96000, lost=50),))
    recording = recording.model_copy(update={"capture": gap})
    assert ActivityDetector().run(recording).detections == []


def test_channels_are_heard_together(tmp_path):
    noise = np.random.default_rng(9).normal(0, 0.01, 4 * 48000)
    both = np.stack([noise, tone_in_noise(0.1)], axis=1)
    assert ActivityDetector().run(save(tmp_path / "a.wav", both)).detections


def test_what_cannot_be_analysed_is_refused_by_name(tmp_path):
    recording = save(tmp_path / "a.wav", tone_in_noise(0.1))
    (tmp_path / "a.wav").write_bytes(b"not sound")
    with pytest.raises(SoundFileError, match=r"a\.wav"):
        ActivityDetector().run(recording)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(FileNotFoundError):
        ActivityDetector().run(recording)
    with pytest.raises(ValueError, match="has no file"):
        ActivityDetector().run(recording.model_copy(update={"path": None}))


@pytest.mark.parametrize(
    ("frequency", "name"),
    [
        (0, "0-250 Hz"),
        (250, "250-500 Hz"),
        (500, "0.5-1 kHz"),
        (3999, "2-4 kHz"),
        (4000, "4-8 kHz"),
        (45_000, "32-64 kHz"),
    ],
)
def test_bands_are_octaves(frequency, name):
    assert band_name(frequency) == name


def test_every_setting_is_described_and_checked():
    for name, field in ActivityConfig.model_fields.items():
        assert field.description, name
    with pytest.raises(ValidationError, match="must be above low_frequency"):
        ActivityConfig(low_frequency=5000, high_frequency=4000)
    with pytest.raises(ValidationError, match="treshold"):
        ActivityConfig(treshold=5)


def test_naming_the_model_loads_no_numpy():
    code = (
        "import sys; from acoupi.components.models import ActivityDetector\n"
        "ActivityDetector()\n"
        "print('numpy' in sys.modules, 'soundfile' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "False"]
