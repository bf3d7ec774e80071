"""Faults of the host that need a kernel of one's own: sound cards, memory, clocks."""

from __future__ import annotations

import copy

import clocks
import exactness
import faulty_disk
import memory
import microphones
import pytest
import sound
from installation import CONFIG, DEFAULT, config_of, install_sensor
from virtual_machine import MICROPHONE, PLAY, VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

UNPLUGGINGS = 12
MANY_UNPLUGGINGS = 100

DEVICE = "/dev/vdb"
HOME = "/var/lib/acoupi"
UNIT = "faulty-disk.service"

COUNT = (
    'bash -c \'while cat "$0"; do :; done | aplay --quiet --file-type=raw'
    " --format=S16_LE --channels=1 --rate={} --device=hw:Loopback,0"
    " --buffer-time=1000000'"
)
"""Plays a file of samples for ever, as it is; what feeds the microphone is not what
is tested."""

COUNT_CYCLE = 1 << 20
"""Samples after which counting begins again at the same number."""


@pytest.fixture
def virtual_machine(boot_files, watched, record_property):
    """A virtual machine that runs, without a sensor."""
    found = watched(VirtualMachine("sensor", boot_files))
    try:
        found.start()
        yield found
    finally:
        record_property("boots", VirtualMachine.boots)
        record_property("boots tried again", VirtualMachine.retries)
        found.discard()


@pytest.fixture
def sensor_on_a_faulty_disk(boot_files, watched, tmp_path, chirps):
    """A sensor whose home is on a disk that can be slow, or refuse."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(300 << 20)
    found = watched(
        VirtualMachine(
            "sensor",
            boot_files,
            extra=[
                *(
                    "-drive",
                    f"if=none,id=faulty,file={disk},format=raw,cache=writeback",
                ),
                *("-device", "virtio-blk-pci,drive=faulty"),
            ],
        )
    )
    try:
        found.start()
        unit = tmp_path / UNIT
        unit.write_text(faulty_disk.FAULTY_DISK.format(device=DEVICE, place=HOME))
        found.copy_from_host(str(unit), f"/etc/systemd/system/{UNIT}")
        faulty_disk.put_home_on_faulty_disk(found, UNIT, DEVICE)
        config = copy.deepcopy(CONFIG)
        config["microphone"]["device_name"] = MICROPHONE
        config["retention"] = {"min_free_space": 0}
        yield install_sensor(found, chirps, config=config, play=PLAY)
    finally:
        found.discard()


@pytest.fixture
def vm_sensor(virtual_machine, chirps):
    """A sensor with a sound card of the kernel's that hears chirps."""
    config = copy.deepcopy(CONFIG)
    config["microphone"]["device_name"] = MICROPHONE
    return install_sensor(virtual_machine, chirps, config=config, play=PLAY)


def test_a_sensor_outlives_its_sound_card_its_memory_and_its_clock(
    vm_sensor, record_property
):
    found = clocks.corrects_times(vm_sensor)
    record_property("times that were corrected", found)
    taken = microphones.survives_unplugging(vm_sensor, UNPLUGGINGS)
    record_property("seconds until heard again", taken)
    killed = memory.survives_a_model_without_memory(vm_sensor)
    record_property("times that the model was killed", killed)


@pytest.mark.slow
def test_a_sound_card_comes_back_each_time_of_a_hundred(vm_sensor, record_property):
    taken = microphones.survives_unplugging(vm_sensor, MANY_UNPLUGGINGS)
    record_property("seconds until heard again", taken)


def test_a_disk_that_is_slow_or_read_only_or_fails_costs_nothing(
    sensor_on_a_faulty_disk, chirps, record_property
):
    sensor = sensor_on_a_faulty_disk
    found = faulty_disk.records_on_a_slow_disk(sensor, DEVICE)
    record_property("seconds that writing took", found)
    faulty_disk.records_while_the_kernel_refuses_to_write(sensor, HOME)
    faulty_disk.records_until_the_disk_is_replaced(sensor, DEVICE, chirps)


@pytest.mark.parametrize("samplerate", [48_000, 192_000])
def test_no_sample_is_lost_while_both_processors_are_busy(
    virtual_machine, tmp_path, samplerate, record_property
):
    config = config_of(DEFAULT)
    config["microphone"] = {"device_name": MICROPHONE, "samplerate": samplerate}
    counter = tmp_path / "counter"
    counter.write_bytes(sound.counting(COUNT_CYCLE))
    sensor = install_sensor(
        virtual_machine,
        str(counter),
        program=DEFAULT,
        config=config,
        play=COUNT.format(samplerate),
    )
    found = exactness.records_every_sample(sensor, 10, processes=2)
    record_property("samples", found)
    exactness.is_whole(found, 10 * samplerate)
