"""The fixtures published for authors of programs serve these tests, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["acoupi.testing"]


@pytest.fixture(autouse=True, scope="session")
def home_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the home of who runs the tests as it is: a sensor may live there."""
    caches = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", caches)
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        environment.delenv("ACOUPI_HOME", raising=False)
        yield
