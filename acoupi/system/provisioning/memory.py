"""What the sensor knows of former boots: the last good wishes, what was applied."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from acoupi.system.files import write_durably
from acoupi.system.provisioning.outcome import Outcome
from acoupi.system.provisioning.sections import (
    DeviceSection,
    HotspotSection,
    WifiNetwork,
)
from acoupi.system.provisioning.wishes import Wishes

__all__ = ["Memory"]


@dataclass
class Memory:
    """The content of the file of state; it holds secrets."""

    wishes: Wishes = field(default_factory=Wishes)
    """The last good ones; those of the program are in the home itself."""
    program: str | None = None
    """Digest of what was wanted of the program when it was set up."""
    home: str | None = None
    """Digest of what that setup wrote, to tell when it was changed since."""
    deployment: str | None = None
    """Digest of the deployment that was started last."""
    outcome: Outcome = field(default_factory=Outcome)

    @classmethod
    def read(cls, path: Path) -> Memory:
        """Read the file; one that is absent or damaged is an empty memory."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            wishes = Wishes(
                device=DeviceSection.model_validate(data["device"]),
                networks=[WifiNetwork.model_validate(it) for it in data["networks"]],
                hotspot=HotspotSection.model_validate(data["hotspot"]),
            )
            digests = {name: data[name] for name in ("program", "home", "deployment")}
            return cls(wishes, **digests, outcome=Outcome.from_data(data["outcome"]))
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return cls()

    def write(self, path: Path) -> None:
        """Write the file, durably, for its owner only."""
        data = {
            "device": _plain(self.wishes.device),
            "networks": [_plain(network) for network in self.wishes.networks],
            "hotspot": _plain(self.wishes.hotspot),
            "program": self.program,
            "home": self.home,
            "deployment": self.deployment,
            "outcome": self.outcome.as_data(),
        }
        content = json.dumps(data, indent=2) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_durably(path, content.encode(), 0o600)


def _plain(section: BaseModel) -> dict[str, Any]:
    data = section.model_dump()
    secret = data.get("password")
    return {**data, "password": secret.get_secret_value()} if secret else data
