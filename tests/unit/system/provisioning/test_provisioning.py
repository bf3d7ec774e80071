"""The file on the card sets the sensor up; no mistake in it ever stops the sensor."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from acoupi.system import Settings, load_config
from acoupi.system.configuration import read_program_name
from acoupi.system.deployments import get_current_deployment
from acoupi.system.provisioning import boot, provision, write_report
from acoupi.system.provisioning.document import MARKER
from acoupi.system.provisioning.outcome import Outcome

TEMPLATE = Path(__file__).parents[4] / "nixos-modules" / "sd-image" / "acoupi.toml"
KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHkYvA9wQ3iJ6mJcFv0f2p0m4Vq0yVY3ZrKjvWg1Yb1c"
    " me"
)
DEFAULT = "acoupi.programs.default"
GOOD = f"""\
# my sensor
[device]
name = "garden-1"
timezone = "Europe/London"
country = "gb"
ssh_key = "{KEY}"

[wifi]
name = "home"   # upstairs
password = "correct horse"

[program]
name = "connected"

[settings.recording]
duration = 5
schedule_start = 05:30:00

[mqtt]
host = "mqtt.example.org"
password = 'mqtt \\secret'

[deployment]
name = "oak"
latitude = 51.5
longitude = -0.1
"""


class Card:
    """A partition and a sensor, each boot of which reads it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "card"
        self.path.mkdir()
        self.settings = Settings(directory / "home")
        self.file = self.path / "acoupi.toml"

    def boot(self, content: str | bytes | None = None, **options: object) -> Outcome:
        if isinstance(content, str):
            content = content.encode()
        if content is not None:
            self.file.write_bytes(content)
        return provision(self.path, self.settings, **options)  # type: ignore[arg-type] # options of each test

    def boot_well(self, content: str | bytes | None = None) -> Outcome:
        outcome = self.boot(content)
        assert outcome.problems == []
        return outcome

    @property
    def report(self) -> str:
        return (self.path / "acoupi-report.txt").read_bytes().decode()

    @property
    def program(self) -> str:
        return read_program_name(self.settings)

    def system(self, name: str) -> str | None:
        path = self.settings.home / "provision" / "system" / name
        return path.read_text() if path.exists() else None

    @property
    def networks(self) -> list[str]:
        below = self.settings.home / "provision" / "system" / "connections"
        return [path.read_text() for path in sorted(below.glob("acoupi-wifi-*"))]


@pytest.fixture
def card(tmp_path):
    """A partition and a sensor."""
    return Card(tmp_path)


def as_numbers(name: str) -> str:
    return "ssid=" + "".join(f"{byte};" for byte in name.encode())


def test_a_good_file_is_followed_in_every_part(card):
    card.boot_well(GOOD)
    config = load_config(card.settings)
    assert card.program == "acoupi.programs.connected"
    assert config.recording.duration == 5
    assert config.recording.schedule_start.isoformat() == "05:30:00"
    assert config.timezone == "Europe/London"
    assert config.messaging.mqtt.host == "mqtt.example.org"
    assert config.messaging.mqtt.password.get_secret_value() == "mqtt \\secret"
    assert card.system("hostname") == "garden-1\n"
    assert card.system("timezone") == "Europe/London\n"
    assert card.system("country") == "GB\n"
    assert card.system("authorized_keys") == f"{KEY}\n"
    assert len(card.networks) == 1
    assert as_numbers("home") in card.networks[0]
    assert "psk=correct horse\n" in card.networks[0]
    deployment = get_current_deployment(card.settings)
    assert (deployment.name, deployment.latitude) == ("oak", 51.5)


def test_the_report_is_for_people_on_any_laptop(card):
    card.boot_well(GOOD)
    assert "\r\n" in card.report
    assert "\n" not in card.report.replace("\r\n", "")
    for words in ("garden-1", "oak", "connected", "Free space", "Microphones", "clock"):
        assert words in card.report
    assert "Nothing." in card.report
    assert "correct horse" not in card.report


