"""What a program does in a worker beside its tasks, from its begin to its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from acoupi.system.deployments import announce_deployment
from acoupi.system.troubles import TroubleLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery

    from acoupi.programs import AcoupiProgram
    from acoupi.system.settings import Settings

__all__ = ["ProgramLife"]

logger = logging.getLogger(__name__)


class ProgramLife:
    """The program's own activities in one worker: recording, above all.

    Parameters
    ----------
    program : AcoupiProgram
        The program.
    settings : Settings
        The home.
    worker_name : str
        Name of the worker.
    queues : sequence of str
        What the worker takes tasks from.
    """

    def __init__(
        self,
        program: AcoupiProgram[Any],
        settings: Settings,
        worker_name: str,
        queues: Sequence[str],
    ) -> None:
        self.program = program
        self.queues = list(queues)
        self._settings = settings
        self._worker_name = worker_name
        self._begun = False
        self._ended = False

    @classmethod
    def of(cls, app: Celery, hostname: str, queues: Sequence[str]) -> ProgramLife:
        """Return the one of the app's worker; made when it is first asked for.

        Parameters
        ----------
        app : celery.Celery
            From `acoupi.system.get_celery_app`.
        hostname : str
            Celery's name of the worker: ``NAME@HOST``.
        queues : sequence of str
            What it takes tasks from.
        """
        # Attributes of ours, which Celery does not declare.
        known: Any = app
        life: ProgramLife | None = getattr(known, "acoupi_life", None)
        if life is None:
            name = hostname.partition("@")[0]
            life = cls(known.acoupi_program, known.acoupi_settings, name, queues)
            known.acoupi_life = life
        return life

    def begin(self) -> None:
        """Begin, unless it has begun; logging has to be set up."""
        if self._begun:
            return
        self._begun = True
        self._remember_troubles()
        self._announce_deployment()
        try:
            self.program.worker_started(self.queues)
        # Of whatever kind: the worker ends by it, and the next one has to be told why.
        except BaseException:
            logger.exception("The program's worker_started failed")
            raise

    def end(self) -> None:
        """End what has begun; once."""
        if not self._begun or self._ended:
            return
        self._ended = True
        try:
            self.program.worker_stopping(self.queues)
        # The worker has to end whatever the program's code does.
        except Exception:
            logger.exception("The program's worker_stopping failed")

    def _remember_troubles(self) -> None:
        """Let the status tell what the worker logs as errors."""
        handler = TroubleLog.of_role(
            self._settings.run_dir, f"worker-{self._worker_name}"
        )
        # Celery's loggers of tasks do not hand on to the root's.
        for logged in (logging.getLogger(), logging.getLogger("celery.task")):
            logged.addHandler(handler)

    def _announce_deployment(self) -> None:
        """Tell the program of a deployment that is older than its set-up.

        In the first worker alone, and before it begins: of the templates' workers
        that is the one that records.
        """
        first = self.program.get_worker_config().workers[0]
        if self._worker_name != first.name:
            return
        try:
            if announce_deployment(self._settings, self.program):
                logger.info("The program was told of the deployment under way")
        # A sensor that does not know its place still records; the next start tries
        # again.
        except Exception:
            logger.exception("The program could not be told of the deployment")
