from __future__ import annotations

import pytest

from acoupi.audio.devices import (
    Microphone,
    MicrophoneNotFound,
    choose_microphone,
    identify,
    identify_all,
)


def make(identity: str, name: str, index: int = 0) -> Microphone:
    return Microphone(identity, name, index, 1, (), 48_000, "ALSA")


MICROPHONES = [
    make("usb:16d0:06f3-24F31903", "AudioMoth USB: Audio (hw:1,0)", 0),
    make("usb:16d0:06f3-24F3AAAA", "AudioMoth USB: Audio (hw:2,0)", 1),
    make("card:PCH", "HDA Intel PCH: ALC (hw:0,0)", 2),
    make("pulse", "pulse", 3),
]


@pytest.fixture
def sound_class(tmp_path):
    """A copy of how the kernel describes cards: links into the device tree."""
    devices = tmp_path / "devices"
    sound = tmp_path / "class" / "sound"
    sound.mkdir(parents=True)

    def add(card: int, port: str, serial: str | None) -> None:
        usb = devices / "usb1" / port
        card_directory = usb / f"{port}:1.0" / "sound" / f"card{card}"
        card_directory.mkdir(parents=True)
        (usb / "idVendor").write_text("16d0\n")
        (usb / "idProduct").write_text("06f3\n")
        if serial is not None:
            (usb / "serial").write_text(serial + "\n")
        (card_directory / "id").write_text("Audio\n")
        (card_directory / "device").symlink_to(usb / f"{port}:1.0")
        (sound / f"card{card}").symlink_to(card_directory)

    add(1, "1-1.2", "24F31903")
    add(2, "1-1.3", None)
    add(3, "1-1.4", "000000")
    add(4, "2-1", "000000")
    built_in = sound / "card0"
    built_in.mkdir()
    (built_in / "id").write_text("PCH\n")
    return sound


def test_a_usb_microphone_is_known_by_its_serial_number(sound_class):
    name = "AudioMoth USB: Audio (hw:1,0)"
    assert identify(name, sound_class) == "usb:16d0:06f3-24F31903"
    assert identify("X (hw:1,1)", sound_class) == "usb:16d0:06f3-24F31903.1"


def test_without_a_serial_number_it_is_known_by_its_port(sound_class):
    assert identify("X (hw:2,0)", sound_class) == "usb:16d0:06f3@1-1.3"


def test_equal_serial_numbers_are_told_apart_by_their_ports(sound_class):
    names = ["A (hw:3,0)", "A (hw:4,0)", "A (hw:1,0)"]
    assert identify_all(names, sound_class) == [
        "usb:16d0:06f3@1-1.4",
        "usb:16d0:06f3@2-1",
        "usb:16d0:06f3-24F31903",
    ]


def test_other_cards_are_known_by_their_identifier(sound_class):
    assert identify("HDA Intel PCH: ALC (hw:0,0)", sound_class) == "card:PCH"
    assert identify("X (hw:0,2)", sound_class) == "card:PCH.2"


def test_a_card_number_is_never_part_of_an_identity(sound_class):
    assert identify("Gone: Away (hw:7,0)", sound_class) == "Gone: Away"
    assert identify("pulse", sound_class) == "pulse"


def test_hardware_is_told_from_sound_servers():
    assert MICROPHONES[0].is_hardware
    assert not MICROPHONES[3].is_hardware


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("usb:16d0:06f3-24F3AAAA", 1),
        ("HDA Intel PCH: ALC (hw:0,0)", 2),
        ("hda intel", 2),
        ("24f31903", 0),
        ("pulse", 3),
    ],
)
def test_identity_name_or_part_of_it_find_a_microphone(name, index):
    assert choose_microphone(name, MICROPHONES).index == index


def test_an_ambiguous_name_is_refused_with_the_identities():
    with pytest.raises(MicrophoneNotFound, match="more than one") as caught:
        choose_microphone("AudioMoth", MICROPHONES)
    assert "usb:16d0:06f3-24F31903" in str(caught.value)
    assert "usb:16d0:06f3-24F3AAAA" in str(caught.value)
    assert "PCH" not in str(caught.value)


def test_a_misspelt_name_is_answered_with_what_there_is():
    with pytest.raises(MicrophoneNotFound) as caught:
        choose_microphone("pulze", MICROPHONES)
    message = str(caught.value)
    assert "microphone.device_name: 'pulze'" in message
    assert "did you mean 'pulse'?" in message
    assert "card:PCH" in message


def test_a_system_without_microphones_is_told_how_to_run_without():
    with pytest.raises(MicrophoneNotFound, match=r"microphone\.source"):
        choose_microphone("default", [])