def test_secrets_leave_the_card_and_nothing_else_of_the_file_changes(card):
    card.boot_well(GOOD)
    text = card.file.read_text()
    expected = GOOD.replace('"correct horse"', f'"{MARKER}"')
    assert text == expected.replace("'mqtt \\secret'", f'"{MARKER}"')
    stored = card.settings.home / "provision" / "secrets.json"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700


def test_everything_that_holds_secrets_is_private(card):
    card.boot_well(GOOD)
    paths = list((card.settings.home / "provision").rglob("*"))
    assert "secrets.json" in {path.name for path in paths}
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path}: {mode:o}"


def test_markers_stand_for_the_secrets_at_all_later_boots(card):
    card.boot_well(GOOD)
    before = card.networks
    card.boot_well()
    card.boot_well(card.file.read_text().replace("duration = 5", "duration = 6"))
    assert card.networks == before
    config = load_config(card.settings)
    assert config.recording.duration == 6
    assert config.messaging.mqtt.password.get_secret_value() == "mqtt \\secret"


def test_a_corrected_name_keeps_its_password(card):
    card.boot_well(GOOD)
    card.boot_well(card.file.read_text().replace('"home"', '"house"'))
    assert as_numbers("house") in card.networks[0]
    assert "psk=correct horse\n" in card.networks[0]
    card.boot_well()
    assert "psk=correct horse\n" in card.networks[0]


def test_a_marker_without_a_secret_never_means_an_open_network(card):
    outcome = card.boot(f'[wifi]\nname = "home"\npassword = "{MARKER}"\n')
    assert [problem.key for problem in outcome.problems] == ["wifi.password"]
    assert outcome.problems[0].line == 3
    assert "write it in the file again" in str(outcome.problems[0])
    assert card.networks == []


def test_a_marker_without_a_secret_leaves_the_program_as_it_was(card):
    card.boot_well(GOOD)
    (card.settings.home / "provision" / "secrets.json").unlink()
    outcome = card.boot(card.file.read_text().replace("duration = 5", "duration = 7"))
    assert "mqtt.password" in [problem.key for problem in outcome.problems]
    assert load_config(card.settings).recording.duration == 5


def test_a_new_password_replaces_the_one_that_is_kept(card):
    card.boot_well(GOOD)
    card.boot_well(card.file.read_text().replace(MARKER, "another one", 1))
    assert "psk=another one\n" in card.networks[0]
    assert "another one" not in card.file.read_text()


def test_secrets_that_the_file_no_longer_mentions_are_forgotten(card):
    card.boot_well(GOOD)
    card.boot_well("[device]\n")
    stored = (card.settings.home / "provision" / "secrets.json").read_text()
    assert "correct horse" not in stored


def test_several_networks_keep_their_own_passwords_in_any_order(card):
    one = '[[wifi]]\nname = "a"\npassword = "{}"\n'
    two = '[[wifi]]\nname = "b"\npassword = "{}"\n'
    card.boot_well(one.format("same-secret") + two.format("same-secret"))
    assert "same-secret" not in card.file.read_text()
    card.boot_well(one.format("first-secret") + two.format("second-secret"))
    card.boot_well(two.format(MARKER) + one.format(MARKER))
    for network in card.networks:
        right = "first" if as_numbers("a") + "\n" in network else "second"
        assert f"psk={right}-secret" in network


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("[device]\nname = garden\n", 2, 'name = "garden"'),
        ('[device]\nname = "garden\n', 2, "quote"),
        ('[device]\nname = "a"\nname = "b"\n', 3, "twice"),
        ("[deployment]\nname='x'\nlatitude = 51,5\nlongitude = 0\n", 3, "51.5"),
        ("[hotspot]\nenabled = yes\n", 2, "enabled = true"),
        ("[hotspot]\nenabled = True\n", 2, "enabled = true"),
        ("[device]\nname\n", 2, "VALUE"),
        ('[settings]\nx = "C:\\Users"\n', 2, "backslash"),
        ("[device\n", 1, "not understood"),
        ("[wifi]\npassword = hunter2hunter2\n", 2, "password"),
    ],
)
def test_what_is_no_toml_is_explained_with_its_line(card, content, line, words):
    outcome = card.boot(content)
    assert [problem.line for problem in outcome.problems] == [line]
    assert words in str(outcome.problems[0])
    assert words in card.report
    assert "hunter2" not in card.report
    assert card.program == DEFAULT


