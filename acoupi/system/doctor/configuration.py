"""The program and its configuration, tried in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from acoupi.system.doctor.findings import Finding, error
from acoupi.system.doctor.sensor import Sensor, read_json

if TYPE_CHECKING:
    from acoupi.system.doctor.processes import UnitTexts

__all__ = ["probe", "try_program"]

PATIENCE = 30.0
"""Seconds that a program may take to be imported and asked; small boards that record
need several."""


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the program and its configuration."""
    if sensor.program is None or not sensor.configured:
        return
    yield from try_program(sensor)[0]


_tried = threading.Lock()


def try_program(sensor: Sensor) -> tuple[list[Finding], UnitTexts]:
    """Try the program once, whoever asks.

    Returns
    -------
    findings, units
        What is wrong, and the unit files that belong to the configuration, by name,
        for ``system`` and for ``user``; empty when that could not be found out.
    """
    with _tried:
        outcome = sensor.__dict__.get("_trial")
        if outcome is None:
            outcome = sensor.__dict__["_trial"] = _run(sensor)
        tried: tuple[list[Finding], UnitTexts] = outcome
        return tried


def _run(sensor: Sensor) -> tuple[list[Finding], UnitTexts]:
    settings = sensor.settings
    latitude, longitude = _place(sensor)
    command = [sys.executable, "-B", "-m", f"{__package__}.trial"]
    command += [str(settings.home), latitude, longitude]
    with tempfile.TemporaryFile() as complaints:
        try:
            child = _start(sensor, command, complaints)
        except OSError as problem:
            return [_forbidden(sensor, problem)], {}
        try:
            output, _ = child.communicate(timeout=PATIENCE)
            ended: int | None = child.returncode
        except subprocess.TimeoutExpired:
            # With what it started: a program may have.
            os.killpg(child.pid, 9)
            output, _ = child.communicate()
            ended = None
        complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 500))
        said = complaints.read().decode(errors="replace").strip()
    lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    findings = [Finding(**line["finding"]) for line in lines if "finding" in line]
    units: UnitTexts = next((line["units"] for line in lines if "units" in line), {})
    if ended != 0:
        steps = [line["step"] for line in lines if "step" in line]
        findings.append(_interrupted(steps, ended, said))
    return findings, units


def _start(
    sensor: Sensor, command: list[str], complaints: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        cwd="/",
        env={**os.environ, "ACOUPI_HOME": str(sensor.settings.home)},
        start_new_session=True,
        **_as_owner(sensor),
    )


def _forbidden(sensor: Sensor, problem: OSError) -> Finding:
    from acoupi.system.configuration import owner_name

    user = owner_name(sensor.settings.home)
    return error(
        "interpreter-forbidden",
        "The sensor's user may not run the Python that acoupi is installed in.",
        f"{sys.executable} as {user}: {problem.strerror}",
        f"install acoupi where {user} may read it, as below /opt; or give the home "
        "to the user that acoupi is installed for (chown -R)",
    )


def _interrupted(steps: list[str], ended: int | None, said: str) -> Finding:
    step = steps[-1] if steps else "starting Python"
    how = (
        f"it did not end within {PATIENCE:g} s"
        if ended is None
        else f"it ended with signal {-ended}"
        if ended < 0
        else f"it ended with code {ended}"
    )
    last = said.splitlines()[-1] if said else ""
    return error(
        "program-hangs" if ended is None else "program-dies",
        "The program cannot be tried: the sensor's processes meet the same.",
        f"{step}: {how}" + (f" ({last})" if last else ""),
        "mend the program, or choose another one with `acoupi setup`; "
        "`python -X faulthandler -c 'import MODULE'` shows where it stays",
    )


def _place(sensor: Sensor) -> tuple[str, str]:
    deployment = read_json(sensor.settings.deployment_file)
    if not isinstance(deployment, dict) or deployment.get("ended_on"):
        return "", ""
    place = deployment.get("latitude"), deployment.get("longitude")
    if None in place:
        return "", ""
    return str(place[0]), str(place[1])


def _as_owner(sensor: Sensor) -> dict[str, Any]:
    """Return what makes a child run as the sensor's user, when root asks."""
    if os.geteuid() != 0:
        return {}
    owner = sensor.settings.home.stat()
    if owner.st_uid == 0:
        return {}
    import pwd

    try:
        name = pwd.getpwuid(owner.st_uid).pw_name
        groups = os.getgrouplist(name, owner.st_gid)
    except KeyError:
        groups = [owner.st_gid]
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": groups}
