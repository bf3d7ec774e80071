"""The fixtures published for authors of programs serve these tests, too."""

from __future__ import annotations

pytest_plugins = ["acoupi.testing"]