@pytest.mark.parametrize(
    ("content", "key", "line", "words"),
    [
        ('[device]\nnaem = "x"\n', "device.naem", 2, "did you mean 'name'"),
        ('[devcie]\nname = "x"\n', "devcie", 1, "did you mean 'device'"),
        ('name = "x"\n', "name", 1, "no such section above it"),
        ('[device]\nname = "my garden"\n', "device.name", 2, "'my-garden'"),
        ("[device]\nname = 5\n", "device.name", 2, "text, in quotes"),
        ('[device]\ntimezone = "London"\n', "device.timezone", 2, "'Europe/London'"),
        ('[device]\nssh_key = "ssh-rsa"\n', "device.ssh_key", 2, ".pub"),
        ("device = 5\n", "device", 1, "section"),
        ("wifi = 5\n", "wifi", 1, "section"),
        ('[wifi]\nname = "x"\npassword = "short"\n', "wifi.password", 3, "8 to 63"),
        ('[wifi]\npassword = "long enough"\n', "wifi.name", 1, "missing"),
        ('[program]\nname = "activty"\n', "program.name", 2, "activity"),
        ("[settings.recording]\nduration = -1\n", "settings.recording.duration", 2, ""),
        ("[settings]\nrecordng.duration = 1\n", "settings.recordng", 2, "'recording'"),
        ('[mqtt]\nhost = "x"\n', "mqtt", 1, "sends no messages"),
        (
            '[program]\nname = "activity"\n[mqtt]\nport = 1\n',
            "mqtt.host",
            3,
            "missing",
        ),
        ('[deployment]\nname = "x"\nlatitude = 1\n', "deployment", 1, "both"),
        (
            '[deployment]\nname = "x"\nlatitude = 95\nlongitude = 0\n',
            "deployment.latitude",
            3,
            "90",
        ),
        ("settings = [1]\n", "settings", 1, "section"),
    ],
)
def test_each_mistake_is_named_with_line_key_and_remedy(
    card, content, key, line, words
):
    outcome = card.boot(content)
    assert [(problem.key, problem.line) for problem in outcome.problems] == [
        (key, line)
    ]
    assert words in str(outcome.problems[0])
    assert card.program == DEFAULT
    assert load_config(card.settings)


def test_a_mistake_leaves_its_part_as_it_was_and_all_others_follow(card):
    card.boot_well(GOOD)
    text = card.file.read_text()
    for right, wrong in {
        '"Europe/London"': '"Europe/Lodnon"',
        "duration = 5": 'duration = "five"',
        "51.5": "515",
        '"garden-1"': '"garden-2"',
    }.items():
        text = text.replace(right, wrong)
    outcome = card.boot(text)
    assert {problem.key for problem in outcome.problems} == {
        "device.timezone",
        "settings.recording.duration",
        "deployment.latitude",
    }
    assert card.system("hostname") == "garden-2\n"
    assert card.system("timezone") == "Europe/London\n"
    assert load_config(card.settings).recording.duration == 5
    assert get_current_deployment(card.settings).latitude == 51.5


@pytest.mark.parametrize(
    "broken", [b"", b"\0" * 512, b"[[[", b"\xff\xfe\xfa", b"x" * 300000]
)
def test_a_damaged_file_leaves_everything_as_it_was(card, broken):
    card.boot_well(GOOD)
    networks, program = card.networks, card.settings.program_file.read_bytes()
    outcome = card.boot(broken)
    assert len(outcome.problems) == 1
    assert card.networks == networks
    assert card.system("hostname") == "garden-1\n"
    assert card.settings.program_file.read_bytes() == program


