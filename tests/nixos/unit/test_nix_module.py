"""The module evaluated with nixpkgs: what it declares, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXPRESSION = Path(__file__).with_name("module.nix")

pytestmark = [pytest.mark.nixpkgs, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def look(attribute_of):
    """Return a function that gives what a sensor of module.nix comes to."""
    return lambda sensor: attribute_of(EXPRESSION, f"looks.{sensor}")


def test_enabling_it_is_all_that_a_sensor_needs(look):
    found = look("smallest")
    assert found["failures"] == []
    assert found["warnings"] == []
    assert set(found["services"]) == {
        "acoupi-beat",
        "acoupi-setup",
        "acoupi-worker-default",
        "acoupi-worker-recording",
        "redis-acoupi",
    }
    assert found["target"] == ["multi-user.target"]
    assert found["redis"]["port"] == 0
    assert found["users"] == ["acoupi", "redis-acoupi"]
    assert "size=25%" in found["mounts"][0]
    assert found["settings"]["paths"]["tmp_audio"] == "/run/acoupi/audio"


def test_every_service_starts_after_the_home_and_the_queue_are_there(look):
    services = look("activity")["services"]
    for name, service in services.items():
        if name.startswith(("acoupi-worker", "acoupi-beat")):
            assert {"acoupi-setup.service", "redis-acoupi.service"} <= {
                *service["after"]
            }
            assert service["wantedBy"] == ["acoupi.target"]
            assert service["partOf"] == ["acoupi.target"]
            assert service["config"]["Restart"] == "always"
            assert service["config"]["Slice"] == "acoupi.slice"


def test_a_secret_is_a_credential_of_every_process_that_reads_the_settings(look):
    found = look("activity")
    assert found["failures"] == []
    for name, service in found["services"].items():
        if name.startswith(("acoupi-worker", "acoupi-beat", "acoupi-deployment")):
            assert service["config"]["LoadCredential"] == ["mqtt:/var/lib/secrets/mqtt"]
    assert "LoadCredential" not in found["services"]["acoupi-setup"]["config"]


def test_redis_comes_back_and_has_no_network(look):
    config = look("smallest")["services"]["redis-acoupi"]["config"]
    assert config["Restart"] == "always"
    assert config["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_a_home_elsewhere_is_taken(look):
    found = look("elsewhere")
    assert found["failures"] == []
    assert found["mounts"] == []
    assert found["users"] == ["redis-acoupi"]
    config = found["services"]["acoupi-worker-recording"]["config"]
    assert "-/data/sensor" in config["ReadWritePaths"]
    assert "StateDirectory" not in config
    assert found["settings"]["paths"]["tmp_audio"] == "/data/sensor/data/temporary"


def test_a_broker_elsewhere_needs_no_server_here(look):
    found = look("own-broker")
    assert found["failures"] == []
    assert "redis-acoupi" not in found["services"]


@pytest.mark.parametrize("sensor", ["secret-broker", "mutable-secret-broker"])
def test_a_broker_with_a_password_is_a_credential(look, sensor):
    found = look(sensor)
    assert found["failures"] == []
    assert found["warnings"] == []
    config = found["services"]["acoupi-worker-recording"]["config"]
    assert config["LoadCredential"] == ["broker:/var/lib/secrets/broker"]
    # Where it is, is not known: the recorder may have to reach it on the network.
    assert config["PrivateNetwork"] is False


PROCESSES = [
    "acoupi-beat.service",
    "acoupi-worker-default.service",
    "acoupi-worker-detection.service",
    "acoupi-worker-recording.service",
]


@pytest.mark.parametrize(
    ("change", "restarted"),
    [
        ("nothing", []),
        ("setting", [*PROCESSES, "acoupi-setup.service"]),
        ("level", [*PROCESSES, "acoupi-setup.service"]),
        ("deployment", ["acoupi-deployment.service"]),
        ("credential", [*PROCESSES, "acoupi-deployment.service"]),
        ("memory", ["run-acoupi.mount"]),
    ],
)
def test_a_change_restarts_what_it_affects_and_nothing_else(
    instantiate, change, restarted
):
    done = instantiate(EXPRESSION, "restarted")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)[change] == sorted(restarted)


def test_a_program_of_others_has_its_own_workers_and_settings(look):
    found = look("other-program")
    assert found["failures"] == []
    assert "acoupi-worker-detection" in found["services"]
    assert found["settings"]["chorus"] == {"minutes": 90}


def test_a_mutable_home_is_evaluated_too(look):
    assert look("mutable")["failures"] == []


@pytest.mark.parametrize(
    ("sensor", "names", "remedy"),
    [
        ("unknown-program", "services.acoupi.program", "services.acoupi.catalogues"),
        ("half-a-place", "services.acoupi.deployment", "both latitude and longitude"),
        ("plain-secret", "settings.messaging.mqtt.password", '_secret = "NAME"'),
        ("absent-secret", "absent", "services.acoupi.credentials.absent"),
        ("no-broker", "services.acoupi", "services.acoupi.celery.broker_url"),
        ("two-brokers", "celery.broker_url", "redis.createLocally = false"),
        ("broker-password", "celery.broker_url", "_secret"),
    ],
)
def test_what_cannot_work_is_refused_with_the_option_and_the_remedy(
    look, sensor, names, remedy
):
    failures = look(sensor)["failures"]
    assert len(failures) == 1
    assert names in failures[0]
    assert remedy in failures[0]


def test_a_credential_that_nothing_uses_is_mentioned(look):
    found = look("unused-secret")
    assert found["failures"] == []
    assert "services.acoupi.credentials.mqtt is not used" in found["warnings"][0]


@pytest.mark.parametrize(
    ("sensor", "option", "says"),
    [
        ("wrong-type", "settings.microphone.samplerate", "integer, at least 1000"),
        ("out-of-range", "settings.microphone.samplerate", "integer, at least 1000"),
        ("secret-by-path", "credentials.mqtt", "as a string"),
        ("secret-in-store", "credentials.mqtt", "outside the Nix store"),
        ("relative-home", "home", "absolute path"),
        ("unknown-option", "services.acoupi.sampelrate", "does not exist"),
        ("port-zero", "settings.messaging.mqtt.port", "at least 1 and at most 65535"),
        ("no-such-level", "services.acoupi.logLevel", '"WARNING"'),
        ("north-of-the-pole", "deployment.latitude", "between -90 and 90"),
        ("unnamed", "services.acoupi.deployment.name", "no value defined"),
        ("settings-as-text", "services.acoupi.settings", "not of type"),
        ("no-such-pool", "services.acoupi.celery.pool", '"threads"'),
    ],
)
def test_a_value_of_the_wrong_kind_ends_the_evaluation(
    instantiate, sensor, option, says
):
    done = instantiate(EXPRESSION, f"looks.{sensor}")
    assert done.returncode != 0
    assert option in done.stderr
    assert says in done.stderr


def test_the_options_reference_is_current(instantiate):
    done = instantiate(EXPRESSION, "options")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == (ROOT / "docs" / "options.md").read_text(), (
        "docs/options.md is out of date: run nix/update.sh"
    )
