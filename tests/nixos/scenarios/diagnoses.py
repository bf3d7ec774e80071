"""What ``acoupi doctor`` says of a sensor: nothing when it is well, else each fault."""

from __future__ import annotations

import json
import shlex

from sensor import Sensor, eventually

OF_THE_HOST = {
    "clock-not-synchronised",
    "out-of-memory",
    "memory-low",
    "overloaded",
    "undervoltage",
    "overheating",
    "disk-errors",
    "disk-low",
    "journal-large",
}
"""Faults that a machine of the tests may have from the one that it runs on."""

DETECTION = "acoupi-worker-detection.service"
RECORDING = "acoupi-worker-recording.service"

SECONDS = 15.0
"""That an examination takes at most, also on a busy machine."""

LASTING = {"losses", "process-in-trouble", "service-restarts", "messages-not-taken"}
"""What is told of a fault for a while after it is gone."""

FAILING = f"""
mkdir -p /run/systemd/system/{DETECTION}.d
cd /run/systemd/system/{DETECTION}.d
printf '[Service]\\nExecStartPre=/bin/false\\n' >failing.conf
systemctl daemon-reload
systemctl restart --no-block {DETECTION}
"""

NO_LONGER_FAILING = f"""
rm -r /run/systemd/system/{DETECTION}.d
systemctl daemon-reload
systemctl reset-failed {DETECTION}
systemctl restart {DETECTION}
"""


def faults_of(sensor: Sensor) -> dict[str, tuple[str, str]]:
    """Return what is done and undone for each fault, by its code."""
    home = shlex.quote(sensor.home)
    beat = "$(systemctl show --value --property=MainPID acoupi-beat.service)"
    return {
        "secrets-exposed": (
            f"chmod 644 {home}/config/program.json",
            f"chmod 600 {home}/config/program.json",
        ),
        "files-of-another-user": (
            f"install --owner=nobody /dev/null {home}/config/left",
            f"rm {home}/config/left",
        ),
        "script-broken": (
            f"chmod 644 {home}/bin/acoupi-beat.sh",
            f"chmod 755 {home}/bin/acoupi-beat.sh",
        ),
        "setup-interrupted": (f"mkdir {home}/.setup", f"rmdir {home}/.setup"),
        "generated-files-changed": (
            f"echo '# mine' >>{home}/app.py",
            f"sed -i '/# mine/d' {home}/app.py",
        ),
        "not-at-boot": (
            "systemctl disable acoupi.target",
            "systemctl enable acoupi.target",
        ),
        "services-outdated": (
            f"echo '# mine' >>/etc/systemd/system/{DETECTION}",
            f"sed -i '/# mine/d' /etc/systemd/system/{DETECTION}",
        ),
        "service-stopped": (
            f"systemctl stop {DETECTION}",
            f"systemctl start {DETECTION}",
        ),
        "service-fails": (FAILING, NO_LONGER_FAILING),
        "process-stopped": (f"kill -STOP {beat}", f"kill -CONT {beat}"),
        "broker-socket-missing": (
            f"mv {home}/run/broker.sock {home}/run/aside",
            f"mv {home}/run/aside {home}/run/broker.sock",
        ),
        "database-locked": (
            f"systemd-run --quiet --collect --unit=holding {_hold(sensor)}",
            "systemctl stop holding",
        ),
        "microphone-lost": (
            "systemctl stop microphone.service",
            "systemctl start microphone.service",
        ),
        "destination-unreachable": (
            "systemctl stop mosquitto.service",
            "systemctl start mosquitto.service",
        ),
    }


GROUPS = (
    (
        *("secrets-exposed", "files-of-another-user", "script-broken"),
        *("generated-files-changed", "not-at-boot", "services-outdated"),
        *("process-stopped", "destination-unreachable"),
    ),
    (
        *("service-stopped", "broker-socket-missing", "database-locked"),
        "microphone-lost",
    ),
    ("service-fails", "setup-interrupted"),
)
"""Faults that do not hide each other, done at once: each examination takes a second."""

GROUPS_OF_DECLARED = (("process-stopped", "service-stopped", "database-locked"),)
"""Those of a sensor whose files and units nobody changes by hand, as on NixOS."""


def _hold(sensor: Sensor) -> str:
    database = shlex.quote(sensor.database)
    begin = "{ echo 'BEGIN IMMEDIATE;'; sleep 600; }"
    hold = f"{begin} | sqlite3 -cmd '.timeout 20000' {database}"
    return sensor.as_owner("sh", "-c", hold)


def examine(sensor: Sensor) -> dict[str, dict[str, str]]:
    """Return what is found, by code, less what the host has."""
    home = shlex.quote(sensor.home)
    code, text = sensor.machine.execute(f"ACOUPI_HOME={home} acoupi doctor --json")
    found = json.loads(text)
    assert code == (0 if found["healthy"] else 1), text
    assert found["seconds"] < SECONDS, found["seconds"]
    return {
        finding["code"]: finding
        for finding in found["findings"]
        if finding["code"] not in OF_THE_HOST
    }


def is_well(sensor: Sensor, *, despite: frozenset[str] = frozenset()) -> None:
    """Nothing is said of a sensor that works, but what lasts for a while."""
    found: set[str] = set()

    def ask() -> bool:
        found.clear()
        found.update(set(examine(sensor)) - despite)
        return not found

    try:
        eventually("no finding", ask, timeout=90)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from error


def names_each_fault(
    sensor: Sensor, groups: tuple[tuple[str, ...], ...] = GROUPS
) -> list[str]:
    """Each fault is named while it is there, and not before or after.

    Parameters
    ----------
    sensor : Sensor
        It has to be well.
    groups : tuple
        What is done at once.

    Returns
    -------
    list of str
        What was named.
    """
    is_well(sensor)
    faults = faults_of(sensor)
    done = sorted(code for group in groups for code in group)
    assert set(done) <= faults.keys()
    for group in groups:
        try:
            sensor.machine.succeed(*(faults[code][0] for code in group))
            missing = set(group)

            def ask(missing: set[str] = missing) -> bool:
                missing.difference_update(examine(sensor))
                return not missing

            try:
                eventually("each fault", ask)
            except AssertionError as error:
                raise AssertionError(f"{error}: {missing}") from error
        finally:
            # What one of them waits for was done later.
            sensor.machine.succeed(*(faults[code][1] for code in reversed(group)))
        is_well(sensor, despite=frozenset(LASTING))
    return done


def changes_nothing(sensor: Sensor) -> None:
    """An examination leaves the home as it is, also of a sensor that is stopped."""
    sensor.acoupi("stop")
    listing = f"find {shlex.quote(sensor.home)} -printf '%p %s %T@ %U %m\\n' | sort"
    before = sensor.machine.succeed(listing).splitlines()
    assert "not-running" in examine(sensor)
    after = sensor.machine.succeed(listing).splitlines()
    assert set(after) ^ set(before) == set()
    sensor.acoupi("start")
    eventually("recording", sensor.is_recording)


def says_who_may_ask(sensor: Sensor) -> None:
    """Somebody who may not read the home is told who may."""
    _, text = sensor.machine.execute(
        f"setpriv --reuid=nobody --clear-groups env ACOUPI_HOME={sensor.home} "
        "acoupi doctor --json"
    )
    codes = {finding["code"] for finding in json.loads(text)["findings"]}
    assert "home-unreadable" in codes
    assert "probe-failed" not in codes
