"""What stands for systemd where there is none."""

from __future__ import annotations

import os

import pytest

from acoupi.system import systemctl


@pytest.fixture
def install_systemctl(tmp_path, monkeypatch):
    """Return a function that puts a program in the place of systemctl."""

    def install(text):
        tools = tmp_path / "tools"
        tools.mkdir()
        for name, content in (("systemctl", text), ("loginctl", "#!/bin/sh\n")):
            (tools / name).write_text(content)
            (tools / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        monkeypatch.setattr(systemctl, "RUNNING_SYSTEMD", tmp_path)
        monkeypatch.setattr(systemctl, "SYSTEM_UNITS", tmp_path / "etc")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        return tools

    return install
