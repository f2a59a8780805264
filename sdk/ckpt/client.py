"""The only way to talk to ckptd: HTTP over its Unix socket, with the standard library alone.

The socket is where the daemon's lock file says, whatever the environment says. Without a daemon one is started in the
background, unless CKPTD_AUTOSTART=0, CI or a Slurm job forbids it; then reads are answered by `ckptd once`, a process
that looks at the disk and ends, and changes raise NoDaemonError.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlencode

from ckpt import encoding, protocol
from ckpt.exceptions import DaemonError, NoDaemonError
from ckpt.files import FileLock
from ckpt.paths import StatePaths

ANSWER_S = 120.0  # a full look at a large disk takes long
CONNECT_S = 5.0  # while more clients knock than the daemon takes in at once
STREAM_SILENCE_S = 45.0  # three of the daemon's heartbeats in the event stream
STARTING_S = 10.0
START_COMMAND_S = 60.0
ONCE_S = 3600.0  # a look at a large disk that nobody waits for but the person who asked
PATIENCE_S = 30.0

_HOW_TO_START = "start it with `ckptd start`"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        deadline = time.monotonic() + min(CONNECT_S, self.timeout or CONNECT_S)
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(self._path)
                return
            except BlockingIOError:
                # The queue of those that knock is full, which a Unix socket says at once instead of waiting.
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            except BaseException:
                self.sock.close()
                raise


def daemon_note() -> dict[str, Any] | None:
    """What the running daemon says of itself ({"pid", "socket", "version", "protocol", "started"}); None if none runs.

    Truth is the lock, not the file's content: a note that a crash left behind counts for nothing.
    """
    lock = FileLock(StatePaths.here().lock)
    return None if lock.is_free() else lock.holder()


def daemon_command() -> list[str]:
    """How to call `ckptd` from here: the one beside this interpreter, else the one on PATH, else the module."""
    beside = Path(sys.executable).parent / "ckptd"
    if beside.is_file() and os.access(beside, os.X_OK):
        return [str(beside)]
    found = shutil.which("ckptd")
    return [found] if found else [sys.executable, "-m", "ckptd"]


def autostart_forbidden() -> str | None:
    """Why no daemon may be started from here, as words for a hint; None when it may."""
    if os.environ.get("CKPTD_AUTOSTART") == "0":
        return "CKPTD_AUTOSTART=0 is set"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return "this is a CI job"
    if os.environ.get("SLURM_JOB_ID"):
        return "this is a Slurm job"
    if not hasattr(socket, "AF_UNIX"):
        return "the daemon needs a POSIX system"
    return None


class Client:
    """A connection to the daemon, or what serves in its place. May be used from several threads.

    `mode` says which: "daemon", or "once" for reads from the disk by a short-lived process.
    """

    def __init__(
        self,
        mode: Literal["daemon", "once"],
        *,
        directory: str | None = None,
        why_once: str | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.mode = mode
        self._directory = directory
        self._why_once = why_once
        self._answer_s = answer_s
        self._idle: list[_Connection] = []
        self._streams: set[_Connection] = set()
        self._closed = threading.Event()

    @classmethod
    def connect(cls, *, autostart: bool = True, directory: str | None = None, answer_s: float = ANSWER_S) -> Client:
        """A client of the live daemon, else of one started now, else one that reads from the disk.

        `directory` is watched by a daemon that this call starts, and looked at when there is none; each answer of the
        daemon is awaited for `answer_s` seconds. Raises DaemonError when a daemon runs that speaks another protocol.
        """
        if _live_note() is not None:
            return cls("daemon", directory=directory, answer_s=answer_s)
        forbidden = autostart_forbidden()
        if not autostart or forbidden is not None:
            return cls("once", directory=directory, why_once=forbidden)
        try:
            _start(directory)
        except DaemonError as error:
            # Who only reads is served all the same.
            sys.stderr.write(f"{error.message}; reading from the disk\n")
            return cls("once", directory=directory, why_once=error.message)
        return cls("daemon", directory=directory, answer_s=answer_s)

    def get(self, path: str, /, **params: str | int | None) -> Any:
        """The answer to a read, as plain data. Raises the error that the daemon met."""
        given = {name: value for name, value in params.items() if value is not None}
        if given:
            joint = "&" if "?" in path else "?"
            path = f"{path}{joint}{urlencode(given, encoding='utf-8', errors='surrogateescape')}"
        return self._once(path) if self.mode == "once" else self._request("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a change, as plain data. A repeat after a broken connection changes nothing twice.

        Raises the error that the daemon met, and NoDaemonError when there is none.
        """
        if self.mode == "once":
            why = f" (not started by itself: {self._why_once})" if self._why_once else ""
            raise NoDaemonError("no daemon runs, and this needs one", hint=_HOW_TO_START + why)
        return self._request("POST", path, protocol.encode({"key": uuid.uuid4().hex, **(body or {})}))

    def events(self, since: int | None = None, *, follow: bool = True) -> Iterator[dict[str, Any]]:
        """Events after number `since` (None: from now on, or with follow=False all that are remembered).

        Following goes on until `close`; after a broken connection it goes on where it was. Raises NoDaemonError when no
        daemon comes back for 30 s.
        """
        if not follow:
            if self.mode == "daemon":
                yield from self.get("/v1/events", since=since, follow=0)["events"]
            return
        if self.mode == "once":
            raise NoDaemonError("events come from a daemon, and none runs", hint=_HOW_TO_START)
        broken_at = time.monotonic()
        pause = 0.05
        while not self._closed.is_set():
            connected = False
            try:
                for number, event in self._stream_once(since):
                    connected, pause, since = True, 0.05, number
                    if event is not None:
                        yield event
            except (OSError, http.client.HTTPException, NoDaemonError) as error:
                if not (connected or self._closed.is_set()) and time.monotonic() - broken_at > PATIENCE_S:
                    raise NoDaemonError("the daemon is gone", hint=_HOW_TO_START) from error
            if connected:
                broken_at = time.monotonic()
            self._closed.wait(pause)
            pause = min(2 * pause, 2.0)

    def close(self) -> None:
        """Closes all connections; an iterator of `events` in another thread ends."""
        self._closed.set()
        for stream in list(self._streams):
            if stream.sock is not None:
                with contextlib.suppress(OSError):
                    stream.sock.shutdown(socket.SHUT_RDWR)
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, timeout: float) -> _Connection:
        note = _live_note()
        if note is None:
            raise NoDaemonError("the daemon is gone", hint=_HOW_TO_START)
        return _Connection(str(note["socket"]), timeout)

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        for attempt in (1, 2):
            try:
                connection = self._idle.pop()
                fresh = False
            except IndexError:
                connection = self._open(self._answer_s)
                fresh = True
            try:
                # A daemon that refuses a client says why and hangs up, perhaps before the request is out.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A kept connection may have ended meanwhile; its siblings then too.
                while not fresh and self._idle:
                    self._idle.pop().close()
                if (fresh and attempt == 2) or isinstance(error, TimeoutError):
                    raise DaemonError(f"the daemon did not answer: {error}", hint="see `ckptd status`") from error
                time.sleep(0.0 if not fresh else 0.1)
                continue
            except BaseException:
                connection.close()
                raise
            if response.will_close or self._closed.is_set():
                connection.close()
            else:
                self._idle.append(connection)
            return _answer(data, failed=response.status >= 400)
        raise DaemonError("the daemon did not answer", hint="see `ckptd status`")

    def _stream_once(self, since: int | None) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Events with their numbers, and once at the start the number that the stream stands at."""
        connection = self._open(STREAM_SILENCE_S)
        self._streams.add(connection)
        try:
            query = "" if since is None else f"?since={since}"
            connection.request("GET", f"/v1/events{query}", headers={"Accept": "text/event-stream"})
            response = connection.getresponse()
            if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
                raise http.client.HTTPException("the daemon is busy")
            if response.status >= 400:
                _answer(response.read(), failed=True)
            data: list[bytes] = []
            number = since or 0
            while not self._closed.is_set() and (line := response.readline()):
                line = line.rstrip(b"\r\n")
                if line.startswith(b"id:"):
                    number = int(line[3:])
                elif line.startswith(b"data:"):
                    data.append(line[5:].strip())
                elif not line:
                    yield number, encoding.loads(b"\n".join(data)) if data else None
                    data = []
        finally:
            self._streams.discard(connection)
            connection.close()

    def _once(self, path: str) -> Any:
        command = [*daemon_command(), "once", *([self._directory] if self._directory else []), "--get", path]
        done = _run(command, ONCE_S)
        if done.returncode and not done.stdout:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise DaemonError(f"`ckptd once` failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
        return _answer(done.stdout, failed=done.returncode != 0)


def _answer(data: bytes, *, failed: bool) -> Any:
    try:
        value = encoding.loads(data)
    except ValueError as error:
        raise DaemonError("the daemon answered with something that is not JSON") from error
    if failed:
        raise protocol.error_from_json(value)
    return value


def _live_note() -> dict[str, Any] | None:
    """The note of a daemon that accepts connections, waiting for one that is just starting; None without a daemon."""
    deadline = time.monotonic() + STARTING_S
    while True:
        note = daemon_note()
        if note is None:
            return None
        # A note may be half written: then its writer has just taken the lock.
        if isinstance(note.get("socket"), str) and os.path.exists(note["socket"]):
            _check_protocol(note)
            return note
        if time.monotonic() > deadline:
            raise DaemonError(
                f"the daemon (process {note.get('pid', '?')}) runs but has no socket",
                hint="stop it with `ckptd stop`, then start it again",
            )
        time.sleep(0.02)


def _check_protocol(note: Mapping[str, Any]) -> None:
    if note.get("protocol") == protocol.PROTOCOL:
        return
    raise DaemonError(
        f"the daemon (process {note.get('pid', '?')}, version {note.get('version', '?')}) speaks protocol "
        f"{note.get('protocol')}, this program {protocol.PROTOCOL}",
        hint="restart it: ckptd stop && ckptd start",
    )


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise DaemonError(f"`{' '.join(command)}` did not end within {seconds:g} s") from None


def _start(directory: str | None) -> None:
    command = [*daemon_command(), "start", "--idle-exit", *(["--watch", directory] if directory else [])]
    done = _run(command, START_COMMAND_S)
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    if done.returncode:
        raise DaemonError(
            f"no daemon runs, and none could be started: {'; '.join(said) or f'exit code {done.returncode}'}",
            hint="see `ckptd run` for the reason, or set CKPTD_AUTOSTART=0 to go without",
        )
    sys.stderr.write(f"{said[-1] if said else 'ckptd started'}; stop it with `ckptd stop`\n")
