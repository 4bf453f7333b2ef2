"""Structured logs: one line per event on standard error, as text or as JSON."""

import logging
import sys
import time
from typing import Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_ACCEPT_QUIET_SECONDS = 60.0


class _AcceptsQuietly(logging.Filter):
    """Keeps Trio from saying ten times a second that there are too many open files to accept a connection."""

    def __init__(self) -> None:
        super().__init__()
        self._again = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "trio.serve_listeners":
            return True
        now = time.monotonic()
        if now < self._again:
            return False
        self._again = now + _ACCEPT_QUIET_SECONDS
        record.exc_info = None
        return True


def set_up_logging(log_format: Literal["text", "json"], level: str) -> None:
    """Set up structlog for the process, and route the standard library's warnings and errors through it.

    Tracebacks come without local variables, which hold candidates' data and secrets.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        last: list[structlog.typing.Processor] = [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The default shows local variables, and with them people's data.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_AcceptsQuietly())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
