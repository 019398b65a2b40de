"""Structured logs: one JSON line for each record of infercast's own loggers. Never a payload.

    {"time":"2026-11-25T20:04:34.120Z","level":"warning","logger":"infercast.upstream","site":"fra","message":"..."}

An exception is written as its type and where it was raised. Its text is left out: texts of exceptions nobody foresaw may
quote what they choked on, and that may be a caller's data.
"""

import logging
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

import orjson

LOGGER = "infercast"
FRAMES_MAX = 20


class JsonLines(logging.Formatter):
    """Writes records as JSON lines. `place` is the site, or what part of the system speaks."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "site": self._place,
            "message": record.getMessage(),
            "process": record.process,
        }
        call = getattr(record, "call", None)
        if call is not None:
            line["call"] = call
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["stack"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-FRAMES_MAX:]
            ]
        return orjson.dumps(line, default=str).decode()


class LogFile(WatchedFileHandler):
    """A log's file, appended to, and opened anew when it has been moved away (logrotate).

    Where it cannot be opened or written (the disk is full, its folder is gone, no descriptor is left) its lines go to
    stderr. Python's own handler raises out of `log.error(...)` when it cannot open its file anew, or write what an earlier
    line has left in its buffer: that has ended those who only wanted to say what was wrong.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Raises nothing that the file is to blame for."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the file. What it has not taken by now is in stderr, or lost."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name for it
        """Write to stderr what the file did not take."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        with suppress(OSError, ValueError):  # stderr is closed, or on the same disk
            sys.stderr.write(f"{self.format(record)}\n")


def log_to(place: str, path: Path | None = None) -> None:
    """Write this process's infercast loggers to a file as JSON lines, or to stderr where none is given.

    Raises OSError where the file's folder cannot be made; later nobody who logs hears of what becomes of the file.
    """
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = LogFile(path, delay=True)
    handler.setFormatter(JsonLines(place))
    logger = logging.getLogger(LOGGER)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
