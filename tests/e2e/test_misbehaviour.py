"""Programs and models that do everything wrong, beside a recorder that goes on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import machine
import pytest
import reckoning
from installation import CONFIG, install_sensor
from misbehaving import FILLER
from sensor import eventually

pytestmark = pytest.mark.timeout(900)

PROGRAM = Path(__file__).with_name("misbehaving.py")
MODULES = "/opt/acoupi/lib/python3.11/site-packages"
WORKER = "acoupi-worker-detection.service"
RECORDER = "acoupi-worker-recording.service"

# Seconds in place of minutes; the watchdog of 60 s is tested elsewhere.
SOONER = "[Service]\\nWatchdogSec=4\\nTimeoutAbortSec=2\\nTimeoutStopSec=6\\n"

SMALL = "120M"

LITTLE = 300_000_000
"""Bytes of memory, of which a model that leaks soon has none left."""


def slowly(*cases):
    """Mark what `make e2e` leaves out, being much like the others."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else [case]), marks=pytest.mark.slow
        )
        for case in cases
    ]


@pytest.fixture
def running(share, boot, system, chirps):
    """A sensor that runs the program, and whose disk is small; tests share it."""
    config = {
        **CONFIG,
        # On this disk the default would delete everything.
        "retention": {"min_free_space": 10},
    }

    @contextlib.contextmanager
    def make():
        with boot("misbehaving", system) as booted:
            booted.copy_from_host(str(PROGRAM), f"{MODULES}/misbehaving.py")
            booted.succeed(
                "mkdir --parents /var/lib/acoupi",
                f"mount -t tmpfs -o size={SMALL} tmpfs /var/lib/acoupi",
                f"mkdir --parents /run/systemd/system/{WORKER}.d",
                f"printf '{SOONER}' >/run/systemd/system/{WORKER}.d/sooner.conf",
            )
            yield install_sensor(booted, chirps, program="misbehaving", config=config)

    return share("misbehaving", make)


@pytest.fixture
def sensor(running):
    """The sensor, well and detecting; the recorder must not notice this test."""
    detects(running)
    recorder = running.show(RECORDER, "MainPID")
    began = running.query("SELECT coalesce(max(number), 0) AS n FROM recording")[0]["n"]
    yield running
    with contextlib.suppress(machine.MachineError):
        running.machine.succeed("rm --force /run/fault")
        running.machine.succeed(f"rm --force {running.home}/data/{FILLER}")
    assert running.show(RECORDER, "MainPID") == recorder
    goes_on_recording(running)
    rows = running.query(reckoning.RECORDINGS)
    recent = [row for row in rows if row["number"] >= began]
    assert reckoning.find_gaps(recent, []) == []
    assert running.status()["recorder"]["samples_lost"] == 0
    # What waited in memory for its decision waits there still, or was decided on.
    assert running.count("recording", "state = 'missing'") == 0


def do(sensor, place, fault):
    sensor.machine.succeed(f"echo {place} {fault} >/run/fault")


def stop_doing(sensor):
    sensor.machine.succeed("rm /run/fault")


def goes_on_recording(sensor):
    last = sensor.query("SELECT coalesce(max(number), 0) AS n FROM recording")[0]["n"]
    eventually("recordings", lambda: sensor.count("recording", f"number > {last} + 1"))
    assert sensor.is_recording()


def detects(sensor):
    last = sensor.query("SELECT coalesce(max(number), 0) AS n FROM recording")[0]["n"]
    eventually(
        "a detection",
        lambda: sensor.query(
            "SELECT number FROM model_output WHERE recording > "
            f"{last} AND number IN (SELECT output FROM detection) LIMIT 1"
        ),
        timeout=90,
    )


def complains(sensor, word):
    """Wait until the status names what is wrong."""
    return eventually(
        f"{word!r} in the status",
        lambda: [text for text in sensor.status()["problems"] if word in text],
        timeout=90,
    )


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("run", "exit"),
        *slowly(("run", "raise"), ("load", "raise"), ("load", "exit")),
    ],
)
def test_a_model_that_fails_is_named_and_costs_no_sound(sensor, place, fault):
    do(sensor, place, fault)
    sensor.machine.succeed(f"systemctl restart {WORKER}")
    complains(sensor, "broken" if fault == "raise" else "SystemExit: 7")
    goes_on_recording(sensor)
    stop_doing(sensor)
    detects(sensor)


@pytest.mark.parametrize("fault", ["crash", *slowly("vanish")])
def test_a_model_that_ends_its_process_is_named_and_costs_no_sound(sensor, fault):
    do(sensor, "run", fault)
    complains(sensor, "worker-detection")
    goes_on_recording(sensor)
    stop_doing(sensor)
    detects(sensor)


@pytest.mark.parametrize("fault", ["spin", *slowly("hang")])
def test_a_model_that_hangs_is_replaced_and_costs_no_sound(sensor, fault):
    restarts = int(sensor.show(WORKER, "NRestarts"))
    do(sensor, "run", fault)
    eventually("restarted", lambda: int(sensor.show(WORKER, "NRestarts")) > restarts)
    complains(sensor, "worker-detection")
    goes_on_recording(sensor)
    stop_doing(sensor)
    detects(sensor)


