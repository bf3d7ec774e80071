"""``acoupi-report.txt``: what a person without a screen reads on a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.system.provisioning.machine import Machine
    from acoupi.system.provisioning.outcome import Outcome

__all__ = ["write_words"]


def write_words(
    outcome: Outcome, machine: Machine, hotspot_password: str | None = None
) -> str:
    """Return the report, with the line ends that every editor shows.

    Parameters
    ----------
    outcome : Outcome
        What was applied and what is wrong.
    machine : Machine
        What was seen of it.
    hotspot_password : str, optional
        The password of the sensor's own network, when the sensor made it up: without a
        screen, nothing else could tell it.
    """
    lines = ["Report of the sensor", "====================", ""]
    lines += [f"Written {machine.now:%Y-%m-%d %H:%M} UTC by the sensor itself."]
    if machine.clock_is_set:
        lines += ["The clock is set."]
    else:
        lines += [
            "The clock was not yet known to be right then: the time may be wrong.",
            "It sets itself once there is a network; recordings are then corrected.",
        ]
    lines += ["", *_heading("What is wrong")]
    if outcome.problems:
        lines += [
            "The sensor runs nevertheless: what is wrong was left as it was before.",
            "Mend it in acoupi.toml, put the card back and switch the sensor on.",
            "",
        ]
        for number, problem in enumerate(outcome.problems, 1):
            lines += _item(f"{number}.", str(problem))
    else:
        lines += ["Nothing."]
    lines += ["", *_heading("What was applied"), *_list(outcome.applied)]
    if outcome.notes:
        lines += ["", *_heading("Good to know"), *_list(outcome.notes)]
    lines += ["", *_heading("The sensor"), *_of_machine(machine)]
    if hotspot_password is not None:
        lines += [f"Password of its own Wi-Fi: {hotspot_password}"]
    lines += [""]
    return "\r\n".join(lines)


def _heading(text: str) -> list[str]:
    return [text, "-" * len(text)]


def _list(texts: list[str]) -> list[str]:
    return [line for text in texts for line in _item("-", text)] or ["Nothing."]


def _item(mark: str, text: str) -> list[str]:
    first, *others = text.splitlines() or [""]
    return [f"{mark} {first}", *(f"{' ' * len(mark)} {line}" for line in others)]


def _of_machine(machine: Machine) -> list[str]:
    if machine.addresses:
        lines = ["Addresses:"]
        lines += [f"  {address} ({name})" for name, address in machine.addresses]
    else:
        lines = ["Addresses: none at that moment: no network was reached."]
    if machine.microphones:
        lines += ["Microphones:", *(f"  {name}" for name in machine.microphones)]
    else:
        lines += [
            "Microphones: none was found. Is it plugged in?",
            "  A microphone on the pins (I2S) needs an image that is made for it.",
        ]
    if machine.recording is not None:
        lines += [f"Recording: {'yes' if machine.recording else 'not at that moment'}"]
    if machine.free_bytes is not None and machine.total_bytes is not None:
        free, total = machine.free_bytes / 1e9, machine.total_bytes / 1e9
        lines += [f"Free space: {free:.1f} of {total:.1f} GB"]
    return lines