def test_an_absent_file_leaves_everything_as_it_was(card):
    card.boot_well(GOOD)
    card.file.unlink()
    outcome = card.boot()
    assert "there is no acoupi.toml" in str(outcome.problems[0])
    assert card.system("hostname") == "garden-1\n"
    assert card.program == "acoupi.programs.connected"


def test_without_a_card_the_default_program_runs(tmp_path):
    home = Settings(tmp_path / "home")
    outcome = provision(tmp_path / "nowhere", home)
    assert len(outcome.problems) == 1
    assert read_program_name(home) == DEFAULT


def test_a_misspelt_section_takes_nothing_away(card):
    card.boot_well(GOOD)
    text = card.file.read_text().replace("[wifi]", "[wfi]").replace("[dev", "[dve")
    outcome = card.boot(text)
    assert {problem.key for problem in outcome.problems} == {"wfi", "dveice"}
    assert len(card.networks) == 1
    assert card.system("authorized_keys") == f"{KEY}\n"
    card.boot_well(text.replace("wfi", "wifi").replace("dveice", "device"))
    assert "psk=correct horse\n" in card.networks[0]


def test_what_the_file_no_longer_has_is_no_longer_so(card):
    card.boot_well(GOOD)
    card.boot_well('[device]\nname = "other"\n')
    assert card.networks == []
    assert card.system("authorized_keys") is None
    assert card.program == "acoupi.programs.connected"


def test_setting_the_sensor_up_by_hand_survives_boots_until_the_file_changes(card):
    from acoupi.system import setup_program

    card.boot_well(GOOD)
    setup_program(card.settings, DEFAULT, {"microphone": {}})
    outcome = card.boot_well()
    assert card.program == DEFAULT
    assert any("set up on the sensor since" in note for note in outcome.notes)
    card.boot_well(card.file.read_text().replace("duration = 5", "duration = 8"))
    assert card.program == "acoupi.programs.connected"


def test_the_same_deployment_goes_on_and_another_begins(card):
    card.boot_well(GOOD)
    first = get_current_deployment(card.settings)
    card.boot_well()
    assert get_current_deployment(card.settings).id == first.id
    card.boot_well(card.file.read_text().replace('"oak"', '"elm"'))
    assert get_current_deployment(card.settings).name == "elm"


def test_the_base_holds_where_the_file_says_nothing_and_the_program_has_it(card):
    base = {
        "settings": {"recording": {"duration": 9, "interval": 20}, "unknown": {"x": 1}},
        "celery": {"broker_url": "redis://localhost/3"},
    }
    card.file.write_text("[settings.recording]\nduration = 4\n")
    assert card.boot(base=base).problems == []
    config = load_config(card.settings)
    assert (config.recording.duration, config.recording.interval) == (4, 20)
    celery = json.loads(card.settings.celery_file.read_text())
    assert celery["broker_url"] == "redis://localhost/3"


def test_a_managed_home_is_left_to_who_manages_it(card):
    card.boot_well("[device]\n")
    card.settings.managed_file.write_text("NixOS\n")
    outcome = card.boot(GOOD)
    assert "managed by NixOS" in str(outcome.problems[0])
    assert card.program == DEFAULT
    assert card.system("hostname") == "garden-1\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.replace(" = ", "\t=\t").encode(),
        lambda text: (
            text.replace('= "', "= \u201c").replace('"\n', "\u201d\n").encode()
        ),
        lambda text: text.replace(" = ", "\u00a0=\u00a0").encode(),
    ],
    ids=["crlf", "cr", "bom", "utf-16", "utf-16-be", "tabs", "quotes", "no-break"],
)
def test_what_editors_do_to_the_file_is_undone(card, change):
    plain = GOOD.replace('"   # upstairs', '"')
    card.boot_well(change(plain))
    assert card.program == "acoupi.programs.connected"
    assert card.system("hostname") == "garden-1\n"
    assert b"correct horse" not in card.file.read_bytes()
    assert "correct horse".encode("utf-16-le") not in card.file.read_bytes()
    card.boot_well()


