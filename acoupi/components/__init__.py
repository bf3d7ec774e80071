"""What programs are composed of: each component makes one decision or does one action.

Every public component can be imported from here; the module that defines it is
loaded on first use, so that a worker that only records never loads what only a model
or a messenger needs. `acoupi.components.types` holds the contract of each kind.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.components.cleaners import (
        TagKeyCleaner,
        ThresholdDetectionCleaner,
    )
    from acoupi.components.conditions import (
        DawnTimeInterval,
        DuskTimeInterval,
        HasSufficientSpace,
        IsInDutyCycle,
        IsInInterval,
        IsInIntervals,
        IsInSunInterval,
        IsNearSunEvent,
        SunriseTimeInterval,
        SunsetTimeInterval,
    )
    from acoupi.components.message_builders import (
        DetectionThresholdMessageBuilder,
        ModelOutputMessageBuilder,
    )
    from acoupi.components.messengers import (
        HTTPConfig,
        HTTPMessenger,
        MQTTConfig,
        MQTTMessenger,
    )
    from acoupi.components.models import (
        ActivityConfig,
        ActivityDetector,
    )
    from acoupi.components.outbox import (
        SqliteMessageStore,
    )
    from acoupi.components.processing_filters import (
        HasLength,
        IsLoudEnough,
        IsUninterrupted,
    )
    from acoupi.components.recorders import (
        MicrophoneConfig,
        MicrophoneRecorder,
    )
    from acoupi.components.saving import (
        HasTag,
        Retention,
        SaveRecordingManager,
        SavingThreshold,
        SetAsideFolder,
    )
    from acoupi.components.saving_filters import (
        After_DawnDuskTimeInterval,
        Before_DawnDuskTimeInterval,
        FrequencySchedule,
        SaveIfInInterval,
    )
    from acoupi.components.stores import (
        SqliteStore,
    )
    from acoupi.components.summaries import (
        StatisticsDetectionsSummariser,
        ThresholdsDetectionsSummariser,
    )
    from acoupi.components.types import (
        AudioRecorder,
        ContinuousRecorder,
        MessageBuilder,
        MessageStore,
        Messenger,
        Model,
        ModelOutputCleaner,
        ProcessingFilter,
        RecordingCondition,
        RecordingSavingFilter,
        RecordingSavingManager,
        Store,
        Summariser,
    )

__all__ = [
    "ActivityConfig",
    "ActivityDetector",
    "After_DawnDuskTimeInterval",
    "AudioRecorder",
    "Before_DawnDuskTimeInterval",
    "ContinuousRecorder",
    "DawnTimeInterval",
    "DetectionThresholdMessageBuilder",
    "DuskTimeInterval",
    "FrequencySchedule",
    "HTTPConfig",
    "HTTPMessenger",
    "HasLength",
    "HasSufficientSpace",
    "HasTag",
    "IsInDutyCycle",
    "IsInInterval",
    "IsInIntervals",
    "IsInSunInterval",
    "IsLoudEnough",
    "IsNearSunEvent",
    "IsUninterrupted",
    "MQTTConfig",
    "MQTTMessenger",
    "MessageBuilder",
    "MessageStore",
    "Messenger",
    "MicrophoneConfig",
    "MicrophoneRecorder",
    "Model",
    "ModelOutputCleaner",
    "ModelOutputMessageBuilder",
    "ProcessingFilter",
    "RecordingCondition",
    "RecordingSavingFilter",
    "RecordingSavingManager",
    "Retention",
    "SaveIfInInterval",
    "SaveRecordingManager",
    "SavingThreshold",
    "SetAsideFolder",
    "SqliteMessageStore",
    "SqliteStore",
    "StatisticsDetectionsSummariser",
    "Store",
    "Summariser",
    "SunriseTimeInterval",
    "SunsetTimeInterval",
    "TagKeyCleaner",
    "ThresholdDetectionCleaner",
    "ThresholdsDetectionsSummariser",
]

_NAMES: dict[str, tuple[str, ...]] = {
    "cleaners": (
        "TagKeyCleaner",
        "ThresholdDetectionCleaner",
    ),
    "conditions": (
        "DawnTimeInterval",
        "DuskTimeInterval",
        "HasSufficientSpace",
        "IsInDutyCycle",
        "IsInInterval",
        "IsInIntervals",
        "IsInSunInterval",
        "IsNearSunEvent",
        "SunriseTimeInterval",
        "SunsetTimeInterval",
    ),
    "message_builders": (
        "DetectionThresholdMessageBuilder",
        "ModelOutputMessageBuilder",
    ),
    "messengers": (
        "HTTPConfig",
        "HTTPMessenger",
        "MQTTConfig",
        "MQTTMessenger",
    ),
    "models": (
        "ActivityConfig",
        "ActivityDetector",
    ),
    "outbox": ("SqliteMessageStore",),
    "processing_filters": (
        "HasLength",
        "IsLoudEnough",
        "IsUninterrupted",
    ),
    "recorders": (
        "MicrophoneConfig",
        "MicrophoneRecorder",
    ),
    "saving": (
        "HasTag",
        "Retention",
        "SaveRecordingManager",
        "SavingThreshold",
        "SetAsideFolder",
    ),
    "saving_filters": (
        "After_DawnDuskTimeInterval",
        "Before_DawnDuskTimeInterval",
        "FrequencySchedule",
        "SaveIfInInterval",
    ),
    "stores": ("SqliteStore",),
    "summaries": (
        "StatisticsDetectionsSummariser",
        "ThresholdsDetectionsSummariser",
    ),
    "types": (
        "AudioRecorder",
        "ContinuousRecorder",
        "MessageBuilder",
        "MessageStore",
        "Messenger",
        "Model",
        "ModelOutputCleaner",
        "ProcessingFilter",
        "RecordingCondition",
        "RecordingSavingFilter",
        "RecordingSavingManager",
        "Store",
        "Summariser",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
_SUBMODULES = {*_NAMES, "delivery", "health", "schedules"}


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
        value: object = getattr(module, name)
        # Kept, so that the next use does not pass here again.
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
