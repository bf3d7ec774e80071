"""Finding what is wrong with a sensor, and what to do about it.

One module a part of the sensor, each with a function ``probe`` that yields findings;
`examination` runs them all.
"""

from __future__ import annotations

from acoupi.system.doctor.examination import Examination, examine
from acoupi.system.doctor.findings import Finding
from acoupi.system.doctor.sensor import Machine

__all__ = ["Examination", "Finding", "Machine", "examine"]