def test_line_ends_of_windows_stay_when_secrets_are_taken(card):
    card.boot_well(GOOD.replace("\n", "\r\n"))
    content = card.file.read_bytes()
    assert MARKER.encode() in content
    assert content.count(b"\n") == content.count(b"\r\n")


def test_the_ending_that_windows_hides_is_no_obstacle(card):
    (card.path / "acoupi.toml.txt").write_text(GOOD)
    outcome = card.boot_well()
    assert card.program == "acoupi.programs.connected"
    assert any("acoupi.toml.txt" in note for note in outcome.notes)
    assert "correct horse" not in (card.path / "acoupi.toml.txt").read_text()


def test_a_private_key_is_refused_and_not_shown(card):
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\\nabcdef"
    outcome = card.boot(f'[device]\nssh_key = "{key}"\n')
    assert "private key" in str(outcome.problems[0])
    assert "abcdef" not in card.report
    assert card.system("authorized_keys") is None


def test_a_key_with_options_or_a_second_line_is_refused(card):
    for key in (f'command=\\"reboot\\" {KEY}', f"{KEY}\\n{KEY}"):
        assert card.boot(f'[device]\nssh_key = "{key}"\n').problems
        assert card.system("authorized_keys") is None


def test_the_sensors_own_network_keeps_its_password(card):
    card.boot_well("[device]\n")
    below = "connections/acoupi-hotspot.nmconnection"
    first = card.system(below)
    assert "mode=ap" in first
    card.boot_well()
    assert card.system(below) == first
    password = first.partition("psk=")[2].splitlines()[0]
    assert password in card.report
    card.boot_well("[hotspot]\nenabled = false\n")
    assert card.system(below) is None


def test_names_and_passwords_cannot_add_to_the_files_of_the_network(card):
    name = "x]\\n[ipv4]\\nmethod=shared"
    card.boot_well(f'[wifi]\nname = "{name}"\npassword = " \\\\ lead;ing#"\n')
    (text,) = card.networks
    assert text.count("[ipv4]") == 1
    assert "psk=\\s\\\\ lead;ing#\n" in text


def test_the_report_is_written_again_with_what_was_found_at_boot(card):
    card.boot('[device]\nname = "my garden"\n')
    (card.path / "acoupi-report.txt").unlink()
    text = write_report(card.path, card.settings)
    assert "my-garden" in text
    assert card.report == text


