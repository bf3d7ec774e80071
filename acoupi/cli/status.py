"""``acoupi status`` and ``acoupi check``: what the sensor does, whether it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from acoupi.cli.output import clock_face, echo_json, json_option, mark

if TYPE_CHECKING:
    from acoupi.cli.output import ClockFace
    from acoupi.system import Settings
    from acoupi.system.checks import Check

__all__ = ["check", "status"]


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show what the sensor is doing: recording, losses, backlog, disk, services."""
    from acoupi.system import Settings
    from acoupi.system import status as describe

    found = describe(Settings())
    if as_json:
        echo_json(found)
        return
    for label, text in _lines(found):
        click.echo(f"{label:<12}{text}")
    for problem in found["problems"]:
        click.echo(f"{click.style('Problem:', fg='red')} {problem}")


@click.command()
@click.option(
    "--run",
    "seconds",
    is_flag=False,
    flag_value=40.0,
    type=click.FloatRange(min=1),
    metavar="[SECONDS]",
    help="Then run a sensor of its own with this one's microphone, for 40 seconds at "
    "most, and say which of its steps work.",
)
@json_option
@click.pass_context
def check(context: click.Context, seconds: float | None, as_json: bool) -> None:
    """Check that the configured sensor can work, part by part.

    Exit code 0 when all parts work, 1 when one does not.
    """
    from acoupi.system import Settings
    from acoupi.system import check as examine
    from acoupi.system.configuration import read_program_name

    settings = Settings()
    program = read_program_name(settings)
    found = examine(settings)
    if seconds is not None:
        found += _run(settings, found, seconds, told=not as_json)
    failed = any(part.state == "failed" for part in found)
    if as_json:
        echo_json(
            {
                "program": program,
                "ok": not failed,
                "checks": [
                    {"name": part.name, "state": part.state, "message": part.message}
                    for part in found
                ],
            }
        )
    else:
        click.echo(f"{program} in {settings.home}")
        for part in found:
            outcome = (
                "--  " if part.state == "skipped" else mark(good=part.state == "ok")
            )
            click.echo(f"{outcome}  {part.name:<16}{_indented(part.message)}".rstrip())
    context.exit(1 if failed else 0)


def _run(
    settings: Settings, found: list[Check], seconds: float, *, told: bool
) -> list[Check]:
    """Run all processes of a sensor for a while; one check for each step."""
    from acoupi.programs.custom.test import STEPS
    from acoupi.system.checks import Check
    from acoupi.system.configuration import read_raw_config
    from acoupi.system.liveness import observe_processes
    from acoupi.system.selftest import run_selftest

    if any(part.state == "failed" for part in found):
        return [Check("run", "skipped", "correct what failed first")]
    if observe_processes(settings).running:
        return [
            Check("run", "skipped", "the sensor runs and has the microphone: stop it")
        ]
    if told:
        click.echo(f"Running a sensor for up to {seconds:g} s ...", err=True)
    microphone = read_raw_config(settings.program_file).get("microphone")
    known = microphone if isinstance(microphone, dict) else None
    return [
        Check(f"run: {finding.step}", "ok", STEPS[finding.step])
        if finding.works
        else Check(f"run: {finding.step}", "failed", finding.detail)
        for finding in run_selftest(known, seconds=seconds)
    ]


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 22)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    show = clock_face(found.get("timezone"))
    running = "running" if found["running"] else "not running"
    keeper = f", kept by {found['kept_by']}" if found["kept_by"] else ""
    manager = f", managed by {found['managed_by']}" if found["managed_by"] else ""
    lines = [
        ("Sensor", f"{found['program']} in {found['home']}{manager}"),
        ("State", f"{running}{keeper}"),
    ]
    for process in found["processes"]:
        pid = f" (process {process['pid']})" if process["pid"] else ""
        again = f", {process['restarts']} restarts" if process["restarts"] else ""
        lines.append(("", f"{process['name']}: {process['state']}{pid}{again}"))
    lines += _recording(found, show)
    lines += _store(found["store"], show)
    for destination, counts in (found["messages"] or {}).items():
        text = ", ".join(f"{count} {state}" for state, count in counts.items())
        lines.append(("Messages", f"to {destination}: {text}"))
    disk = found["disk"]
    if disk is not None:
        left = f", for {disk['days_left']:g} days" if disk["days_left"] else ""
        lines.append(
            ("Disk", f"{disk['free_bytes'] / 1e9:.1f} GB free at {disk['path']}{left}")
        )
    synchronised = found["clock"]["synchronised"]
    state = "set" if synchronised else "not known to be set"
    lines.append(("Clock", f"{show(None)}, {state}"))
    deployment = found["deployment"]
    if deployment is not None:
        text = f"{deployment['name']} since {show(deployment['started_on'])}"
        if deployment["ended_on"]:
            text += f", ended {show(deployment['ended_on'])}"
        lines.append(("Deployment", text))
    return lines


def _recording(found: dict[str, Any], show: ClockFace) -> list[tuple[str, str]]:
    from acoupi.system.health import is_recording

    recorder = found["recorder"]
    if recorder is None or not recorder["current"]:
        return [("Recording", "no")]
    if is_recording(found):
        since = recorder.get("since")
        now = f"yes, since {show(since)}" if since else "yes"
    elif recorder.get("waiting_on_purpose"):
        now = "waiting, as its schedule and conditions say"
    elif recorder.get("capturing"):
        now = "waiting"
    else:
        now = "no, the microphone is away"
    heard = [
        recorder.get("device") or "no device",
        f"{recorder.get('samplerate')} Hz",
    ]
    if recorder.get("level_dbfs") is not None:
        heard.append(f"level {recorder['level_dbfs']:.0f} dBFS")
    if recorder.get("peak_dbfs") is not None:
        heard.append(f"peak {recorder['peak_dbfs']:.0f} dBFS")
    if recorder.get("reopen_count"):
        heard.append(f"opened again {recorder['reopen_count']} times")
    return [
        ("Recording", f"{now}, {recorder.get('samples_lost', 0)} samples lost"),
        ("Microphone", ", ".join(heard)),
    ]


def _store(store: dict[str, Any] | None, show: ClockFace) -> list[tuple[str, str]]:
    if store is None:
        return [("Stored", "nothing yet")]
    states = ", ".join(
        f"{store[state]} {state.replace('_', ' ')}"
        for state in ("kept", "deleted", "set_aside", "undecided")
    )
    what = f"{store['recordings']} recordings ({states}), {store['detections']}"
    lines = [("Stored", f"{what} detections")]
    if store["last_recording_on"]:
        lines.append(("", f"last recording {show(store['last_recording_on'])}"))
    if store["last_detection_on"]:
        lines.append(("", f"last detection {show(store['last_detection_on'])}"))
    losses = ", ".join(f"{count} {kind}" for kind, count in store["losses"].items())
    if losses:
        lines.append(("Losses", losses))
    return lines
