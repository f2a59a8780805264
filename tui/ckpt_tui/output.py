"""One sink for everything a command says: data on stdout, narration on stderr.

A command computes its answer as plain data once; the sink prints it as JSON, as bare ids or paths (`--quiet`), or
calls the function that writes it for a person.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

from ckpt.encoding import printable
from ckpt.exceptions import CkptError, UsageError

Mode = Literal["human", "json", "quiet"]

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}
PROGRESS_INTERVAL_S = 0.1
WAITING_FROM_S = 0.5
PROGRESS_FROM = 32 << 20  # bytes; less is copied before a bar could be read


def colours_wanted(stream: TextIO) -> bool:
    """Whether a stream gets colours: NO_COLOR, then CLICOLOR_FORCE, then CLICOLOR and TERM, then a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    if os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


class Paint:
    """Makes text from outside safe to print, and colours it where colours are wanted."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, text: object, style: str = "") -> str:
        """The escaped text, in a style: one or more of bold, dim, red, green, yellow, blue, cyan."""
        safe = printable(str(text))
        if not style or not self.enabled or not safe:
            return safe
        codes = ";".join(_CODES[name] for name in style.split())
        return f"\x1b[{codes}m{safe}\x1b[0m"


class Output:
    """What a command prints to, in one of three modes."""

    def __init__(self, mode: Mode = "human", *, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.mode: Mode = mode
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr
        self.paint = Paint(mode == "human" and colours_wanted(self.stdout))

    @property
    def width(self) -> int | None:
        """Columns that a table may take; None when the data goes to a file or a pipe and nothing may be cut."""
        if not self.stdout.isatty():
            return None
        return shutil.get_terminal_size().columns

    def data(self, value: Any, *, ids: Iterable[str] = (), human: Callable[[], Iterable[str]]) -> None:
        """Prints an answer: `value` as one JSON document, `ids` one a line, or the lines that `human` gives.

        Lines of `human` must be escaped already; `ids` are printed byte for byte, so that they can be piped.
        """
        if self.mode == "json":
            self.json(value)
        elif self.mode == "quiet":
            for text in ids:
                self._raw(text)
        else:
            for line in human():
                self.line(line)

    def json(self, value: Any) -> None:
        """One JSON document on one line of stdout; non-finite numbers become null."""
        from ckpt import protocol

        self.stdout.write(protocol.encode(value).decode() + "\n")

    def line(self, text: str = "") -> None:
        """One line of stdout, already escaped."""
        self.stdout.write(text + "\n")

    def _raw(self, text: str) -> None:
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None:
            self.stdout.write(text + "\n")
            return
        self.stdout.flush()
        buffer.write(os.fsencode(text) + b"\n")
        buffer.flush()

    def say(self, text: str) -> None:
        """Narration on stderr, escaped; nothing in quiet mode."""
        if self.mode != "quiet":
            self.stderr.write("\n".join(printable(line) for line in text.split("\n")) + "\n")
            self.stderr.flush()

    def error(self, error: CkptError) -> None:
        """An error: message and hint for a person, in JSON mode also as an object; all on stderr."""
        lines = [f"ckpt: {printable(error.message)}"]
        if error.hint:
            lines += [printable(line) for line in error.hint.split("\n")]
        self.stderr.write("\n".join(lines) + "\n")
        if self.mode == "json":
            from ckpt import protocol

            self.stderr.write(protocol.encode(protocol.error_to_json(error)).decode() + "\n")
        self.stderr.flush()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Returns when the answer is yes.

        Raises UsageError when there is nobody to ask and `--yes` was not given, and `Declined` when the answer is no.
        """
        if yes:
            return
        if not (sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError(
                f"{question} – nobody is at a terminal to answer, so nothing was done",
                hint="say --yes to go ahead without being asked",
            )
        self.stderr.write(f"{printable(question)} [y/N] ")
        self.stderr.flush()
        answer = sys.stdin.readline()
        if answer.strip().lower() not in ("y", "yes"):
            raise Declined

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None] | None]:
        """A bar on stderr for an act on `total` bytes; gives the function that is told of bytes done.

        Gives None, and shows nothing, where stderr is no terminal or the act is short.
        """
        if self.mode != "human" or total < PROGRESS_FROM or not self.stderr.isatty():
            yield None
            return
        bar = _Bar(self.stderr, what, total)
        try:
            yield bar.advance
        finally:
            bar.clear()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A line on stderr that tells for how long something has been going on, once it takes a while.

        Shows nothing where stderr is no terminal.
        """
        if self.mode != "human" or not self.stderr.isatty():
            yield
            return
        clock = _Clock(self.stderr, what)
        clock.start()
        try:
            yield
        finally:
            clock.stop()


class Declined(Exception):
    """The person was asked and did not say yes."""


class _Bar:
    def __init__(self, stream: TextIO, what: str, total: int) -> None:
        self._stream = stream
        self._what = printable(what)
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._shown = 0.0

    def advance(self, count: int) -> None:
        from ckpt_tui.wording import size_text

        self._done += count
        now = time.monotonic()
        if now - self._shown < PROGRESS_INTERVAL_S:
            return
        self._shown = now
        share = min(self._done / self._total, 1.0)
        speed = self._done / max(now - self._started, 1e-3)
        left = max(self._total - self._done, 0) / max(speed, 1.0)
        bar = "#" * int(share * 24)
        text = (
            f"{self._what}  [{bar:<24}] {share:4.0%}  {size_text(self._done)} of {size_text(self._total)}"
            f"  {size_text(int(speed))}/s  {left:.0f} s left"
        )
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + text[:width])
        self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class _Clock(threading.Thread):
    def __init__(self, stream: TextIO, what: str) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._what = printable(what)
        self._over = threading.Event()

    def run(self) -> None:
        from ckpt_tui.tables import cut

        started = time.monotonic()
        wait, shown = WAITING_FROM_S, False
        while not self._over.wait(wait):
            wait, shown = PROGRESS_INTERVAL_S, True
            seconds = f" … {time.monotonic() - started:.0f} s"
            what = cut(self._what, max(shutil.get_terminal_size().columns - 1 - len(seconds), 1))
            self._stream.write(f"\r\x1b[K{what}{seconds}")
            self._stream.flush()
        if shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def stop(self) -> None:
        self._over.set()
        self.join()
