"""On a disk that is really full nothing is half written, and work resumes."""

import shutil
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import os, sys
    from pathlib import Path
    from acoupi import data
    from acoupi.audio.guano import Guano
    from acoupi.audio.soundfiles import SoundFormat, WavWriter, read_info
    from acoupi.components.saving import SaveRecordingManager
    from acoupi.components.stores import DatabaseUnavailable, SqliteStore
    from acoupi.tasks import generate_file_management_task

    small, roomy = Path(sys.argv[1]), Path(sys.argv[2])
    deployment = data.Deployment(name="wood")
    store = SqliteStore(small / "acoupi.db")
    store.store_deployment(deployment)

    def record(number):
        recording = data.Recording(
            created_on=data.utc_now(), duration=1, samplerate=48000,
            deployment=deployment, path=roomy / f"{number}.wav",
        )
        guano = Guano.for_recording(recording)
        path = recording.path
        with WavWriter(path, SoundFormat(48000, 1), 48000, guano) as writer:
            writer.write(os.urandom(96000))
            writer.finish()
        return recording

    recordings = [record(number) for number in range(60)]
    acknowledged = []
    for recording in recordings:
        store.store_recording(recording)
        acknowledged.append(recording.id)
    keep = generate_file_management_task(
        store, [SaveRecordingManager(small / "kept")], tmp_path=roomy,
        set_aside_path=small / "aside", quiet=0,
    )

    def run():
        try:
            keep()
        except DatabaseUnavailable as error:
            print("refused:", error)

    for _ in range(3):
        run()
    kept = sorted((small / "kept").iterdir())
    waiting = sorted(roomy.iterdir())
    assert kept and waiting, (len(kept), len(waiting))
    assert all(read_info(path).complete for path in kept), "half written"
    # up to the last block, then on
    ballast = small / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
    except OSError:
        pass
    full = 0
    for number in range(2000):
        output = data.ModelOutput(
            name_model=f"model {number}", recording=recordings[0],
            detections=[data.Detection() for _ in range(50)],
        )
        try:
            store.store_model_output(output)
            acknowledged.append(output.id)
        except DatabaseUnavailable as error:
            assert "full" in str(error)
            full += 1
            if full == 3:
                break
    assert full == 3
    run()
    stored = store.get_recordings()
    assert {r.id for r, _ in stored} == {r.id for r in recordings}
    outputs = [output for _, found in stored for output in found]
    assert [o.id for o in outputs] == acknowledged[len(recordings):]
    assert all(len(o.detections) == 50 for o in outputs), "half written"
    store.check()
    # room again
    ballast.unlink()
    for path in kept:
        path.unlink()
    run()
    run()
    left = sorted(path for path in roomy.iterdir())
    assert len(left) < len(waiting)
    store.check()
    print("kept", len(kept), "waited", len(waiting), "left", len(left))
"""


def test_a_full_disk_costs_nothing_that_was_acknowledged(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    small, roomy = tmp_path / "small", tmp_path / "roomy"
    small.mkdir()
    roomy.mkdir()
    mount = ["unshare", "--mount", "sh", "-c"]
    ready = 'mount -t tmpfs -o size=4m none "$1"'
    trial = subprocess.run(
        [*mount, ready, "sh", small], capture_output=True, text=True, check=False
    )
    if trial.returncode != 0:
        pytest.skip(f"no private mounts here: {trial.stderr.strip()}")
    result = subprocess.run(
        [
            *mount,
            f'{ready} && exec "$3" -c "$4" "$1" "$2"',
            "sh",
            small,
            roomy,
            sys.executable,
            textwrap.dedent(SCRIPT),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    assert "kept" in result.stdout
