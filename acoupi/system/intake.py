"""Messages that nobody understands are dropped, and end no worker.

Celery refuses a message whose body is no JSON, or whose task it does not know. Of one
with another shape than a task's it makes an error that ends the worker; the message,
not acknowledged, then waits for the next one, and ends that, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["drop_what_is_not_understood"]

logger = get_logger(__name__)

_GARBAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the transport raises when it cannot take a message apart."""


def drop_what_is_not_understood(consumer: Any) -> None:
    """Let a consumer drop, with a line in the log, what makes it fail.

    What is no message fails before there is a handler to ask: then the consumer
    connects anew, as if the broker had been away, and goes on with the next.

    Parameters
    ----------
    consumer : celery.worker.consumer.Consumer
        Its handler is made anew at each connection, after the last of its steps.
    """
    make_handler: Callable[..., Callable[[Any], None]]
    make_handler = type(consumer).create_task_handler.__get__(consumer)
    lost_connection = (*consumer.connection_errors, *consumer.channel_errors)

    consumer.connection_errors = (*consumer.connection_errors, *_GARBAGE)

    def make_careful_handler(*args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = make_handler(*args, **kwargs)

        def handle_or_drop(message: Any) -> None:
            try:
                handle(message)
            except lost_connection:
                raise
            # Recording goes on.
            except Exception as error:  # noqa: BLE001 - whatever was put into the queue
                logger.error(  # noqa: TRY400 - where in Celery it failed says nothing
                    "A message in the queue is dropped, it is not a task's: %s: %s",
                    type(error).__name__,
                    str(error)[:200],
                )
                message.reject_log_error(logger, lost_connection)

        return handle_or_drop

    consumer.create_task_handler = make_careful_handler
