"""Microphones and sound servers that fail, and what a sensor says of them."""

from __future__ import annotations

import json
from typing import Any

import continuity
from sensor import Sensor, eventually

RETURN_SECONDS = 10.0
"""Within which sound is recorded again after a microphone is back."""

UNPLUG = "echo snd_aloop.0 >/sys/bus/platform/drivers/snd_aloop/unbind"
"""Takes the loopback card out, whoever uses it."""

PROBLEMS = {
    "silence": "silence",
    "offset": "offset",
    "clipping": "clipping",
    "stuck": "stuck",
}
"""Sounds of defective microphones (`sound.write_defect`), and how each is named."""


def comes_back_to_the_sound_server(sensor: Sensor, unit: str) -> list[float]:
    """A sound server that is killed, stopped or hangs is found again by itself.

    Returns
    -------
    list of float
        The seconds from each return to the first sound.
    """
    machine = sensor.machine
    former = sensor.show("acoupi-worker-recording.service", "MainPID")
    machine.succeed(f"systemctl kill --signal=KILL {unit}")
    machine.wait_for_unit(unit)
    taken = [continuity.seconds_until_heard(sensor, continuity.now(sensor))]
    machine.succeed(f"systemctl stop {unit}")
    eventually("a problem is named", lambda: _problems(sensor))
    assert not sensor.is_recording()
    machine.succeed(f"systemctl start {unit}")
    taken.append(continuity.seconds_until_heard(sensor, continuity.now(sensor)))
    machine.succeed(f"systemctl kill --signal=STOP {unit}")
    eventually("a problem is named", lambda: _problems(sensor))
    machine.succeed(f"systemctl kill --signal=CONT {unit}")
    taken.append(continuity.seconds_until_heard(sensor, continuity.now(sensor)))
    eventually("no problem", lambda: not _problems(sensor))
    continuity.detects_again(sensor)
    # The recorder itself never ended.
    assert sensor.show("acoupi-worker-recording.service", "MainPID") == former
    assert max(taken) < RETURN_SECONDS, taken
    return taken


def survives_unplugging(sensor: Sensor, times: int) -> list[float]:
    """A sound card that is taken out comes back, whatever its number is then.

    Parameters
    ----------
    sensor : Sensor
        Records from the kernel's loopback card, and from nothing else.
    times : int
        How often.

    Returns
    -------
    list of float
        The seconds from each return to the first sound.
    """
    machine = sensor.machine
    device = sensor.status()["recorder"]["device"]
    former = sensor.show("acoupi-worker-recording.service", "MainPID")
    opened = _count_open_files(sensor, former)
    taken = []
    for number in range(times):
        machine.succeed(UNPLUG)
        eventually("not recording", lambda: not _report(sensor)["capturing"])
        if number % 2:
            # Another microphone is there meanwhile, under the number that was ours.
            machine.succeed("modprobe snd-dummy index=0")
        machine.wait_until_succeeds("modprobe --remove snd-aloop")
        machine.succeed(
            f"modprobe snd-aloop index={number % 5 if not number % 2 else 3}"
        )
        taken.append(continuity.seconds_until_heard(sensor, continuity.now(sensor)))
        told = _report(sensor)
        assert told["device"] == device, told
        machine.execute("modprobe --remove snd-dummy")
    recorded = sensor.query(
        "SELECT DISTINCT json_extract(capture, '$.device') AS device FROM recording"
    )
    assert recorded == [{"device": device}]
    assert sensor.show("acoupi-worker-recording.service", "MainPID") == former
    eventually(
        "no more open files than before",
        lambda: _count_open_files(sensor, former) <= opened + 2,
    )
    continuity.detects_again(sensor)
    assert max(taken) < RETURN_SECONDS, taken
    return taken


def names_defects(sensor: Sensor, sounds: dict[str, str], sound: str) -> None:
    """What is wrong with a microphone is named, in the heartbeat as well.

    Parameters
    ----------
    sensor : Sensor
        Sends a heartbeat every few seconds.
    sounds : dict
        Sound files of this host by the word that names the problem.
    sound : str
        A sound file of a microphone that works.
    """
    assert _problems(sensor) == []
    for word, file in sounds.items():
        play_instead(sensor, file)
        told = eventually(
            f"{word} is named",
            lambda w=word: [it for it in _problems(sensor) if w in it],
        )
        assert len(told) == 1, told
        eventually(
            f"{word} in the heartbeat",
            lambda w=word: w in _last_heartbeat(sensor).get("microphone_problems", ""),
        )
    play_instead(sensor, sound)
    eventually("no problem", lambda: not _problems(sensor))
    continuity.detects_again(sensor)


def raises_no_false_alarm(sensor: Sensor, seconds: float = 12) -> None:
    """Nothing is said against a microphone that works."""
    ends = continuity.now(sensor) + seconds
    while continuity.now(sensor) < ends:
        assert _problems(sensor) == []


def play_instead(sensor: Sensor, file: str) -> None:
    """Play another sound file of this host to the microphone."""
    sensor.machine.succeed("systemctl stop playing.service")
    sensor.play_sound(file)


def _count_open_files(sensor: Sensor, pid: str) -> int:
    return int(sensor.machine.succeed(f"ls /proc/{pid}/fd | wc --lines"))


def _problems(sensor: Sensor) -> list[str]:
    problems: list[str] = sensor.status()["recorder"]["problems"]
    return problems


def _report(sensor: Sensor) -> dict[str, Any]:
    # Faster than asking the command line, where a machine is slow.
    text = sensor.machine.succeed(f"cat {sensor.home}/run/recorder.json")
    report: dict[str, Any] = json.loads(text)
    return report


def _last_heartbeat(sensor: Sensor) -> dict[str, str]:
    for message in reversed(sensor.received()):
        if "heartbeat" in message:
            return {
                name: str(metric["value"])
                for name, metric in message["metrics"].items()
            }
    return {}
