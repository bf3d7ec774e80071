"""The machine side of a sensor: its home, its configuration, its services.

Everything is loaded on first use, so that asking for one name loads one module.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.system.apps import get_celery_app
    from acoupi.system.catalogue import render
    from acoupi.system.configuration import load_config
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.deployments import (
        end_deployment,
        get_current_deployment,
        start_deployment,
    )
    from acoupi.system.files import get_temp_files
    from acoupi.system.health import check, status
    from acoupi.system.parsing import parse_config_from_args
    from acoupi.system.programs import (
        list_programs,
        load_program,
        load_program_class,
    )
    from acoupi.system.services import restart_program, start_program, stop_program
    from acoupi.system.settings import Settings
    from acoupi.system.setup import setup_program
    from acoupi.system.validation import validate_config

__all__ = [
    "CeleryConfig",
    "Settings",
    "check",
    "end_deployment",
    "get_celery_app",
    "get_current_deployment",
    "get_temp_files",
    "list_programs",
    "load_config",
    "load_program",
    "load_program_class",
    "parse_config_from_args",
    "render",
    "restart_program",
    "setup_program",
    "start_deployment",
    "start_program",
    "status",
    "stop_program",
    "validate_config",
]

_HOMES = {
    "CeleryConfig": "constants",
    "Settings": "settings",
    "check": "health",
    "end_deployment": "deployments",
    "get_celery_app": "apps",
    "get_current_deployment": "deployments",
    "get_temp_files": "files",
    "list_programs": "programs",
    "load_config": "configuration",
    "load_program": "programs",
    "load_program_class": "programs",
    "parse_config_from_args": "parsing",
    "render": "catalogue",
    "restart_program": "services",
    "setup_program": "setup",
    "start_deployment": "deployments",
    "start_program": "services",
    "status": "health",
    "stop_program": "services",
    "validate_config": "validation",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
