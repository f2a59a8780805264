"""The writer process as the training sees it: started, spoken to, and buried."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckpt.writing.carriers.messages import Channel

_HELD = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
}
_START = (
    "import sys; sys.path += sys.argv[4:]; from ckpt.writing.carriers.program import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
)
_TOLD_BYTES = 4096
_TOLD_LINES = 6


class CannotStart(Exception):
    """No writer process can be had here."""


class Writer:
    """A process that performs jobs: a plain interpreter that imports nothing of the training's.

    It has its own session, and is deaf to signals that are meant to end a training: it ends when its channel does.
    """

    def __init__(self, perform: str) -> None:
        """Starts it. Raises CannotStart; an interpreter that starts and then fails is told by its end."""
        self.ready = False
        """Whether it has said that it started."""
        if getattr(sys, "frozen", False) or not sys.executable:
            raise CannotStart("this program is no plain Python interpreter")
        if not hasattr(socket, "send_fds"):
            raise CannotStart("this platform cannot pass memory to another process")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._errors = tempfile.TemporaryFile(prefix="ckpt-writer-")  # noqa: SIM115
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise CannotStart(str(error)) from error
        try:
            with theirs, _deaf():
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-I", "-S", *_encoding_options(), "-c", _START),
                        *(str(theirs.fileno()), str(os.getpid()), perform, *_import_paths()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    pass_fds=(theirs.fileno(),),
                    cwd="/",
                    start_new_session=True,
                )
            self.channel = Channel(ours, self._process.pid)
        except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            ours.close()
            self._errors.close()
            raise CannotStart(str(error)) from error
        self.pid = self._process.pid

    def bury(self) -> str:
        """Waits for its end and says what that was, with its last words; nothing remains of it."""
        assert self._process is not None
        self.channel.close()  # one that lives all the same ends by that
        status = self._process.wait()
        ending = f"ended with status {status}"
        if status < 0:
            try:
                ending = f"was killed by {signal.Signals(-status).name}"
            except ValueError:
                ending = f"was killed by signal {-status}"
        words = self._last_words()
        self._errors.close()
        return f"{ending}: {words}" if words else ending

    def forget(self) -> None:
        """Closes what a forked child has inherited of it; the process goes on for the parent."""
        self.channel.close()
        self._errors.close()
        if self._process is not None:
            self._process.returncode = 0  # it is no child of this process: nobody here waits for it

    def _last_words(self) -> str:
        try:
            size = os.fstat(self._errors.fileno()).st_size
            tail = os.pread(self._errors.fileno(), _TOLD_BYTES, max(0, size - _TOLD_BYTES))
        except OSError:
            return ""
        lines = [line.strip() for line in tail.decode("utf-8", "backslashreplace").splitlines()]
        return " | ".join([line for line in lines if line][-_TOLD_LINES:])


@contextmanager
def _deaf() -> Iterator[None]:
    """Starts a process that never gets the signals which end a training, not even before it runs its first line."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _encoding_options() -> tuple[str, ...]:
    """File names have to mean the same there as here."""
    return ("-X", f"utf8={int(sys.getfilesystemencoding() == 'utf-8')}")


def _import_paths() -> list[str]:
    """Where this interpreter imports from now; our own home first, so that what lies beside a script hides nothing."""
    home = str(Path(__file__).absolute().parents[3])
    return list(dict.fromkeys([home, *(os.path.abspath(entry) for entry in sys.path if entry)]))
