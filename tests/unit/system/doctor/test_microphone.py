"""Each fault of the microphone is named, and no device is opened to find it."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from acoupi.audio.wallclock import read_boot_id
from acoupi.system import liveness as liveness_module
from acoupi.system.doctor import microphone as module
from acoupi.system.listening import ListeningError
from acoupi.system.troubles import TroubleLog

CARDS = """ 0 [PCH            ]: HDA-Intel - HDA Intel PCH
                      HDA Intel PCH at 0xf7d10000 irq 30
 2 [UltraMic384    ]: USB-Audio - UltraMic 384K
                      Dodotronic UltraMic 384K at usb-0000:00:14.0-1, full speed
"""

IDENTITY = "usb:0869:0389-UM123"


def plug_in(fake, *, owner: int | None = None) -> None:
    """Let the kernel tell of an UltraMic as card 2."""
    fake.write("proc/asound/cards", CARDS)
    fake.write("proc/asound/card2/pcm0c/info", "card: 2\ndevice: 0\nname: USB Audio\n")
    fake.write(
        "proc/asound/card2/pcm0c/sub0/status",
        "closed\n" if owner is None else f"state: RUNNING\nowner_pid   : {owner}\n",
    )
    fake.write(
        "proc/asound/card2/stream0",
        "Capture:\n  Status: Stop\n  Interface 1\n    Rates: 192000, 384000\n",
    )
    usb = fake.root / "sys/devices/usb1/1-1"
    for name, text in {
        "idVendor": "0869",
        "idProduct": "0389",
        "serial": "UM123",
    }.items():
        fake.write(f"sys/devices/usb1/1-1/{name}", f"{text}\n")
    (usb / "1-1:1.0/sound/card2").mkdir(parents=True, exist_ok=True)
    fake.write("sys/devices/usb1/1-1/1-1:1.0/sound/card2/id", "UltraMic384\n")
    link = usb / "1-1:1.0/sound/card2/device"
    if not link.is_symlink():
        link.symlink_to(usb / "1-1:1.0")
    (fake.root / "sys/class/sound").mkdir(parents=True, exist_ok=True)
    card = fake.root / "sys/class/sound/card2"
    if not card.is_symlink():
        card.symlink_to(usb / "1-1:1.0/sound/card2")
    fake.write("dev/snd/pcmC2D0c", "").chmod(0o660)


@pytest.fixture
def ultramic(sensor, monkeypatch):
    """A sensor of an UltraMic that is plugged in; PortAudio is never asked."""
    sensor.change("microphone", "source", to="microphone")
    sensor.change("microphone", "device_name", to=IDENTITY)
    sensor.change("microphone", "samplerate", to=384_000)
    plug_in(sensor.fake)
    monkeypatch.setattr(
        "acoupi.system.listening.look_for_microphones",
        lambda **_: pytest.fail("PortAudio opens devices"),
    )
    return sensor


def test_a_microphone_that_is_there_is_well(ultramic):
    assert ultramic.find() == {}


@pytest.mark.parametrize("name", ["UltraMic", "ultramic 384k", "default", IDENTITY])
def test_a_microphone_may_be_named_by_a_part(ultramic, name, monkeypatch):
    ultramic.change("microphone", "device_name", to=name)
    if name == "default":
        monkeypatch.setattr(module, "_probe_devices", lambda _: iter(()))
    assert ultramic.find() == {}


def test_a_microphone_that_is_not_plugged_in(ultramic):
    ultramic.change("microphone", "device_name", to="usb:1234:5678-X")
    found = ultramic.find()
    assert set(found) == {"microphone-missing"}
    assert IDENTITY in found["microphone-missing"].evidence
    assert "device_name" in found["microphone-missing"].remedy


def test_a_machine_without_any_card(ultramic):
    ultramic.fake.write("proc/asound/cards", "--- no soundcards ---\n")
    found = ultramic.find()
    assert set(found) == {"microphone-missing"}
    assert "no microphone at all" in found["microphone-missing"].evidence


@pytest.mark.parametrize(
    ("name", "seen"),
    [("hw:1,0", "not there now"), ("UltraMic: USB Audio (hw:2,0)", "UltraMic 384K")],
)
def test_a_microphone_named_by_a_number_that_changes(ultramic, name, seen):
    ultramic.change("microphone", "device_name", to=name)
    found = ultramic.find()
    assert set(found) == {"microphone-by-number"}
    assert seen in found["microphone-by-number"].evidence
    assert IDENTITY in found["microphone-by-number"].remedy


def test_a_microphone_that_another_program_has(ultramic):
    plug_in(ultramic.fake, owner=os.getpid())
    found = ultramic.find()
    assert set(found) == {"microphone-busy"}
    assert str(os.getpid()) in found["microphone-busy"].evidence


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_microphone_that_the_sensors_user_may_not_use(ultramic):
    node = ultramic.fake.root / "dev/snd/pcmC2D0c"
    os.chown(node, 0, 29)
    home = ultramic.settings.home
    for path in [home, *home.rglob("*")]:
        os.chown(path, 12345, 12345)
    found = ultramic.find()
    assert set(found) == {"microphone-forbidden"}
    assert "usermod -aG audio" in found["microphone-forbidden"].remedy
    node.chmod(0o666)
    assert ultramic.find() == {}


def test_a_samplerate_that_the_microphone_does_not_take(ultramic):
    ultramic.change("microphone", "samplerate", to=250_000)
    found = ultramic.find()
    assert set(found) == {"samplerate-not-taken"}
    assert "192000, 384000" in found["samplerate-not-taken"].evidence


def test_a_sound_file_that_is_gone(sensor, tmp_path):
    sensor.change("microphone", "source", to="file")
    sensor.change("microphone", "source_path", to=str(tmp_path / "gone.wav"))
    assert set(sensor.find()) == {"sound-file-missing"}


@pytest.fixture
def without_cards(sensor, monkeypatch):
    """A sensor whose microphone comes from a sound server, if from anywhere."""
    sensor.change("microphone", "source", to="microphone")

    def answer(outcome):
        def look_for_microphones(**_):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(
            "acoupi.system.listening.look_for_microphones", look_for_microphones
        )
        return sensor

    return answer


def test_a_machine_on_which_neither_kernel_nor_server_has_a_microphone(without_cards):
    assert set(without_cards([]).find()) == {"microphone-none"}


def test_a_sound_system_that_crashes(without_cards):
    found = without_cards(ListeningError("crashed (signal 6)")).find()
    assert set(found) == {"sound-system-broken"}
    assert "signal 6" in found["sound-system-broken"].evidence


@pytest.fixture
def running(sensor, monkeypatch):
    """Let the sensor run, and its recorder report."""
    process = liveness_module.ProcessState("worker-recording", "running", os.getpid())
    alive = liveness_module.Liveness("scripts", (process,))
    monkeypatch.setattr(liveness_module, "observe_processes", lambda _: alive)

    # Longer ago than the process of the tests was started.
    for file in (sensor.settings.program_file, sensor.settings.celery_file):
        os.utime(file, (0, 0))

    def report(**more):
        text = {
            "recording": True,
            "capturing": True,
            "problems": [],
            "device": IDENTITY,
            "boot_id": read_boot_id(),
            "updated_monotonic": time.monotonic(),
            **more,
        }
        (sensor.settings.run_dir / "recorder.json").write_text(json.dumps(text))
        found = sensor.find()
        # Of the embedded broker, which does not run here.
        found.pop("broker-socket-missing", None)
        return found

    return report


def test_a_microphone_that_is_heard_is_well(running):
    assert running() == {}


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        ("silence: no sound at all arrives; is it muted?", "microphone-silent"),
        ("channel 2: stuck: every sample has the same value", "microphone-stuck"),
        ("clipping: 2.0% of the samples are at full scale", "microphone-clips"),
        ("offset: the mean is +9% of full scale", "microphone-offset"),
        ("something new", "microphone-problem"),
    ],
)
def test_what_the_recorder_hears_amiss_is_named(running, problem, code):
    found = running(problems=[problem])
    assert set(found) == {code}
    assert problem in found[code].evidence


def test_the_problems_that_the_level_meter_names_are_known():
    from acoupi.audio.wav import SoundFormat
    from acoupi.components.recorders.quality import LevelMeter

    for block, code in {
        bytes(4096): "microphone-silent",
        (1000).to_bytes(2, "little") * 2048: "microphone-stuck",
        (32767).to_bytes(2, "little") * 2048: "microphone-",
    }.items():
        meter = LevelMeter(SoundFormat(48_000, 1))
        meter.add(memoryview(block))
        (problem, *_) = meter.problems()
        codes = [c for c, _ in module._QUALITY.values() if c.startswith(code)]
        kind = problem.partition(":")[0]
        assert module._QUALITY[kind][0] in codes


def test_a_microphone_that_went_away(running):
    found = running(
        recording=False, capturing=False, problems=["'USB Mic' is not there"]
    )
    assert set(found) == {"microphone-lost"}
    assert "'USB Mic' is not there" in found["microphone-lost"].evidence


def test_what_a_process_reports_as_an_error(running, sensor):
    log = TroubleLog.of_role(sensor.settings.run_dir, "worker-detection")
    log.note("the model failed", ValueError("no weights"))
    found = running()
    assert set(found) == {"process-in-trouble"}
    assert "no weights" in found["process-in-trouble"].evidence
    assert "worker-detection" in found["process-in-trouble"].remedy


def test_recordings_that_nobody_takes_from_the_recorder(running):
    found = running(recordings_waiting=45)
    assert set(found) == {"recordings-not-taken"}
    assert "45" in found["recordings-not-taken"].evidence


def test_a_recorder_that_waits_for_its_hours_is_well(running):
    assert running(recording=False, capturing=False, waiting_on_purpose=True) == {}


@pytest.mark.parametrize(
    "more", [{"updated_monotonic": time.monotonic() - 900}, {"boot_id": "another"}]
)
def test_a_recorder_that_does_not_report(running, more):
    assert set(running(**more)) == {"recorder-silent"}


def test_looking_for_microphones_outlives_a_crash_and_a_hang(monkeypatch):
    from acoupi.system import listening

    run = subprocess.run

    def instead(code):
        def start(command, **options):
            return run([command[0], "-c", code], **options)

        monkeypatch.setattr(listening.subprocess, "run", start)

    instead("import os, sys; print('No default', file=sys.stderr); os.abort()")
    with pytest.raises(ListeningError, match=r"signal 6.*"):
        listening.look_for_microphones()
    monkeypatch.setattr(listening, "PATIENCE", 0.5)
    instead("import time; time.sleep(60)")
    with pytest.raises(ListeningError, match="sound server"):
        listening.look_for_microphones(probe=False)
