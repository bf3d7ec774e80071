"""Everything a program needs can be imported by name, and loads nothing else."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from acoupi import components, tasks

# What published programs import, and one abstract type for every kind of component.
PROMISED = [
    "StatisticsDetectionsSummariser",
    "ThresholdsDetectionsSummariser",
    "SaveRecordingManager",
    "DetectionThresholdMessageBuilder",
    "SaveIfInInterval",
    "FrequencySchedule",
    "Before_DawnDuskTimeInterval",
    "After_DawnDuskTimeInterval",
    "SavingThreshold",
    "SqliteStore",
    "IsInInterval",
    "IsInIntervals",
    "HTTPConfig",
    "MQTTConfig",
    "MicrophoneConfig",
    "DawnTimeInterval",
    "HasSufficientSpace",
    "HTTPMessenger",
    "MQTTMessenger",
    "SqliteMessageStore",
    "Model",
    "Summariser",
    "RecordingSavingManager",
    "MessageBuilder",
    "RecordingSavingFilter",
    "RecordingCondition",
    "AudioRecorder",
    "ProcessingFilter",
    "ModelOutputCleaner",
    "Messenger",
    "Store",
    "MessageStore",
]

HEAVY = {
    "numpy",
    "celery",
    "httpx",
    "astral",
    "paho",
    "sounddevice",
    "soundfile",
    "pytz",
}

PACKAGES = [components, tasks]


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that an interpreter has loaded after some code."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_component_is_exported(name):
    assert name in components.__all__


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_every_exported_name_resolves_to_what_its_module_defines(package):
    for name, module in package._MODULE_OF.items():
        full = f"{package.__name__}.{module}"
        if importlib.util.find_spec(full) is None:
            pytest.fail(f"{full}, which defines {name}, is missing")
        assert getattr(package, name) is getattr(importlib.import_module(full), name)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_type_checkers_are_told_the_same_names(package):
    source = ast.parse(Path(package.__file__).read_text())
    declared = {
        alias.name: node.module.removeprefix(f"{package.__name__}.")
        for block in source.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert declared == package._MODULE_OF
    assert sorted(declared) == sorted(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_unknown_names_are_attribute_errors(package):
    with pytest.raises(AttributeError, match="Nightingale"):
        _ = package.Nightingale


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_modules_are_reachable_as_attributes(package):
    for module in package._MODULE_OF.values():
        assert getattr(package, module).__name__ == f"{package.__name__}.{module}"


@pytest.mark.parametrize(
    "code",
    [
        "import acoupi.components",
        "import acoupi.tasks",
        "from acoupi.components import types",
        "from acoupi.components import IsInInterval, DawnTimeInterval",
        "from acoupi.components import FrequencySchedule, SaveIfInInterval",
        "from acoupi.components import DetectionThresholdMessageBuilder",
        "from acoupi.components import StatisticsDetectionsSummariser",
        "from acoupi.tasks import generate_summariser_task",
    ],
)
def test_importing_a_name_loads_nothing_heavy(code):
    assert loaded_by(code) & HEAVY == set()