@pytest.mark.slow
def test_processes_that_a_model_leaves_end_with_its_worker(sensor):
    do(sensor, "run", "fork")

    def count():
        return len(sensor.machine.processes_of(WORKER)[WORKER])

    eventually("children", lambda: count() > 40)
    stop_doing(sensor)
    goes_on_recording(sensor)
    sensor.machine.succeed(f"systemctl restart {WORKER}")
    assert count() < 3


@pytest.mark.slow
def test_a_model_that_leaves_no_descriptors_is_named(sensor):
    do(sensor, "run", "open")
    complains(sensor, "Too many open files")
    goes_on_recording(sensor)
    stop_doing(sensor)
    sensor.machine.succeed(f"systemctl restart {WORKER}")
    detects(sensor)


def test_a_model_that_fills_the_disk_is_named_and_costs_no_sound(sensor):
    do(sensor, "run", "fill")
    complains(sensor, "free at")
    stop_doing(sensor)
    sensor.machine.succeed(f"rm {sensor.home}/data/{FILLER}")
    goes_on_recording(sensor)
    detects(sensor)
    assert sensor.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@contextlib.contextmanager
def little_memory(sensor):
    """Limit the memory of the worker that has the model; see `LITTLE`."""
    groups = Path("/sys/fs/cgroup/memory")
    if not groups.is_dir():
        # Of the second kind, which the machine's own systemd divides.
        limit = f"systemctl set-property --runtime {WORKER}"
        sensor.machine.succeed(f"{limit} MemoryMax={LITTLE} MemorySwapMax=0")
        yield
        sensor.machine.succeed(f"{limit} MemoryMax=infinity")
        return
    # Of the first kind, which a machine in namespaces has no part in.
    group = groups / "acoupi-test-little"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(LITTLE))
        for process in sensor.machine.processes_of(WORKER)[WORKER]:
            (group / "cgroup.procs").write_text(str(process))
        yield
    finally:
        for process in (group / "cgroup.procs").read_text().split():
            (groups / "cgroup.procs").write_text(process)
        group.rmdir()


def test_a_model_that_leaks_memory_is_ended_and_named_and_costs_no_sound(sensor):
    restarts = int(sensor.show(WORKER, "NRestarts"))
    with little_memory(sensor):
        do(sensor, "run", "leak")
        eventually("killed", lambda: int(sensor.show(WORKER, "NRestarts")) > restarts)
        stop_doing(sensor)
    log = sensor.machine.succeed(
        f"journalctl --boot --no-pager --output=cat --unit={WORKER} --lines=100"
    )
    assert "status=9/KILL" in log or "oom-kill" in log
    complains(sensor, "worker-detection")
    goes_on_recording(sensor)
    detects(sensor)


@pytest.mark.parametrize("fault", ["raise", *slowly("exit", "vanish", "hang")])
def test_a_worker_that_cannot_start_costs_no_sound(sensor, fault):
    do(sensor, "start", fault)
    sensor.machine.execute(f"systemctl restart --no-block {WORKER}")
    complains(sensor, "worker-detection")
    goes_on_recording(sensor)
    stop_doing(sensor)
    sensor.machine.succeed(f"systemctl restart {WORKER}")
    detects(sensor)


@pytest.mark.parametrize("fault", ["hang", *slowly("raise", "exit", "vanish", "spin")])
def test_a_worker_that_does_not_stop_as_it_should_is_ended(sensor, fault):
    do(sensor, "stop", fault)
    sensor.machine.succeed(f"systemctl restart {WORKER}", timeout=30)
    goes_on_recording(sensor)
    stop_doing(sensor)
    detects(sensor)


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("import", "exit"),
        ("setup", "raise"),
        *slowly(("import", "raise"), ("import", "vanish"), ("import", "crash")),
        *slowly(("setup", "exit"), ("setup", "vanish"), ("setup", "crash")),
    ],
)
def test_a_broken_program_is_refused_and_the_former_records_on(sensor, place, fault):
    do(sensor, place, fault)
    code, said = sensor.machine.execute(
        sensor.as_owner(
            *("env", f"ACOUPI_HOME={sensor.home}", "acoupi", "setup", "--no-prompt"),
            *("--program", "misbehaving", "--config", "/run/settings.json"),
        )
        + " 2>&1"
    )
    assert code != 0
    assert "Traceback" not in said
    # Who ends the process without a word is not named; the shell tells that it ended.
    if place == "setup" or fault in {"raise", "exit"}:
        assert "misbehaving" in said
    stop_doing(sensor)
    detects(sensor)


@pytest.mark.parametrize("fault", ["raise", *slowly("exit", "vanish", "crash")])
def test_a_program_that_breaks_later_is_named_and_comes_back_when_mended(sensor, fault):
    do(sensor, "setup", fault)
    sensor.machine.execute(f"systemctl restart --no-block {WORKER}")
    complains(sensor, "broken" if fault == "raise" else "worker-detection")
    goes_on_recording(sensor)
    stop_doing(sensor)
    # By itself: systemd tries again every few seconds.
    detects(sensor)
