"""The task that says that the sensor is alive, and how it is."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

from acoupi import data
from acoupi.components.health import collect_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from acoupi.components import types

__all__ = ["build_heartbeat", "generate_heartbeat_task"]


def build_heartbeat(
    metrics: Sequence[data.Metric], deployment: data.Deployment | None = None
) -> data.Message:
    """Put metrics into a message.

    The content is JSON::

        {
          "heartbeat": "acoupi",
          "version": "0.1.0",
          "created_on": "2026-06-01T05:00:00+00:00",
          "deployment": {"id": "...", "name": "...", "latitude": 51.5, ...},
          "metrics": {"recordings": {"value": 12, "unit": null}, ...}
        }
    """
    import acoupi

    now = data.utc_now()
    place = None
    if deployment is not None:
        place = {
            "id": str(deployment.id),
            "name": deployment.name,
            "latitude": deployment.latitude,
            "longitude": deployment.longitude,
        }
    content: dict[str, Any] = {
        "heartbeat": "acoupi",
        "version": acoupi.__version__,
        "created_on": now.isoformat(),
        "deployment": place,
        "metrics": {
            metric.name: {"value": _finite(metric.value), "unit": metric.unit}
            for metric in metrics
        },
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return data.Message(content=text, created_on=now)


def _finite(value: float | str | bool | None) -> float | str | bool | None:
    # JSON knows no infinity and no "not a number".
    return None if isinstance(value, float) and not math.isfinite(value) else value


def generate_heartbeat_task(
    message_store: types.MessageStore,
    store: types.Store | None = None,
    status_file: Path | None = None,
    paths: Iterable[Path] = (),
    required_models: Sequence[str] = (),
    logger: logging.Logger | None = None,
    collect: Callable[[], Sequence[data.Metric]] | None = None,
) -> Callable[[], None]:
    """Build the task that queues a heartbeat for every destination.

    Parameters
    ----------
    message_store
        Where the heartbeat waits for delivery.
    store
        Where recordings and detections are counted, and the deployment is known.
    status_file
        What the recorder says of itself.
    paths
        Whose free space is reported.
    required_models
        Models that every recording is to have passed.
    logger
        Where to report what could not be told.
    collect
        Returns the figures, in the place of those of ``store``, ``message_store``,
        ``status_file`` and ``paths``.

    Returns
    -------
    Callable[[], None]
        The task.
    """
    log = logger or logging.getLogger(__name__)
    places = list(paths)

    def collect_all() -> Sequence[data.Metric]:
        return collect_metrics(
            store=store,
            message_store=message_store,
            status_file=status_file,
            paths=places,
            required_models=required_models,
        )

    gather = collect or collect_all

    def heartbeat_task() -> None:
        """Queue a message with the state of the sensor."""
        deployment = None
        if store is not None:
            try:
                deployment = store.get_current_deployment()
            except Exception:
                # A sensor whose store is broken must say so all the more.
                log.exception("the heartbeat goes out without the deployment")
        metrics = gather()
        message_store.store_message(build_heartbeat(metrics, deployment))

    return heartbeat_task
