"""Where log lines go: a rotating file of ours, or stderr, as the journal reads it when that is what stderr is.

Every record is one line without control characters, whatever names it holds; lines of a traceback start with `    | `.
No trouble with the log ever reaches who logs: a line that cannot be written is lost.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
import threading
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from ckpt.encoding import printable
from ckpt.exceptions import OperationError

FILE_BYTES = 10 << 20
FILES = 5
LINE_BYTES = 4096  # what a pipe takes at once
PATIENCE_S = 0.05

_STDERR = 2
_log = logging.getLogger("ckptd")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def to_file(path: Path) -> None:
    """Logs to a file of this user alone: 10 MB, and five older ones beside it. Uncaught errors go there too.

    Raises OperationError when its directory cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(
            f"the log {path} cannot be written: {error.strerror}",
            hint="set CKPTD_STATE_HOME to a directory of your own",
        ) from error
    handler = _PrivateFile(path, maxBytes=FILE_BYTES, backupCount=FILES, delay=True)
    handler.setFormatter(_Lines())
    _install(handler)


def to_stderr() -> None:
    """Logs to stderr; with priorities instead of times when the journal reads it. Uncaught errors go there too."""
    handler = _Stderr()
    handler.setFormatter(_JournalLines() if reads_journal(_STDERR) else _Lines())
    _install(handler)


def reads_journal(descriptor: int) -> bool:
    """Whether the journal is at the other end of a descriptor: JOURNAL_STREAM names its device and inode."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        info = os.fstat(descriptor)
        return (int(device), int(inode)) == (info.st_dev, info.st_ino)
    except (OSError, ValueError):
        return False


class _Lines(logging.Formatter):
    """`2026-05-01T12:00:00.123+02:00 INFO ckptd: text`."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [self.head(record) + printable(_message(record))]
        if record.exc_info:
            lines += self._below(self.formatException(record.exc_info))
        elif record.exc_text:
            lines += self._below(record.exc_text)
        return "\n".join(lines)

    def head(self, record: logging.LogRecord) -> str:
        """What stands before the text."""
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return f"{at} {record.levelname} {record.name}: "

    def _below(self, text: str) -> list[str]:
        return [f"    | {printable(line)}" for line in text.split("\n")]


class _JournalLines(_Lines):
    """`<6>text`; the journal adds time and name."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))

    def head(self, record: logging.LogRecord) -> str:
        """Nothing: the journal knows when and who."""
        return ""


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> io.TextIOWrapper:
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            os.fchmod(fd, 0o600)
        # Unbuffered: what a full disk refuses must not wait for a later line.
        return io.TextIOWrapper(io.FileIO(fd, "ab"), encoding="utf-8", errors="backslashreplace", write_through=True)


class _Stderr(logging.Handler):
    """Writes only what stderr takes at once: a stopped terminal, or a pipe that nobody reads, holds up no one."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = self.format(record).split("\n")
            if self._lost:
                lines[0] += f" ({self._lost} lines before this one were lost)"
            for number, line in enumerate(lines):
                if not select.select([], [_STDERR], [], PATIENCE_S)[1]:
                    self._lost += len(lines) - number
                    return
                os.write(_STDERR, line.encode("utf-8", "backslashreplace")[: LINE_BYTES - 1] + b"\n")
                self._lost = 0
        except (OSError, ValueError):
            self._lost += 1


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  whatever a caller passed, a log line must not end it
        return f"{record.msg!s} (its values cannot be shown: {error})"


def _install(handler: logging.Handler) -> None:
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _log.critical("ended by an error nobody expected", exc_info=(kind, error, trace))
    if not isinstance(logging.getLogger().handlers[0], _Stderr):
        sys.__excepthook__(kind, error, trace)


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    name = arguments.thread.name if arguments.thread else "?"
    _log.error("thread %s was ended by an error", name, exc_info=error)


def _unraisable(arguments: sys.UnraisableHookArgs) -> None:
    _log.error(
        "%s: %r", arguments.err_msg or "an error nobody could catch", arguments.object, exc_info=arguments.exc_value
    )
