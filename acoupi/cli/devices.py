"""``acoupi devices``: the microphones of this machine."""

from __future__ import annotations

from typing import Any

import click

from acoupi.cli.output import echo_json, echo_table, json_option

__all__ = ["devices"]


@click.command()
@click.option(
    "--no-probe",
    is_flag=True,
    help="Do not ask the devices for their rates, which opens each for a moment.",
)
@json_option
def devices(no_probe: bool, as_json: bool) -> None:
    """List the microphones: identity, rates, channels.

    The identity stays the same when a microphone is plugged in again, and is what
    microphone.device_name is best set to. One that is in use cannot be asked, and
    is listed with the process that has it.
    """
    found = _microphones(probe=not no_probe)
    if as_json:
        echo_json(found)
        return
    if not found:
        click.echo(
            "There is no microphone. Plug one in and look again; on a Raspberry Pi an "
            "I2S microphone needs its overlay in config.txt. To run without one, "
            "set microphone.source to signal, file or folder."
        )
        return
    headings = ["IDENTITY", "NAME", "CHANNELS", "DEFAULT RATE", "RATES (kHz)"]
    in_use = any(one["in_use_by"] for one in found)
    echo_table(
        [*headings, *(["IN USE BY"] if in_use else [])],
        [_row(one)[: 6 if in_use else 5] for one in found],
    )


def _microphones(*, probe: bool) -> list[dict[str, Any]]:
    from acoupi.system.doctor.cards import list_capture_devices
    from acoupi.system.doctor.sensor import Machine
    from acoupi.system.listening import look_for_microphones

    owners = {
        device.identity: device
        for device in list_capture_devices(Machine())
        if device.owner is not None
    }
    found: list[dict[str, Any]] = [
        {
            "identity": microphone.identity,
            "name": microphone.name,
            "channels": microphone.channels,
            "samplerates": list(microphone.samplerates),
            "default_samplerate": microphone.default_samplerate,
            "host_api": microphone.host_api,
            "in_use_by": owner.owner
            if (owner := owners.pop(microphone.identity, None))
            else None,
        }
        for microphone in look_for_microphones(probe=probe)
    ]
    # PortAudio leaves out what it cannot open.
    return found + [
        {
            "identity": device.identity,
            "name": device.name,
            "channels": None,
            "samplerates": [],
            "default_samplerate": None,
            "host_api": "ALSA",
            "in_use_by": device.owner,
        }
        for device in owners.values()
    ]


def _row(one: dict[str, Any]) -> list[str]:
    rate = one["default_samplerate"]
    return [
        one["identity"],
        one["name"],
        str(one["channels"] or "-"),
        f"{rate} Hz" if rate else "-",
        " ".join(f"{rate / 1000:g}" for rate in one["samplerates"]) or "-",
        f"process {one['in_use_by']}" if one["in_use_by"] else "",
    ]
