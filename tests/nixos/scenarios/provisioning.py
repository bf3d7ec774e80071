"""A sensor that is set up by ``acoupi.toml`` on a partition that laptops read."""

from __future__ import annotations

import random
import shlex
import time

from sensor import Sensor, eventually

PARTITION = "/boot/firmware"
STATE = "/var/lib/acoupi-provision"
PASSWORD = "canary-of-the-network"
TOKEN = "canary-of-the-broker"

GOOD = f"""\
[device]
name = "garden-1"
timezone = "Europe/London"
ssh_key = "ssh-ed25519 \
AAAAC3NzaC1lZDI1NTE5AAAAIHkYvA9wQ3iJ6mJcFv0f2p0m4Vq0yVY3ZrKjvWg1Yb1c me@laptop"

[wifi]
name = "My network"
password = "{PASSWORD}"

[program]
name = "activity"

[settings.recording]
duration = 2
interval = 2

[settings.messaging]
message_send_interval = 1

[deployment]
name = "Oak 7"
latitude = 51.66
longitude = 0.05

[mqtt]
host = "127.0.0.1"
port = 1883
username = "sensor"
password = "{TOKEN}"
"""

BROKEN = """\
[device]
name = "garden 2"

[wifi]
name = "Another network"
password = "short"

[settings.recording]
duration = "long"
"""

NO_TOML = "[device\nname = garden-3\n"


def write_card(sensor: Sensor, text: str | None) -> None:
    """Put an ``acoupi.toml`` on the partition, as a laptop does; None takes it away."""
    file = f"{PARTITION}/acoupi.toml"
    sensor.machine.succeed(
        f"mount -o remount,rw {PARTITION}",
        f"rm -f {file}"
        if text is None
        else f"printf %s {shlex.quote(text)} >{file} && sync --file-system {file}",
        f"mount -o remount,ro {PARTITION}",
    )


def read_card(sensor: Sensor) -> str:
    """Return what ``acoupi.toml`` says now."""
    return str(sensor.machine.succeed(f"cat {PARTITION}/acoupi.toml"))


def report_of(sensor: Sensor) -> str:
    """Return what the report on the partition says."""
    return str(sensor.machine.succeed(f"cat {PARTITION}/acoupi-report.txt"))


def starts_without_a_file(sensor: Sensor) -> None:
    """A sensor whose card has no file records with the default program."""
    eventually("recording", sensor.is_recording)
    report = report_of(sensor)
    assert "there is no acoupi.toml" in report
    assert "The program is acoupi.programs.default." in report
    assert sensor.status()["program"] == "acoupi.programs.default"
    # Who has the card can join; who reads the log cannot.
    password = report.partition("Password of its own Wi-Fi: ")[2].strip()
    assert len(password) == 14, report
    sensor.machine.fail(f"journalctl --boot --no-pager | grep --quiet {password}")
    _is_read_only(sensor)


def follow(sensor: Sensor, sound: str, text: str | None) -> str:
    """Start the sensor with this file, or none, until it records; give the report."""
    write_card(sensor, text)
    sensor.machine.reboot()
    sensor.play_sound(sound)
    eventually("recording", sensor.is_recording)
    return report_of(sensor)


def follows_the_file(sensor: Sensor, sound: str) -> None:
    """What the file asks for is there after the next start, and no secret is on it."""
    report = follow(sensor, sound, GOOD)
    assert "What is wrong\r\n-------------\r\nNothing." in report, report
    for said in ("garden-1", "Europe/London", "My network", "Oak 7"):
        assert said in report, report
    found = sensor.status()
    assert found["program"] == "acoupi.programs.activity"
    eventually(
        "the deployment",
        lambda: (sensor.status()["deployment"] or {}).get("name") == "Oak 7",
    )
    services = sensor.services()
    for name in ("recording", "detection", "default"):
        assert f"acoupi-worker-{name}.service" in services
        sensor.machine.wait_for_unit(f"acoupi-worker-{name}.service")
    machine = sensor.machine
    assert machine.succeed("uname -n").strip() == "garden-1"
    assert machine.succeed("cat /run/acoupi-provision/keys/admin").startswith("ssh-")
    eventually("a detection at the MQTT broker", sensor.received_recordings)
    keeps_secrets_off_the_card(sensor)
    _is_read_only(sensor)


