"""Summaries count everything found, once."""

from __future__ import annotations

import datetime
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.components.stores import SqliteStore
from acoupi.components.summaries import (
    StatisticsDetectionsSummariser,
    ThresholdsDetectionsSummariser,
)
from acoupi.components.types import Store
from acoupi.errors import ConfigurationError

UTC = datetime.UTC
HOUR = datetime.timedelta(hours=1)
SECOND = datetime.timedelta(seconds=1)
NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=UTC)
SUMMARISERS = [StatisticsDetectionsSummariser, ThresholdsDetectionsSummariser]


class OtherStore:
    """A store of somebody else's, which has only what the contract asks for."""

    def __init__(self, path):
        self._inner = SqliteStore(path)

    def __getattr__(self, name):
        if name == "database" or not hasattr(Store, name):
            raise AttributeError(name)
        return getattr(self._inner, name)


@pytest.fixture
def store(tmp_path):
    return SqliteStore(tmp_path / "metadata.db")


@pytest.fixture(params=[SqliteStore, OtherStore], ids=["numbered", "by time only"])
def any_store(request, tmp_path):
    return request.param(tmp_path / "metadata.db")


def detect(store, created_on, *scores, value="Myotis myotis", model="ears"):
    """Store one recording in which a model found a tag with these scores."""
    recording = data.Recording(
        created_on=created_on,
        duration=3,
        samplerate=48000,
        deployment=store.get_current_deployment(),
    )
    store.store_model_output(
        data.ModelOutput(
            name_model=model,
            recording=recording,
            detections=[
                data.Detection(
                    detection_score=score,
                    tags=[data.PredictedTag(data.Tag("species", value), score)],
                )
                for score in scores
            ],
        )
    )


def tags_of(message):
    if message is None:
        return {}
    return {
        tag.pop("value"): tag
        for tag in json.loads(message.content)["tags"]
        if tag.pop("key") == "species"
    }


def run(summariser, now):
    """Build and store a summary as the task does; return its tags."""
    message = summariser.build_summary(now)
    summariser.summary_stored(now)
    return tags_of(message)


def test_each_tag_has_count_mean_min_and_max(any_store):
    for score in (0.2, 0.4, 0.9):
        detect(any_store, NOON - 600 * SECOND, score)
    detect(any_store, NOON - 600 * SECOND, 0.7, value="Nyctalus noctula")
    summariser = StatisticsDetectionsSummariser(store=any_store, interval=3600)
    assert tags_of(summariser.build_summary(NOON)) == {
        "Myotis myotis": {"count": 3, "mean": 0.5, "min": 0.2, "max": 0.9},
        "Nyctalus noctula": {"count": 1, "mean": 0.7, "min": 0.7, "max": 0.7},
    }


def test_each_tag_has_its_scores_counted_in_bands(any_store):
    for score in (0.05, 0.1, 0.3, 0.49, 0.5, 0.89, 0.9, 1.0):
        detect(any_store, NOON - 600 * SECOND, score)
    detect(any_store, NOON - 600 * SECOND, 0.09, value="Nyctalus noctula")
    summariser = ThresholdsDetectionsSummariser(store=any_store, interval=3600)
    message = summariser.build_summary(NOON)
    assert tags_of(message) == {"Myotis myotis": {"low": 3, "mid": 2, "high": 2}}
    assert json.loads(message.content)["thresholds"] == {
        "low": 0.1,
        "mid": 0.5,
        "high": 0.9,
    }


def test_a_summary_says_which_sensor_and_which_period(store):
    detect(store, NOON - SECOND, 0.5)
    deployment = store.get_current_deployment()
    message = StatisticsDetectionsSummariser(store, 3600).build_summary(NOON)
    content = json.loads(message.content)
    content.pop("tags")
    assert content == {
        "summary": "statistics",
        "deployment": {"id": str(deployment.id), "name": deployment.name},
        "start": "2026-06-01T11:00:00Z",
        "end": "2026-06-01T12:00:00Z",
    }


@pytest.mark.parametrize("kind", SUMMARISERS)
def test_the_first_summary_covers_one_interval_with_its_start_and_not_its_end(
    any_store, kind
):
    for shift, value in (
        (-HOUR - SECOND, "before"),
        (-HOUR, "start"),
        (-SECOND, "inside"),
        (SECOND * 0, "end"),
        (SECOND, "after"),
    ):
        detect(any_store, NOON + shift, 0.5, value=value)
    found = tags_of(kind(store=any_store, interval=3600).build_summary(NOON))
    assert set(found) == {"start", "inside"}


@pytest.mark.parametrize("kind", SUMMARISERS)
def test_nothing_found_gives_no_message_unless_asked_for(any_store, kind):
    detect(any_store, NOON - 600 * SECOND)
    assert kind(any_store, 3600).build_summary(NOON) is None
    message = kind(any_store, 3600, send_empty=True).build_summary(NOON)
    assert json.loads(message.content)["tags"] == []


def test_until_it_is_stored_a_summary_is_the_same_again(any_store):
    detect(any_store, NOON - SECOND, 0.5)
    summariser = StatisticsDetectionsSummariser(any_store, 3600)
    one, two = summariser.build_summary(NOON), summariser.build_summary(NOON)
    assert one == two
    assert one.id == two.id


def test_only_the_summary_that_was_built_counts_as_stored(any_store):
    detect(any_store, NOON - SECOND, 0.5)
    summariser = StatisticsDetectionsSummariser(any_store, 3600)
    summariser.summary_stored(NOON)
    summariser.build_summary(NOON)
    summariser.summary_stored(NOON + HOUR)
    assert run(summariser, NOON)["Myotis myotis"]["count"] == 1


