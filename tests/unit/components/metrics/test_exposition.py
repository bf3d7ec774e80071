"""The text for monitoring is valid, whatever the figures are called or say."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi import data
from acoupi.components.metrics import exposition_text

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL_VALUE = r'(?:[^"\\\n]|\\[\\"n])*'
LABELS = rf'\{{[a-zA-Z_][a-zA-Z0-9_]*="{LABEL_VALUE}"\}}'
NUMBER = r"(?:NaN|[+-]Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
SAMPLE = re.compile(rf"({NAME})({LABELS})? ({NUMBER})")
HELP = re.compile(rf"# HELP ({NAME}) ((?:[^\\]|\\[\\n])*)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge)")


def parse(text):
    """Read a text as strictly as promtool does; return the samples and types."""
    assert text.endswith("\n")
    types, samples, current = {}, {}, None
    # Not splitlines: it also breaks at characters that a label may hold.
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if line.startswith("#"):
            help_found = HELP.fullmatch(line)
            assert help_found, line
            type_found = TYPE.fullmatch(next(lines))
            assert type_found, line
            current = type_found[1]
            assert help_found[1] == current
            assert current not in types, "a family comes once"
            assert (type_found[2] == "counter") == current.endswith("_total"), line
            types[current] = type_found[2]
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        assert found[1] == current, "a family's samples follow its type"
        key = found[1] + (found[2] or "")
        assert key not in samples, "a sample comes once"
        samples[key] = float(found[3])
    return samples, types


def expose(**values):
    metrics = [data.Metric(name=name, value=value) for name, value in values.items()]
    return parse(exposition_text(metrics, version="1.2"))[0]


def metric(name, value):
    return data.Metric(name=name, value=value)


def test_figures_have_the_names_and_units_that_prometheus_expects():
    samples = expose(
        recording=True,
        samples_lost=12,
        microphone_level=-42.5,
        memory_available=1000,
        last_recording_on="1970-01-01T00:01:00+00:00",
    )

    assert samples == {
        'acoupi_info{version="1.2"}': 1,
        "acoupi_recording": 1,
        "acoupi_samples_lost_total": 12,
        "acoupi_microphone_level_dbfs": -42.5,
        "acoupi_memory_available_bytes": 1000,
        "acoupi_last_recording_timestamp_seconds": 60,
    }


def test_what_follows_the_dot_becomes_a_label():
    samples, types = parse(
        exposition_text(
            [
                metric("messages_waiting.mqtt", 3),
                metric("disk_free./", 5),
                metric("messages_waiting.http", 4),
                metric("lost.samples", 7),
            ]
        )
    )

    assert samples['acoupi_messages_waiting{destination="mqtt"}'] == 3
    assert samples['acoupi_messages_waiting{destination="http"}'] == 4
    assert samples['acoupi_disk_free_bytes{path="/"}'] == 5
    assert samples['acoupi_lost_total{kind="samples"}'] == 7
    assert types["acoupi_lost_total"] == "counter"


def test_texts_are_labels_or_numbers():
    samples = expose(microphone="usb mic", microphone_problems="too loud; silent")

    assert samples['acoupi_microphone_info{device="usb mic"}'] == 1
    assert samples["acoupi_microphone_problems"] == 2
    assert expose(microphone_problems="")["acoupi_microphone_problems"] == 0


def test_figures_of_a_program_are_exposed_under_their_own_name():
    samples = expose(**{"battery-voltage": 3.7, "firmware": "b2"})

    assert samples["acoupi_battery_voltage"] == 3.7
    assert samples['acoupi_firmware_info{value="b2"}'] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("load", None),
        ("load", "much"),
        ("last_recording_on", "yesterday"),
        ("microphone", None),
    ],
)
def test_what_is_no_figure_is_left_out(name, value):
    assert list(expose(**{name: value})) == ['acoupi_info{version="1.2"}']


def test_odd_numbers_are_written_as_the_format_has_them():
    text = exposition_text(
        [metric("a", math.inf), metric("b", math.nan), metric("c", 1e300)]
    )

    assert "acoupi_a +Inf\n" in text
    assert "acoupi_b NaN\n" in text
    parse(text)


ODD_METRICS = st.lists(
    st.builds(
        data.Metric,
        name=st.text(max_size=20)
        | st.sampled_from(["lost.", "messages_waiting.", "disk_free."]).flatmap(
            lambda start: st.text(max_size=300).map(lambda end: start + end)
        ),
        value=st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats()
        | st.text(max_size=300),
    )
)


@given(ODD_METRICS)
def test_the_text_is_valid_whatever_the_figures_are(metrics):
    parse(exposition_text(metrics))


def test_promtool_finds_nothing_wrong():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    text = exposition_text(
        [
            metric("recording", True),
            metric('lost.a\\b"c\nd', 3),
            metric("disk_free./data", 5.5),
            metric("microphone", "usb"),
            metric("load", math.nan),
        ]
    )

    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