def test_a_card_that_cannot_be_written_stops_nothing(card, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(boot.Partition, "replace", refuse)
    outcome = card.boot(GOOD)
    assert "Read-only file system" in str(outcome.problems[0])
    assert card.program == "acoupi.programs.connected"
    assert len(card.networks) == 1


def test_an_error_that_nobody_foresaw_stops_nothing_else(card, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(boot, "write_system_files", fail)
    outcome = card.boot(GOOD)
    assert "preparing the network" in str(outcome.problems[0])
    assert "secret inside" not in card.report
    assert card.program == "acoupi.programs.connected"


class PowerCutError(BaseException):
    """What no handler of ours takes."""


def test_no_power_cut_ever_loses_a_secret(tmp_path, monkeypatch):
    """The power goes before each step that makes a change durable."""
    actual = os.replace
    rename = Path.rename
    replace_path = Path.replace
    for last in range(60):
        directory = tmp_path / str(last)
        directory.mkdir()
        card = Card(directory)
        left = last

        def step(function, *arguments, **options):
            nonlocal left
            if left == 0:
                raise PowerCutError
            left -= 1
            return function(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *a, **o: step(actual, *a, **o))
            patch.setattr(Path, "rename", lambda *a: step(rename, *a))
            patch.setattr(Path, "replace", lambda *a: step(replace_path, *a))
            try:
                card.boot(GOOD)
                ended = True
            except PowerCutError:
                ended = False
        card.boot_well()
        config = load_config(card.settings)
        assert config.messaging.mqtt.password.get_secret_value() == "mqtt \\secret"
        assert "psk=correct horse\n" in card.networks[0]
        assert "correct horse" not in card.file.read_text()
        if ended:
            return
    pytest.fail("the boot never ended")


def everything_in(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


SNIPPETS = st.sampled_from(
    [
        "[device]", "[wifi]", "[[wifi]]", "[settings]", "[mqtt]", "[deployment]", "[[",
        "name = ", '"x"', "'", '"""', "\n", "\r\n", "=", "{", "}", "[", "]", ",", "5",
        'password = "12345678"', "../../etc/x", "\ufeff", "\t", "#", "nan", "1e999",
        "1979-05-27", "07:32:00", "true", ".", "latitude = inf", "\\u0000", "program",
        "settings.paths.recordings = '/x'", "[settings.paths]", "timezone='../x'",
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One sensor that meets many files."""
    directory = tmp_path_factory.mktemp("fuzz")
    return directory, Card(directory)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(
    content=st.one_of(
        st.binary(max_size=400),
        st.lists(SNIPPETS, max_size=25).map(lambda parts: "".join(parts).encode()),
        st.lists(SNIPPETS, max_size=25).map(lambda parts: " ".join(parts).encode()),
        st.tuples(
            st.integers(0, len(GOOD)), st.integers(0, 20), st.binary(max_size=6)
        ).map(
            lambda cut: GOOD.encode()[: cut[0]] + cut[2] + GOOD.encode()[sum(cut[:2]) :]
        ),
    )
)
@example(b"[" * 5000)
@example(b"a = " + b"[" * 5000 + b"]" * 5000)
@example(b"a." * 5000 + b"b = 1")
@example(b"x = " + b"9" * 5000)
@example(b"[settings]\nx = '''" + b"a'\n" * 3000)
@example(b'"' + b"\\" * 10000)
@example(b"[wifi]\nname = 1\npassword = 12345678\n")
def test_any_file_gives_a_report_and_a_sensor_that_works(shared, caplog, content):
    directory, card = shared
    caplog.clear()
    before = everything_in(directory)
    outcome = card.boot(content)
    assert [record for record in caplog.records if record.exc_info] == []
    assert "Traceback" not in card.report
    assert load_config(card.settings)
    for problem in outcome.problems:
        assert problem.message
    inside = (card.path, card.settings.home)
    for path in everything_in(directory) - before:
        assert any(path.is_relative_to(root) or path == root for root in inside)


def uncommented(text: str) -> str:
    lines = []
    for line in text.splitlines():
        code = line.removeprefix("# ")
        head = code.partition("=")[0].strip()
        is_setting = line.startswith("# ") and "=" in code and head.isidentifier()
        lines.append(code if is_setting else line)
    return "\n".join(lines) + "\n"


def test_the_template_says_nothing_until_it_is_filled_in(card):
    card.boot_well(TEMPLATE.read_bytes())
    assert card.program == DEFAULT
    assert card.networks == []


def test_the_template_with_everything_filled_in_is_valid(card):
    card.boot_well(uncommented(TEMPLATE.read_text()))
    assert card.program == "acoupi.programs.activity"
    assert card.system("hostname") == "garden-1\n"
    assert load_config(card.settings).messaging.mqtt.use_tls


def test_the_template_shows_every_setting_that_is_not_the_programs():
    from acoupi.system.provisioning import sections

    text = TEMPLATE.read_text()
    for section in (
        sections.DeviceSection,
        sections.WifiNetwork,
        sections.HotspotSection,
        sections.ProgramSection,
        sections.DeploymentSection,
    ):
        for name in section.model_fields:
            assert f"# {name} = " in text


def test_what_else_is_wrong_is_in_the_report(card, tmp_path):
    also = tmp_path / "also.txt"
    also.write_text("the card is too small\n")
    text = write_report(card.path, card.settings, also=also)
    assert "1. the card is too small" in text
    assert "too small" not in write_report(card.path, card.settings)
