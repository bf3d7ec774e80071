"""``acoupi devices``: the microphones of this machine."""

from __future__ import annotations

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
    microphone.device_name is best set to.
    """
    from acoupi.audio.devices import list_microphones

    microphones = list_microphones(probe=not no_probe)
    if as_json:
        echo_json(
            [
                {
                    "identity": microphone.identity,
                    "name": microphone.name,
                    "channels": microphone.channels,
                    "samplerates": list(microphone.samplerates),
                    "default_samplerate": microphone.default_samplerate,
                    "host_api": microphone.host_api,
                }
                for microphone in microphones
            ]
        )
        return
    if not microphones:
        click.echo(
            "There is no microphone. Plug one in and look again; on a Raspberry Pi an "
            "I2S microphone needs its overlay in config.txt. To run without one, "
            "set microphone.source to signal, file or folder."
        )
        return
    echo_table(
        ("IDENTITY", "NAME", "CHANNELS", "DEFAULT RATE", "RATES (kHz)"),
        [
            (
                microphone.identity,
                microphone.name,
                microphone.channels,
                f"{microphone.default_samplerate} Hz",
                " ".join(f"{rate / 1000:g}" for rate in microphone.samplerates) or "-",
            )
            for microphone in microphones
        ],
    )
