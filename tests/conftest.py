"""The fixtures published for authors of programs serve these tests, too."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acoupi.programs.templates.places import temporary_audio_path

pytest_plugins = ["acoupi.testing"]

# What tests of several folders share is found by its name.
HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)


@pytest.fixture(autouse=True, scope="session")
def home_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the home of who runs the tests as it is: a sensor may live there."""
    caches = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", caches)
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        environment.delenv("ACOUPI_HOME", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def memory_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave no directories in memory for the homes that tests have set up."""
    yield
    for app in tmp_path_factory.getbasetemp().rglob("app.py"):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("ACOUPI_HOME", str(app.parent))
            audio = temporary_audio_path()
        # Empty ones alone: what is in others is what a test left by mistake.
        with contextlib.suppress(OSError):
            audio.rmdir()
            audio.parent.rmdir()
