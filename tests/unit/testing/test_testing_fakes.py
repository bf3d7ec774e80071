from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
import wave

import pytest

from acoupi import data, testing
from acoupi.components import types


def test_every_published_name_is_there():
    assert not [name for name in testing.__all__ if not hasattr(testing, name)]


def test_the_fixtures_are_found_as_a_plugin(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["acoupi.testing"]\n')
    (tmp_path / "test_it.py").write_text(
        "def test_it(http_sink, tmp_path):\n    assert http_sink.port\n"
    )

    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )


def test_a_made_recording_has_a_readable_file(tmp_path):
    path = tmp_path / "a.wav"

    recording = testing.make_recording(
        path, duration=0.5, samplerate=8000, audio_channels=2
    )

    assert recording.path == path
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 2)
        assert file.getnframes() == 4000


def test_fakes_keep_what_they_got(tmp_path):
    recorder = testing.FakeRecorder(tmp_path / "audio")
    first = recorder.record(testing.make_deployment())
    second = recorder.record(testing.make_deployment())
    assert first.path != second.path
    assert recorder.recordings == [first, second]

    model = testing.FakeModel(tags=[("species", "Myotis", 0.5)])
    output = model.run(first)
    assert output.name_model == model.name == "fake"
    assert output.detections[0].tags[0].tag == data.Tag("species", "Myotis")
    with pytest.raises(ValueError, match="broken"):
        testing.FakeModel(error=ValueError("broken")).run(first)

    store = testing.FakeMessageStore()
    message = data.Message(content="a")
    assert store.store_message(message)
    assert not store.store_message(message)
    messenger = testing.FakeMessenger(respond=lambda _: data.ResponseStatus.ERROR)
    store.store_response(messenger.send_message(message))
    assert store.get_unsent_messages() == [message]
    assert messenger.delivered == []


def test_fakes_are_components():
    assert issubclass(testing.FakeRecorder, types.AudioRecorder)
    assert issubclass(testing.FakeModel, types.Model)
    assert issubclass(testing.FakeMessenger, types.Messenger)
    assert issubclass(testing.FakeMessageStore, types.MessageStore)


def test_waiting_ends_with_the_condition_or_says_what_was_awaited():
    testing.wait_until(lambda: True)
    with pytest.raises(TimeoutError, match="rain did not come"):
        testing.wait_until(lambda: False, timeout=0.05, what="rain")


def test_the_http_sink_keeps_requests_and_answers_as_told():
    with testing.HTTPSink() as sink:
        with urllib.request.urlopen(sink.url, data=b"hello", timeout=5) as answer:
            assert answer.read() == b"ok"
        sink.status = 418
        with pytest.raises(urllib.error.HTTPError, match="418") as caught:
            urllib.request.urlopen(sink.url, data=b"tea", timeout=5)
        caught.value.close()

    assert [request.body for request in sink.received] == [b"hello", b"tea"]
    assert [request.body for request in sink.accepted] == [b"hello"]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(sink.url, data=b"late", timeout=5)
