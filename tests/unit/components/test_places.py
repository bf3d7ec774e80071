"""Places are full paths, and need not be there yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from acoupi.components.places import FullPath, existing_place


class Config(BaseModel):
    place: FullPath | None = None


@pytest.mark.parametrize("text", ["", ".", "recordings", "./recordings", "../x"])
def test_a_path_that_depends_on_the_present_directory_is_refused(text):
    with pytest.raises(ValidationError, match="must be a full path") as refusal:
        Config(place=text)
    assert text in {"", "."} or f"as {Path.cwd()}/" in str(refusal.value)


def test_full_paths_are_taken_and_the_users_directory_is_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/sensor")
    assert Config(place="/mnt/disk").place == Path("/mnt/disk")
    assert Config(place="~/recordings").place == Path("/home/sensor/recordings")
    assert Config().place is None


def test_a_path_of_a_user_who_is_not_there_is_refused():
    with pytest.raises(ValidationError, match="must be a full path"):
        Config(place="~nobody-of-this-name/recordings")


def test_the_schema_says_that_it_is_a_path():
    shown = Config.model_json_schema()["properties"]["place"]
    assert {"format": "path", "type": "string"} in shown["anyOf"]


def test_of_a_place_that_is_not_there_the_nearest_above_it_counts(tmp_path):
    assert existing_place(tmp_path) == tmp_path
    assert existing_place(tmp_path / "a" / "b") == tmp_path
    assert existing_place(Path("/not/there")) == Path("/")
