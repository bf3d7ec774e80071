"""The store of a sensor's results in one sqlite file."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from acoupi import data
from acoupi.components.stores.database import Database
from acoupi.components.stores.ledger import RecordingLedger
from acoupi.components.stores.rows import (
    DEPLOYMENT_COLUMNS,
    Selection,
    read_deployment,
    to_text,
    write_deployment,
    write_output,
    write_recording,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

__all__ = ["SqliteStore"]


class SqliteStore(RecordingLedger):
    """Keeps deployments, recordings and what models found in one sqlite file.

    A call that returned has been written to the disk. Nothing is opened before the
    first use. The file may be shared with a `SqliteMessageStore` and with other
    processes.

    Parameters
    ----------
    path
        The database file; it and its folder are created when missing.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.database = Database.at(path)
        self._deployment: data.Deployment | None = None
        """The deployment that was current when last asked."""

    def check(self) -> None:
        """Raise an error that names the remedy when the store cannot be used."""
        self.database.check()
        with self.database.transaction():
            pass

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Group what is written inside into one atomic, durable commit. Nests.

        Also what a `SqliteMessageStore` in the same file writes.
        """
        with self.database.transaction():
            yield

    def get_current_deployment(self) -> data.Deployment:
        """Return the running deployment; start an unnamed one when there is none.

        One that was known before and is gone, because a damaged file was set aside
        meanwhile, goes on in the new file.
        """
        deployment = self._read_current_deployment()
        if deployment is None or (
            self._deployment is not None and deployment.id != self._deployment.id
        ):
            deployment = self._settle_deployment()
        self._deployment = deployment
        return deployment

    def knows_deployment(self, deployment: data.Deployment) -> bool:
        """Tell whether a deployment is in the store."""
        with self.database.reading() as connection:
            query = "SELECT EXISTS (SELECT 1 FROM deployment WHERE id = ?)"
            (known,) = connection.execute(query, (str(deployment.id),)).fetchone()
        return bool(known)

    def _read_current_deployment(self) -> data.Deployment | None:
        with self.database.reading() as connection:
            row = connection.execute(
                f"SELECT {DEPLOYMENT_COLUMNS} FROM deployment WHERE ended_on IS NULL "  # noqa: S608  a constant
                "ORDER BY adopted, number DESC LIMIT 1"
            ).fetchone()
        return read_deployment(row) if row is not None else None

    def _settle_deployment(self) -> data.Deployment:
        """Go on with the deployment known before when it is gone, or find another."""
        with self.database.transaction():
            former = self._deployment
            if former is not None and not self.knows_deployment(former):
                self.store_deployment(former)
            deployment = self._read_current_deployment()
            if deployment is None:
                deployment = data.Deployment(name="unnamed")
                self.store_deployment(deployment)
        return deployment

    def get_deployments(self) -> list[data.Deployment]:
        """Return all deployments, in the order of storing."""
        with self.database.reading() as connection:
            rows = connection.execute(
                f"SELECT {DEPLOYMENT_COLUMNS} FROM deployment ORDER BY number"  # noqa: S608  a constant
            ).fetchall()
        return [read_deployment(row) for row in rows]

    def store_deployment(self, deployment: data.Deployment) -> None:
        """Store a new deployment, which is the current one until it ends."""
        with self.database.transaction() as connection:
            write_deployment(connection, deployment, adopted=False)
            connection.execute(
                "UPDATE deployment SET adopted = 0 WHERE id = ?", (str(deployment.id),)
            )

    def update_deployment(self, deployment: data.Deployment) -> None:
        """Store a changed deployment."""
        ended = deployment.ended_on
        with self.database.transaction() as connection:
            write_deployment(connection, deployment, adopted=False)
            connection.execute(
                "UPDATE deployment SET name = ?, latitude = ?, longitude = ?, "
                "started_on = ?, ended_on = ? WHERE id = ?",
                (
                    deployment.name,
                    deployment.latitude,
                    deployment.longitude,
                    to_text(deployment.started_on),
                    to_text(ended) if ended else None,
                    str(deployment.id),
                ),
            )

    def store_recording(self, recording: data.Recording) -> None:
        """Store a recording; storing it again changes nothing."""
        with self.database.transaction() as connection:
            write_recording(connection, recording)

    def store_model_output(self, model_output: data.ModelOutput) -> bool:
        """Store an output and its recording.

        Returns False, and changes nothing, when that recording already has an output
        of that model.
        """
        with self.database.transaction() as connection:
            write_recording(connection, model_output.recording)
            if not write_output(connection, model_output):
                return False
            connection.execute(
                "DELETE FROM processing WHERE name_model = ? AND recording = "
                "(SELECT number FROM recording WHERE id = ?)",
                (model_output.name_model, str(model_output.recording.id)),
            )
            return True

    def get_recordings(
        self, ids: Sequence[UUID] | None = None
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return recordings with the outputs stored for them, in the order of storing.

        Parameters
        ----------
        ids
            The recordings wanted; unknown ones are left out. None for all: for large
            stores, use `get_recordings_between`.
        """
        if ids is None:
            return self._read(Selection.everything())
        return self._read(Selection.among("id", ids))

    def get_recordings_by_path(
        self, paths: Sequence[Path]
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return the recordings whose files have these paths, with their outputs."""
        return self._read(Selection.among("path", paths))

    def get_recordings_between(
        self,
        after: datetime.datetime | None = None,
        before: datetime.datetime | None = None,
        limit: int = 1000,
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return at most ``limit`` recordings made in [after, before), oldest first."""
        condition, values = _made_in(after, before)
        numbers = (
            f"number IN (SELECT number FROM recording WHERE {condition} "  # noqa: S608  conditions are ours
            "ORDER BY created_on LIMIT ?)"
        )
        found = self._read(Selection(numbers, (*values, limit)))
        return sorted(found, key=lambda pair: pair[0].created_on)

    def update_recording_path(
        self, recording: data.Recording, path: Path | None
    ) -> data.Recording:
        """Store where a recording's file is now; None when it was deleted."""
        return self.settle_recording(
            recording, path, "kept" if path is not None else "deleted"
        )

    def get_predicted_tags(
        self,
        after: datetime.datetime | None = None,
        before: datetime.datetime | None = None,
        score_gt: float | None = None,
        model_names: Sequence[str] | None = None,
    ) -> list[data.PredictedTag]:
        """Return the tags of detections in recordings made in [after, before).

        Parameters
        ----------
        after, before
            When the recordings began; None for no bound.
        score_gt
            Only tags whose confidence score is greater than this.
        model_names
            Only what these models found.
        """
        condition, values = _made_in(after, before)
        query = (
            "SELECT tag.key, tag.value, predicted_tag.confidence_score "  # noqa: S608  conditions are ours
            "FROM recording "
            "INNER JOIN model_output ON model_output.recording = recording.number "
            "INNER JOIN predicted_tag ON predicted_tag.output = model_output.number "
            "INNER JOIN tag ON tag.number = predicted_tag.tag "
            f"WHERE {condition}"
        )
        parameters: list[object] = list(values)
        if score_gt is not None:
            query += " AND predicted_tag.confidence_score > ?"
            parameters.append(score_gt)
        if model_names is not None:
            marks = ", ".join("?" * len(model_names))
            query += f" AND model_output.name_model IN ({marks})"
            parameters.extend(model_names)
        query += " ORDER BY recording.created_on, predicted_tag.output, position"
        with self.database.reading() as connection:
            rows = connection.execute(query, parameters).fetchall()
        return [
            data.PredictedTag(data.Tag(key, value), score) for key, value, score in rows
        ]


def _made_in(
    after: datetime.datetime | None, before: datetime.datetime | None
) -> tuple[str, tuple[str, ...]]:
    conditions, values = ["TRUE"], []
    if after is not None:
        conditions.append("recording.created_on >= ?")
        values.append(to_text(after))
    if before is not None:
        conditions.append("recording.created_on < ?")
        values.append(to_text(before))
    return " AND ".join(conditions), cast("tuple[str, ...]", tuple(values))
