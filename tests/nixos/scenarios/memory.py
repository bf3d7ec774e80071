"""Memory that runs out."""

from __future__ import annotations

import continuity
from sensor import Sensor, eventually

MODEL = "acoupi-worker-detection.service"
RECORDER = "acoupi-worker-recording.service"


def survives_a_model_without_memory(sensor: Sensor, limit: str = "24M") -> int:
    """A model that the kernel kills for its memory costs no sound.

    Parameters
    ----------
    sensor : Sensor
        Its model is a service of its own.
    limit : str
        Less than the model needs.

    Returns
    -------
    int
        How often the model was killed.
    """
    machine = sensor.machine
    begun = continuity.now(sensor)
    recorder = sensor.show(RECORDER, "MainPID")
    restarts = int(sensor.show(MODEL, "NRestarts"))
    machine.succeed(
        f"systemctl set-property --runtime {MODEL} MemoryMax={limit} MemorySwapMax=0"
    )
    machine.succeed(f"systemctl kill --signal=KILL {MODEL}")
    eventually(
        "killed again",
        lambda: int(sensor.show(MODEL, "NRestarts")) >= restarts + 3,
        180,
    )
    log = machine.succeed(
        f"journalctl --boot --no-pager --output=cat --unit={MODEL} --lines=200"
    )
    assert "oom-kill" in log or "OOM" in log, log
    # It waits between its attempts.
    assert float(sensor.show(MODEL, "RestartUSec").rstrip("s")) >= 1
    assert sensor.is_recording()
    told = sensor.status()
    states = {it["name"]: it for it in told["processes"]}
    assert states["worker-detection"]["restarts"] >= 3, told["processes"]
    machine.succeed(f"systemctl set-property --runtime {MODEL} MemoryMax=infinity")
    continuity.detects_again(sensor, 180)
    assert sensor.show(RECORDER, "MainPID") == recorder
    assert continuity.breaks(sensor, begun) == []
    assert sensor.status()["recorder"]["samples_lost"] == 0
    return int(sensor.show(MODEL, "NRestarts")) - restarts
