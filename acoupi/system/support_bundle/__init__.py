"""One file with what a maintainer needs to understand a sensor, and without secrets."""

from __future__ import annotations

from acoupi.system.support_bundle.bundle import SupportBundle, write_support_bundle

__all__ = ["SupportBundle", "write_support_bundle"]
