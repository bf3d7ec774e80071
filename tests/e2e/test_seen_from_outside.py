"""What is seen of a sensor under a real systemd: its figures, and no secret."""

from __future__ import annotations

import copy
import json
import shlex

import pytest
from installation import CONFIG, install_sensor
from machine import MachineError
from sensor import eventually

pytestmark = pytest.mark.timeout(900)

PORT = 9477

CANARIES = {
    "token": "Zephyr-Obelisk-72",
    "password": "mulberry-tundra-53",
    "query": "falsetto-Wombat-15",
}

SOCKET = "/var/lib/acoupi/run/metrics.sock"


def config():
    changed = copy.deepcopy(CONFIG)
    changed["metrics"] = {"port": PORT, "socket": SOCKET}
    changed["messaging"]["mqtt"] |= {
        "username": "wood",
        "password": CANARIES["password"],
    }
    changed["messaging"]["http"] = {
        # Nobody is there: what waits and fails is told in the logs.
        "base_url": f"http://127.0.0.1:9/x?key={CANARIES['query']}",
        "token": CANARIES["token"],
    }
    return changed


@pytest.fixture
def sensor(booted, chirps):
    return install_sensor(booted, chirps, config=config())


def python(machine, code):
    # As nobody else would: with the interpreter alone.
    return machine.succeed(f"python3 -c {shlex.quote(code)}")


def figures(machine):
    return python(
        machine,
        "import urllib.request as r; "
        f"u = 'http://127.0.0.1:{PORT}/metrics'; "
        "print(r.urlopen(u, timeout=5).read().decode())",
    )


def figures_of_the_socket(machine):
    return python(
        machine,
        "import socket; s = socket.socket(socket.AF_UNIX); "
        f"s.settimeout(5); s.connect({SOCKET!r}); "
        "s.sendall(b'GET /metrics HTTP/1.0\\r\\n\\r\\n'); "
        "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())",
    )


def leaks(text):
    return [kind for kind, canary in CANARIES.items() if canary in text]


def has_figures(sensor):
    machine = sensor.machine

    def that_it_records():
        told = _or_nothing(lambda: figures(machine)) or ""
        return told if "acoupi_recording 1\n" in told else None

    told = eventually("figures that say that it records", that_it_records)
    assert 'acoupi_messages_waiting{destination="http"}' in told
    again = eventually(
        "the socket", lambda: _or_nothing(lambda: figures_of_the_socket(machine))
    )
    assert "acoupi_recording 1\n" in again
    owner = machine.succeed(f"stat --format='%a %U %G' {SOCKET}").strip()
    assert owner == "660 acoupi acoupi"


def _or_nothing(ask):
    # While nobody listens yet, the command fails.
    try:
        return ask()
    except MachineError:
        return None


def listens_there_only(sensor):
    before = set(_addresses(sensor.listening))
    now = set(_addresses(sensor.machine.succeed("ss -Hlntu")))
    assert now - before == {f"127.0.0.1:{PORT}"}


def _addresses(text):
    return [line.split()[4] for line in text.splitlines()]


def shows_no_secret(sensor):
    machine = sensor.machine
    eventually(
        "complaints about the server that is not there",
        lambda: (
            "Connection refused"
            in machine.succeed("journalctl --boot --no-pager --unit='acoupi*'")
        ),
    )
    journal = machine.succeed("journalctl --boot --no-pager --all --output=verbose")
    assert leaks(journal) == []
    assert leaks(machine.succeed("ps auxwwe")) == []
    assert leaks(machine.succeed("cat /etc/systemd/system/acoupi*")) == []
    assert leaks(machine.succeed("systemctl show 'acoupi*'")) == []
    everywhere = "|".join(CANARIES.values())
    holders = machine.succeed(
        f"grep --recursive --files-with-matches --extended-regexp '{everywhere}' "
        "/var/lib/acoupi /etc /var/log /var/lib/systemd 2>/dev/null || true"
    ).split()
    assert holders == ["/var/lib/acoupi/config/program.json"]
    assert machine.succeed(f"stat --format=%a {holders[0]}").strip() == "600"


def is_closed_to_other_users(sensor):
    machine = sensor.machine
    nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups --"
    machine.fail(f"{nobody} cat /var/lib/acoupi/config/program.json")
    machine.fail(f"{nobody} cat /var/lib/acoupi/log/*")
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({SOCKET!r})"
    machine.fail(f"{nobody} python3 -c {shlex.quote(code)}")
    broker = "/var/lib/acoupi/run/broker.sock"
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({broker!r})"
    machine.fail(f"{nobody} python3 -c {shlex.quote(code)}")
    # The same may be asked by the owner: it is not the path that is wrong.
    machine.succeed(sensor.as_owner("python3", "-c", code))


def a_crash_tells_no_secret_and_leaves_no_core(sensor):
    machine, unit = sensor.machine, "acoupi-worker-default.service"
    former = sensor.show(unit, "MainPID")
    machine.succeed(f"kill -SEGV {former}")
    eventually(f"{unit}, again", lambda: sensor.is_back(unit, former))
    said = machine.succeed("journalctl --boot --no-pager --unit=acoupi-worker-default")
    assert "Segmentation fault" in said
    assert leaks(said) == []
    cores = machine.succeed(
        "find /var/lib/systemd/coredump /var/lib/acoupi /var/crash / -maxdepth 1 "
        "-type f -name 'core*' 2>/dev/null || true"
    )
    assert cores.split() == []
    has_figures(sensor)


def fits_into_a_bundle(sensor):
    machine = sensor.machine
    eventually("a stored recording", lambda: sensor.count("recording"))
    made = json.loads(
        sensor.acoupi("support-bundle", "--json", "--output", "/run/bundle.tar.gz")
    )
    assert machine.succeed(f"stat --format='%a %s' {made['path']}").split() == [
        "600",
        str(made["size"]),
    ]
    machine.succeed("mkdir /run/b", "tar -xzf /run/bundle.tar.gz -C /run/b")
    machine.succeed("mv /run/b/* /run/bundle")
    assert leaks(machine.succeed("find /run/bundle -type f -exec cat '{}' +")) == []

    def read(name):
        return machine.succeed(f"cat /run/bundle/{name}")

    assert json.loads(read("status.json"))["running"]
    assert "findings" in read("doctor.json")
    assert "ExecStart=" in read("services/system-units.txt")
    assert "ActiveState=active" in read("services/system-state.txt")
    assert "acoupi-worker" in read("services/system-journal.txt")
    assert "acoupi_recording 1" in read("metrics.txt")
    (database,) = json.loads(read("databases.json"))
    assert database["quick_check"] == ["ok"]
    assert database["rows"]["recording"] > 0
    # Nothing was made as root in the sensor's home.
    strangers = machine.succeed("find /var/lib/acoupi ! -user acoupi").split()
    assert strangers == []


def test_a_sensor_shows_its_figures_and_none_of_its_secrets(sensor):
    has_figures(sensor)
    listens_there_only(sensor)
    shows_no_secret(sensor)
    is_closed_to_other_users(sensor)
    fits_into_a_bundle(sensor)
    a_crash_tells_no_secret_and_leaves_no_core(sensor)