@pytest.mark.parametrize("late", [0, 1, 700, 4000, 100_000])
def test_a_late_run_covers_what_it_is_late_for(any_store, late):
    summariser = StatisticsDetectionsSummariser(any_store, 3600)
    detect(any_store, NOON - SECOND, 0.5)
    assert run(summariser, NOON)["Myotis myotis"]["count"] == 1
    now = NOON + HOUR + late * SECOND
    detect(any_store, NOON, 0.5)
    detect(any_store, now - SECOND, 0.5)
    assert run(summariser, now)["Myotis myotis"]["count"] == 2
    assert run(summariser, now + HOUR) == {}


def test_a_doubled_run_leaves_its_time_to_the_next(any_store):
    summariser = StatisticsDetectionsSummariser(any_store, 3600)
    detect(any_store, NOON - SECOND, 0.5)
    run(summariser, NOON)
    detect(any_store, NOON + SECOND, 0.5)
    assert run(summariser, NOON + 2 * SECOND) == {}
    assert run(summariser, NOON + HOUR)["Myotis myotis"]["count"] == 1


def test_recordings_analysed_late_are_in_a_later_summary(store):
    summariser = StatisticsDetectionsSummariser(store, 3600)
    detect(store, NOON - SECOND, 0.5)
    assert run(summariser, NOON)["Myotis myotis"]["count"] == 1
    detect(store, NOON - 2 * SECOND, 0.5)
    detect(store, NOON - 50 * HOUR, 0.5)
    assert run(summariser, NOON + HOUR)["Myotis myotis"]["count"] == 2


def test_a_restarted_program_goes_on_where_the_last_summary_ended(store):
    detect(store, NOON - SECOND, 0.5)
    run(StatisticsDetectionsSummariser(store, 3600), NOON)
    detect(store, NOON + SECOND, 0.5)
    restarted = StatisticsDetectionsSummariser(store, 3600)
    assert run(restarted, NOON + 5 * HOUR)["Myotis myotis"]["count"] == 1


@pytest.mark.parametrize("jump", [-400 * 24, -3, 3, 400 * 24])
def test_a_clock_that_jumps_neither_repeats_nor_loses(store, jump):
    summariser = StatisticsDetectionsSummariser(store, 3600)
    detect(store, NOON - SECOND, 0.5)
    run(summariser, NOON)
    now = NOON + jump * HOUR
    detect(store, now - SECOND, 0.5)
    assert run(summariser, now)["Myotis myotis"]["count"] == 1
    detect(store, now + SECOND, 0.5)
    message = summariser.build_summary(now + HOUR)
    assert tags_of(message)["Myotis myotis"]["count"] == 1
    content = json.loads(message.content)
    assert content["start"] < content["end"]


def test_summaries_that_differ_are_counted_apart(store):
    detect(store, NOON - SECOND, 0.5)
    detect(store, NOON - SECOND, 0.5, model="eyes")
    for summariser in (
        StatisticsDetectionsSummariser(store, 3600),
        StatisticsDetectionsSummariser(store, 86400),
        ThresholdsDetectionsSummariser(store, 3600),
        ThresholdsDetectionsSummariser(store, 3600, low_band_threshold=0.2),
    ):
        (numbers,) = run(summariser, NOON).values()
        assert numbers.get("count", numbers.get("mid")) == 2
    for models, count in ((["ears"], 1), (["eyes", "ears"], 2)):
        summariser = StatisticsDetectionsSummariser(store, 3600, model_names=models)
        assert run(summariser, NOON)["Myotis myotis"]["count"] == count
        detect(store, NOON, 0.5, model=models[0])
        assert run(summariser, NOON + HOUR)["Myotis myotis"]["count"] == 1


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(-7200, 20000),  # the clock moves on, or is set back
            st.integers(-20000, 0),  # how long ago the recording was made
            st.sampled_from(["detect", "run", "restart", "fail"]),
        ),
        max_size=40,
    )
)
def test_over_any_history_every_detection_is_counted_once(tmp_path, steps):
    path = tmp_path / f"{random.random()}.db"
    store = SqliteStore(path)
    now, made, counted = NOON, 0, 0
    summariser = StatisticsDetectionsSummariser(store, 3600)
    run(summariser, now)
    for move, age, action in steps:
        now += move * SECOND
        if action == "detect":
            detect(store, now + age * SECOND, 0.5, 0.6)
            made += 2
        elif action == "run":
            counted += sum(tag["count"] for tag in run(summariser, now).values())
        elif action == "restart":
            summariser = StatisticsDetectionsSummariser(store, 3600)
        else:
            summariser.build_summary(now)  # and the message could not be stored
    # Twice, as the clock may have come back to just where the last summary was made.
    for _ in range(2):
        now += 10 * HOUR
        counted += sum(tag["count"] for tag in run(summariser, now).values())
    assert counted == made


@pytest.mark.parametrize("interval", [0, -1, float("nan"), 32 * 86400])
def test_impossible_intervals_are_refused(store, interval):
    with pytest.raises(ConfigurationError, match="interval is"):
        StatisticsDetectionsSummariser(store, interval)


@pytest.mark.parametrize("bands", [(0.5, 0.1, 0.9), (-0.1, 0.5, 0.9), (0.1, 0.5, 1.1)])
def test_thresholds_out_of_order_are_refused(store, bands):
    with pytest.raises(ConfigurationError, match="must be in this order"):
        ThresholdsDetectionsSummariser(store, 3600, *bands)
