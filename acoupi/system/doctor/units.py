"""The services of systemd: installed, current, enabled, and not failing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping

from acoupi.system.doctor.configuration import try_program
from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Sensor, read_text
from acoupi.system.liveness import MANY_RESTARTS, is_failing
from acoupi.system.systemctl import ServiceManager, home_in_unit
from acoupi.system.units import TARGET

__all__ = ["probe"]

PATIENCE = 5.0
"""Seconds that systemctl may take to answer."""

_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result,StatusText,"
    "ExecMainStatus,WorkingDirectory"
)

_REASONS = {
    "oom-kill": "it was killed because it took too much memory",
    "watchdog": "it gave no sign of life and was replaced",
    "timeout": "it did not start or stop in time",
    "core-dump": "it crashed",
    "signal": "it was killed",
    "exit-code": "it ended by itself",
}


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the services, where there is a systemd and the sensor has some."""
    if sensor.program is None:
        return
    for manager in _managers():
        if not manager.available:
            continue
        try:
            yield from _probe_manager(sensor, manager)
        except (OSError, subprocess.SubprocessError) as problem:
            yield warning(
                "systemd-silent",
                "The service manager does not answer.",
                str(problem),
                "`systemctl status` by hand; as another user than the sensor's, use "
                "sudo",
            )


def _probe_manager(sensor: Sensor, manager: ServiceManager) -> Iterator[Finding]:
    home = str(sensor.settings.home)
    installed = sorted(
        unit.name
        for unit in manager.unit_dir.glob("acoupi-*.service")
        if home_in_unit(unit) == home
    )
    ours = bool(installed) or home_in_unit(manager.unit_dir / TARGET) == home
    names = installed if ours else _declared(home, manager)
    if not (names or ours):
        return
    shown = _show(manager, [TARGET, *names])
    yield from _probe_target(shown.get(TARGET, {}), manager, ours=ours)
    for name in names:
        yield from _probe_service(name, shown.get(name, {}), manager)
    if ours:
        yield from _probe_texts(sensor, manager, installed)


def _managers() -> list[ServiceManager]:
    own = ServiceManager()
    return [own] if own.system else [own, ServiceManager(system=True)]


def _declared(home: str, manager: ServiceManager) -> list[str]:
    """Return the services of a home that somebody else wrote, as NixOS does."""
    try:
        said = _call(manager, "show", "--value", "--property=ConsistsOf", TARGET)
        shown = _show(manager, said.split()) if said.strip() else {}
    except (OSError, subprocess.SubprocessError):
        # Mostly no session of the user: then none of its services run either.
        return []
    return sorted(name for name in shown if shown[name].get("WorkingDirectory") == home)


def _show(manager: ServiceManager, names: list[str]) -> dict[str, dict[str, str]]:
    found = {}
    text = _call(manager, "show", f"--property={_PROPERTIES}", *names)
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[values.get("Id", "")] = values
    return found


def _call(manager: ServiceManager, *arguments: str) -> str:
    command = ["systemctl", *([] if manager.system else ["--user"]), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout


def _probe_target(
    values: Mapping[str, str], manager: ServiceManager, *, ours: bool
) -> Iterator[Finding]:
    user = "" if manager.system else " --user"
    state = values.get("UnitFileState", "")
    if state in {"masked", "masked-runtime"} or values.get("LoadState") == "masked":
        yield error(
            "services-masked",
            "The sensor's services are masked: nothing can start them.",
            f"{TARGET} is masked",
            f"systemctl{user} unmask {TARGET} && acoupi start",
        )
    # Those that somebody else wrote are linked to where they are.
    elif ours and state in {"disabled", "linked"}:
        yield error(
            "not-at-boot",
            "The sensor will not start when the machine does.",
            f"{TARGET} is {state}",
            "acoupi start",
        )


def _probe_service(
    name: str, values: Mapping[str, str], manager: ServiceManager
) -> Iterator[Finding]:
    user = "" if manager.system else " --user"
    log = f"journalctl{user} -u {name} -n 50"
    result = values.get("Result", "success")
    reason = _REASONS.get(result, result)
    restarts = int(values.get("NRestarts") or 0)
    if is_failing(values):
        again = f", started again {restarts} times" if restarts else ""
        yield error(
            "service-fails",
            "A service does not stay up.",
            f"{name}: {reason} (code {values.get('ExecMainStatus', '?')}){again}",
            f"`{log}` says why",
        )
    elif values.get("LoadState") == "masked":
        yield error(
            "service-masked",
            "A service is masked: nothing can start it.",
            f"{name} is masked",
            f"systemctl{user} unmask {name} && acoupi start",
        )
    elif values.get("ActiveState") == "inactive":
        yield error(
            "service-stopped",
            "A service is stopped.",
            f"{name} is inactive",
            f"systemctl{user} start {name}",
        )
    elif values.get("StatusText", "").startswith("not working"):
        yield error(
            "worker-hangs",
            "A worker does nothing.",
            f"{name} says: {values['StatusText']}",
            f"it is restarted by itself within minutes; if it comes again, `{log}`",
        )
    elif restarts >= MANY_RESTARTS:
        yield warning(
            "service-restarts",
            "A service was restarted many times.",
            f"{name}: {restarts} times",
            f"`{log}` says why",
        )


def _probe_texts(
    sensor: Sensor, manager: ServiceManager, installed: list[str]
) -> Iterator[Finding]:
    _, texts = try_program(sensor)
    wanted = texts.get("system" if manager.system else "user", {})
    if not wanted:
        return
    missing = sorted(set(wanted) - {*installed, TARGET})
    if missing:
        yield error(
            "services-missing",
            "Services of the program are not installed.",
            ", ".join(missing),
            "acoupi restart",
        )
    superfluous = sorted(set(installed) - set(wanted))
    changed = sorted(
        name
        for name in installed
        if name in wanted
        and _lines(read_text(manager.unit_dir / name) or "") != _lines(wanted[name])
    )
    if superfluous or changed:
        yield warning(
            "services-outdated",
            "Services are not those of the present configuration.",
            ", ".join([*superfluous, *changed]),
            "acoupi restart. Changes of your own belong into a drop-in: "
            f"systemctl{'' if manager.system else ' --user'} edit {TARGET}",
        )


def _lines(text: str) -> list[str]:
    # That one depends on who renders: what is on the Python path.
    return [line for line in text.splitlines() if not line.startswith("ProtectHome=")]