def keeps_secrets_off_the_card(sensor: Sensor) -> None:
    """Secrets are where only root reads, and a marker is in their place."""
    machine = sensor.machine
    text = read_card(sensor)
    assert text.count('"(kept on the sensor)"') == 2, text
    # Whatever was not secret stays as it was written.
    assert text.replace("(kept on the sensor)", "X") == GOOD.replace(
        PASSWORD, "X"
    ).replace(TOKEN, "X")
    for secret in (PASSWORD, TOKEN):
        machine.fail(f"grep --recursive --quiet {secret} {PARTITION}")
        machine.fail(f"journalctl --boot --no-pager | grep --quiet {secret}")
        # Does not find itself.
        pattern = f"[{secret[0]}]{secret[1:]}"
        for shown in ("cmdline", "environ"):
            machine.fail(f"grep --text --quiet '{pattern}' /proc/[0-9]*/{shown}")
        files = machine.succeed(
            f"grep --recursive --devices=skip --files-with-matches {secret} /etc"
            " /var/lib /var/log /run/acoupi* /run/NetworkManager /data || true"
        ).splitlines()
        assert files
        for name in files:
            mode = machine.succeed(f"stat --format=%a {shlex.quote(name)}").strip()
            assert mode == "600", f"{name}: {mode}"
    assert machine.succeed(f"stat --format='%a %U' {STATE}").strip() == "700 root"


def goes_on_with(sensor: Sensor, sound: str, text: str | None, said: str) -> None:
    """A file that is wrong, or gone, changes nothing; the report says what it is.

    Parameters
    ----------
    sensor : Sensor
        It follows `GOOD`.
    sound : str
        What is played to it.
    text : str or None
        What is put on the card.
    said : str
        What the report has to say.
    """
    report = follow(sensor, sound, text)
    assert said in report, report
    assert sensor.machine.succeed("uname -n").strip() == "garden-1"
    assert sensor.status()["program"] == "acoupi.programs.activity"
    # The last one of the former boot was cut short by its end.
    former = sensor.query("SELECT max(number) AS number FROM recording")[0]["number"]
    later = f"SELECT duration FROM recording WHERE number > {former or 0}"
    eventually(
        "a recording of the length that was set",
        lambda: {"duration": 2} in sensor.query(later),
    )
    networks = sensor.machine.succeed(
        "cat /run/NetworkManager/system-connections/acoupi-wifi-*.nmconnection"
        if text is not None
        else f"cat {STATE}/system/connections/acoupi-wifi-*.nmconnection"
    )
    assert PASSWORD in networks
    sensor.machine.fail("systemctl --quiet is-failed acoupi-provision.service")


def survives_power_cuts(sensor: Sensor, sound: str, *, cuts: int, seed: int) -> None:
    """Cut while the file is followed, a secret is in one place at least, and whole.

    Parameters
    ----------
    sensor : Sensor
        It follows `GOOD`.
    sound : str
        What is played to it.
    cuts : int
        How often.
    seed : int
        Of the moments.
    """
    moments = random.Random(seed)  # not a secret, but repeatable
    machine = sensor.machine
    for number in range(cuts):
        secret = f"canary-number-{number}"
        write_card(sensor, GOOD.replace(PASSWORD, secret))
        machine.succeed("systemctl restart --no-block acoupi-provision.service")
        time.sleep(moments.uniform(0, 1.5))
        machine.crash()
        machine.start()
        sensor.play_sound(sound)
        eventually("recording", sensor.is_recording)
        assert read_card(sensor).count('"(kept on the sensor)"') == 2
        machine.succeed(f"grep --quiet {secret} {STATE}/secrets.json")
        assert "Nothing." in report_of(sensor)
        machine.succeed(
            "grep --quiet "
            f"psk={secret} /run/NetworkManager/system-connections/acoupi-wifi-*"
        )
        assert sensor.status()["program"] == "acoupi.programs.activity"


def _is_read_only(sensor: Sensor) -> None:
    options = sensor.machine.succeed(
        f"findmnt --noheadings --output OPTIONS {PARTITION}"
    )
    assert "ro" in options.strip().split(",")
