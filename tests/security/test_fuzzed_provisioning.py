"""Whatever is in ``acoupi.toml``, the sensor has a configuration, and only its home.

The file comes from a card that anybody can write to, by hand or by a text editor that
knows better.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from acoupi.system import Settings
from acoupi.system.configuration import load_config
from acoupi.system.provisioning import provision

# Other tests may keep the machine busy.
pytestmark = pytest.mark.timeout(600)

SLOWEST = 30.0

GOOD = """\
[device]
name = "pond"
timezone = "Europe/London"
password = "a-long-password-1"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8 me"]

[[wifi]]
ssid = "field"
password = "wifi-password-2"

[hotspot]
enabled = true

[program]
name = "acoupi.programs.connected"

[settings.recording]
duration = 3

[deployment]
name = "North meadow"
latitude = 51.5
longitude = -0.15

[mqtt]
host = "mqtt.example.org"
username = "pond"
password = "mqtt-password-3"

[http]
base_url = "https://example.org/messages"
token = "http-token-4"
"""

VALUES = st.sampled_from(
    [
        '""',
        '"../../../../etc/passwd"',
        '"/etc/cron.d/evil"',
        '"$(touch evil)"',
        '"a\\u0000b"',
        '"a\\nb"',
        '"é' + "x" * 300 + '"',
        *("0", "-1", "1e400", "nan", "inf", "true", "false", "[]", "{}", "[[[[]]]]"),
        *("9" * 400, "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
        '{ _secret = "x" }',
        "'''",
        '"unfinished',
    ]
)

CHANGES = st.lists(
    st.one_of(
        # The value of a line is another one.
        st.tuples(st.just("value"), st.integers(0, 40), VALUES),
        st.tuples(st.just("drop"), st.integers(0, 40), st.just("")),
        st.tuples(st.just("double"), st.integers(0, 40), st.just("")),
        st.tuples(st.just("line"), st.integers(0, 40), st.text(max_size=30)),
        st.tuples(
            st.just("line"),
            st.integers(0, 40),
            st.sampled_from(
                [
                    "[program.settings]",
                    "[celery]",
                    "[paths]",
                    "[[device]]",
                    "[device.name.x]",
                    'home = "/"',
                    'program = "os"',
                    "[a." + "b." * 300 + "c]",
                    "a = " + "[" * 300 + "]" * 300,
                ]
            ),
        ),
        st.tuples(st.just("cut"), st.integers(0, 700), st.just("")),
    ),
    min_size=1,
    max_size=3,
)


def change(changes) -> str:
    lines = GOOD.splitlines()
    cut = None
    for what, place, text in changes:
        at = place % len(lines) if lines else 0
        if what == "cut":
            cut = place
        elif what == "line" or not lines:
            lines.insert(at, text)
        elif what == "drop":
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[at])
        elif "=" in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {text}"
    whole = "\n".join(lines) + "\n"
    return whole if cut is None else whole[:cut]


def everything(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def place(tmp_path):
    """A root with a card, a home and a file that is none of the sensor's business."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    return tmp_path


def follow(place: Path, content: bytes) -> None:
    card, home = place / "card", place / "home"
    for directory in (card, home):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    (card / "acoupi.toml").write_bytes(content)
    before = everything(place / "outside")
    sensor = Settings(home)

    began = time.monotonic()
    former = Path.cwd()
    os.chdir(place / "outside")
    try:
        outcome = provision(card, sensor)
        again = provision(card, sensor)
    finally:
        os.chdir(former)

    assert time.monotonic() - began < SLOWEST
    assert outcome is not None
    assert again is not None
    # There always is a valid configuration.
    load_config(sensor)
    # Nothing is written but in the home and on the card.
    assert everything(place / "outside") == before
    assert {path.name for path in place.iterdir()} == {"card", "home", "outside"}
    names = {path.name for path in card.iterdir()}
    assert "acoupi-report.txt" in names
    assert names <= {"acoupi.toml", "acoupi-report.txt", "acoupi.toml.bak"}
    report = (card / "acoupi-report.txt").read_text("utf-8")
    assert "Traceback" not in report
    assert "unexpected" not in report.lower(), report


quick = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)


@quick
@given(changes=CHANGES)
@example(changes=[("value", 1, '"../../../../etc/passwd"')])
@example(changes=[("value", 13, '"os"')])
@example(changes=[("line", 0, "a = " + "[" * 5000)])
def test_a_file_with_mistakes_leaves_a_sensor_that_works(place, changes):
    follow(place, change(changes).encode("utf-8", "surrogatepass"))


@quick
@given(content=st.binary(max_size=200))
@example(content=b"")
@example(content=b"\xff\xfe" + GOOD.encode("utf-16-le"))
@example(content=b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
@example(content=b"\0" * 70_000)
@example(content=b"#" * 3_000_000)
@example(content=GOOD.encode("latin-1") + b"\xe9")
def test_a_file_of_anything_leaves_a_sensor_that_works(place, content):
    follow(place, content)


@pytest.mark.parametrize("kind", ["directory", "link", "dangling", "pipe"])
def test_what_is_no_file_is_not_waited_for(place, kind):
    card = place / "card"
    card.mkdir()
    path = card / "acoupi.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(
            place / "outside" / ("precious" if kind == "link" else "absent")
        )

    provision(card, Settings(place / "home"))

    load_config(Settings(place / "home"))
    assert (place / "outside" / "precious").read_text() == "precious"
    assert "precious" not in (card / "acoupi-report.txt").read_text()


def test_secrets_of_the_card_are_in_private_files_only(place):
    card, home = place / "card", place / "home"
    card.mkdir()
    (card / "acoupi.toml").write_text(GOOD)

    provision(card, Settings(home))

    secrets = ["wifi-password-2", "mqtt-password-3", "http-token-4"]
    for path in [*home.rglob("*"), *card.rglob("*")]:
        if path.is_file() and any(s.encode() in path.read_bytes() for s in secrets):
            assert path.is_relative_to(home), path
            assert path.stat().st_mode & 0o077 == 0, path
    program = json.loads((home / "config" / "program.json").read_text())
    assert program["messaging"]["mqtt"]["host"] == "mqtt.example.org"
