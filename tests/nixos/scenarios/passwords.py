"""Passwords: used by the sensor, and nowhere to be read."""

from __future__ import annotations

import shlex

import end_to_end
from sensor import Sensor

PASSWORD = "canary-of-the-broker"
"""What the credential holds."""

FILE = "/var/lib/secrets/mqtt"
"""Where it is on the sensor."""


def are_nowhere_to_be_read(sensor: Sensor, store: str) -> None:
    """A password reaches the broker, and neither the store nor the log nor ``ps``.

    Parameters
    ----------
    sensor : Sensor
        Its password for the MQTT broker is a credential, the content of `FILE`.
    store : str
        Command that lists the directories of the store that the system consists of.
    """
    machine = sensor.machine
    end_to_end.detects_and_delivers(sensor)
    # None of the commands finds itself.
    pattern = shlex.quote(f"[{PASSWORD[0]}]{PASSWORD[1:]}")
    machine.fail(f"journalctl --no-pager --output=verbose | grep --quiet {pattern}")
    machine.fail(f"systemctl show '*' | grep --quiet {pattern}")
    for shown in ("cmdline", "environ"):
        machine.fail(f"grep --text --quiet {pattern} /proc/[0-9]*/{shown}")
    listed = machine.succeed(store).split()
    assert listed
    machine.fail(f"{store} | xargs grep --recursive --quiet {pattern}")
    # Root sees what each service was given in /run/credentials; nobody else does.
    found = machine.succeed(
        "grep --recursive --devices=skip --files-with-matches"
        f" --exclude-dir=credentials {pattern} /etc /home /root /run /var || true"
    )
    assert found.split() == [FILE], found
    for command in (["config", "get"], ["status", "--json"], ["check", "--json"]):
        # Whatever is wrong, it is not told with the password.
        said = machine.succeed(f"{shlex.join(['acoupi', *command])} 2>&1 || true")
        assert said
        assert PASSWORD not in said, said
