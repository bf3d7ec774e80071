"""The Nix code, as far as it can be tried without nixpkgs: with Nix' builtins only."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIB = ROOT / "nixos-modules" / "lib"
READ = f"(import {LIB}/catalogue.nix).read {ROOT}/nixos-modules/catalogue.json"
GOLDEN = Path(__file__).with_name("golden")

pytestmark = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="nix-instantiate is not installed"
)


def nix_files() -> list[Path]:
    folders = ("nix", "nixos-modules", "templates", "tests/nixos")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.nix")]
    return sorted([ROOT / "flake.nix", *found])


def literal(value: object) -> str:
    """Write data as a Nix expression."""
    text = json.dumps(json.dumps(value)).replace("${", "\\${")
    return f"(builtins.fromJSON {text})"


@pytest.mark.parametrize(
    "path", nix_files(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_file_parses_and_has_no_undefined_variable(nix, path):
    done = nix("--parse", str(path))
    assert done.returncode == 0, done.stderr


def test_the_lock_is_that_of_the_flakes_inputs():
    lock = json.loads((ROOT / "flake.lock").read_text())
    flake = (ROOT / "flake.nix").read_text()
    assert lock["version"] == 7
    declared = dict(re.findall(r'inputs\.([a-z-]+)\.url = "([^"]+)"', flake))
    assert set(lock["nodes"][lock["root"]]["inputs"]) == set(declared)
    for name, url in declared.items():
        node = lock["nodes"][lock["nodes"][lock["root"]]["inputs"][name]]
        original, locked = node["original"], node["locked"]
        assert (
            url
            == f"{original['type']}:{original['owner']}/{original['repo']}/"
            + (original["ref"])
        )
        assert (locked["owner"], locked["repo"]) == (
            original["owner"],
            original["repo"],
        )
        assert re.fullmatch(r"[0-9a-f]{40}", locked["rev"])
        assert re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", locked["narHash"])
        assert isinstance(locked["lastModified"], int)


def test_the_catalogue_is_what_the_programs_say_now():
    from acoupi.system.catalogue import catalogue

    kept = json.loads((ROOT / "nixos-modules" / "catalogue.json").read_text())
    now = json.loads(json.dumps(catalogue()))
    assert kept == now, "out of date: run nix/update.sh"


def test_the_templates_catalogue_is_what_its_program_says_now(monkeypatch):
    from acoupi.system.catalogue import catalogue

    folder = ROOT / "templates" / "fleet" / "dusk-chorus"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    kept = json.loads((folder / "catalogue.json").read_text())
    assert kept == json.loads(json.dumps(catalogue(["dusk_chorus"])))


def test_the_documentation_lists_every_setting_as_it_is_now(evaluate):
    lines = evaluate(
        f"let c = {READ}; d = import {LIB}/document.nix;"
        " in d.settings c.celery ++ d.programs c"
    )
    text = (ROOT / "docs" / "options.md").read_text()
    assert "\n".join(lines[-50:]) in text, "out of date: run nix/update.sh"
    assert all(line in text for line in lines), "out of date: run nix/update.sh"


def test_every_option_has_a_description_and_an_example():
    text = (ROOT / "docs" / "options.md").read_text()
    chapter = text.split("\n## `services.acoupi.celery`")[0]
    sections = re.split(r"\n### ", chapter)[1:]
    assert len(sections) > 15
    for section in sections:
        name, _, body = section.partition("\n")
        assert len(body.split("\nType:")[0].strip()) > 8, name
        assert "Example" in body or "read only" in body, name


# --- hardening and units

CONTEXT = {
    "home": "/var/lib/acoupi",
    "user": "acoupi",
    "group": "acoupi",
    "broker": "redis+socket:///run/redis-acoupi/redis.sock",
    "brokerUnits": ["redis-acoupi.service"],
    "groups": ["redis-acoupi"],
    "writable": ["/run/acoupi/audio"],
    "stateDirectory": "acoupi",
    "mounts": ["/run/acoupi"],
    "credentials": {"mqtt": "/var/lib/secrets/mqtt"},
}


@pytest.fixture(scope="session")
def services(evaluate):
    """Return a function that gives the services of a shipped program."""

    def make(program: str, **context):
        given = literal({**CONTEXT, **context})
        return evaluate(
            f"let c = {READ}; in (import {LIB}/units.nix).services {given}"
            f' c.programs."{program}".workers'
        )

    return make


def unit_text(service: dict[str, object]) -> str:
    """Write a service as NixOS does: lists repeat the key."""
    lines = []
    listed = ("after", "wants", "partOf", "wantedBy")
    for section, values in (
        ("Unit", {"Description": service["description"], **service["unitConfig"]}),
        ("Service", service["serviceConfig"]),
    ):
        lines.append(f"[{section}]")
        for key, value in values.items():
            for item in value if isinstance(value, list) else [value]:
                shown = str(item).lower() if isinstance(item, bool) else item
                lines.append(f"{key}={shown}")
        if section == "Unit":
            lines += [
                f"{key[0].upper()}{key[1:]}={' '.join(service[key])}"
                for key in listed[:3]
            ]
    return "\n".join(lines) + "\n"


def test_the_services_of_the_activity_program_are_as_reviewed(services):
    found = services("acoupi.programs.activity")
    golden = GOLDEN / "activity-services.json"
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "UPDATE_GOLDEN=1 writes it anew: review it"


def test_a_broker_elsewhere_gives_every_process_the_network(services):
    found = services("acoupi.programs.default", broker="rediss://queue.example.org/0")
    assert len(found) == 3
    for service in found.values():
        assert service["serviceConfig"]["PrivateNetwork"] is False


def test_the_recorder_reaches_no_network_and_outlives_the_model(services):
    found = services("acoupi.programs.activity")
    recorder = found["acoupi-worker-recording"]["serviceConfig"]
    model = found["acoupi-worker-detection"]["serviceConfig"]
    assert recorder["PrivateNetwork"] is True
    assert recorder["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert recorder["OOMScoreAdjust"] < 0 < model["OOMScoreAdjust"]
    assert "MemoryMax" in model
    assert "MemoryMax" not in recorder


def test_a_home_elsewhere_and_no_credentials_leave_their_settings_out(services):
    found = services(
        "acoupi.programs.default", home="/data/x", stateDirectory=None, credentials={}
    )
    assert "acoupi-worker-recording" in found
    for service in found.values():
        config = service["serviceConfig"]
        assert "StateDirectory" not in config
        assert "LoadCredential" not in config
        assert "-/data/x" in config["ReadWritePaths"]


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_no_service_is_exposed_more_than_was_promised(services, tmp_path):
    for name, service in services("acoupi.programs.activity").items():
        unit = tmp_path / f"{name}.service"
        unit.write_text(unit_text(service))
        threshold = 6 if name == "acoupi-worker-recording" else 15  # tenths
        done = subprocess.run(
            [
                "systemd-analyze",
                "security",
                "--offline=true",
                f"--threshold={threshold}",
                str(unit),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_takes_every_directive(services, tmp_path):
    files = []
    for name, service in services("acoupi.programs.activity").items():
        config = {**service["serviceConfig"], "ExecStart": "/bin/true"}
        unit = tmp_path / f"{name}.service"
        unit.write_text(unit_text({**service, "serviceConfig": config}))
        files.append(str(unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert ours == []


def test_a_relaxation_that_there_is_not_is_an_error(nix):
    done = nix(
        "--eval", "--strict", "--expr", f'(import {LIB}/hardening.nix).relaxedBy ["x"]'
    )
    assert done.returncode != 0
    assert "'x' missing" in done.stderr


# --- secrets and catalogues


def test_secrets_that_are_written_out_are_found(evaluate):
    settings = {
        "mqtt": {"password": "plain", "host": "h"},
        "http": {"token": {"_secret": "token"}, "password": None},
    }
    keys = ["mqtt.password", "http.token", "http.password", "ftp.password"]
    found = evaluate(
        f"(import {LIB}/secrets.nix).literals {literal(keys)} {literal(settings)}"
    )
    assert found == ["mqtt.password"]


def test_references_are_found_at_any_depth_and_once(evaluate):
    value = {"a": [{"_secret": "x"}, {"b": {"_secret": "y"}}], "c": {"_secret": "x"}}
    found = evaluate(f"(import {LIB}/secrets.nix).references {literal(value)}")
    assert found == ["x", "y"]


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("redis://user:word@example.org/0", True),
        ("rediss://:word@example.org/0", True),
        ("redis://example.org:6379/0", False),
        ("redis+socket:///run/redis-acoupi/redis.sock", False),
    ],
)
def test_a_password_in_a_broker_url_is_seen(evaluate, url, has):
    assert evaluate(f'(import {LIB}/secrets.nix).hasPassword "{url}"') is has


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"programs": {}}, "is not a catalogue"),
        ({"version": 99, "programs": {}}, "is a catalogue of version 99"),
    ],
)
def test_what_is_no_catalogue_is_refused_with_the_remedy(
    nix, tmp_path, content, message
):
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps(content))
    done = nix(
        "--eval", "--strict", "--expr", f"(import {LIB}/catalogue.nix).read {file}"
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert "acoupi catalogue MODULE" in done.stderr
