"""What a training and its writer process say to each other, and the socket that carries it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterable
from typing import Any

import msgspec

from ckpt.records import Record
from ckpt.writing.jobs import Job, Outcome
from ckpt.writing.layout import Layout

_LENGTH = struct.Struct("!Q")
_FDS_MAX = 2
_TEXT, _NUMBER = 1, 2  # extensions of msgpack: text that is not UTF-8, an integer beyond 64 bits
_encoder = msgspec.msgpack.Encoder()


class Write(Record, frozen=True, kw_only=True, tag="write"):
    """A job. With it come the descriptors of the memory and, if there is one, of the run's lock, in this order."""

    job: Job
    layout: Layout
    known: dict[int, int]
    memory: int
    """Number of the memory that the image lies in; the training counts them."""
    memory_size: int
    dropped: tuple[int, ...] = ()
    """Memories that are used no more."""


class Cut(Record, frozen=True, kw_only=True, tag="cut"):
    """A job waits for room no longer than so many seconds from now."""

    job: int
    within_s: float
    why: str


class Ready(Record, frozen=True, kw_only=True, tag="ready"):
    """The writer has started."""


class Told(Record, frozen=True, kw_only=True, tag="told"):
    """What the training has to know before the outcome, such as that the disk is full."""

    text: str


class Came(Record, frozen=True, kw_only=True, tag="came"):
    """What came of the oldest job."""

    outcome: Outcome


Message = Write | Cut | Ready | Told | Came


def encode(message: Message) -> bytes:
    """A message as MessagePack. Raises TypeError for what no message can hold."""
    try:
        return _encoder.encode(message)
    except (UnicodeEncodeError, OverflowError):
        return _encoder.encode(_wrapped(msgspec.to_builtins(message, builtin_types=(bytes,))))


def decode(data: bytes | bytearray) -> Message:
    """The message. Raises ValueError for anything else."""
    return msgspec.convert(msgspec.msgpack.decode(data, ext_hook=_unwrapped), Message, strict=False)  # type: ignore[no-any-return]


def _wrapped(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_NUMBER, hex(value).encode())
    elif isinstance(value, dict):
        return {_wrapped(key): _wrapped(inner) for key, inner in value.items()}
    elif isinstance(value, list | tuple):
        return [_wrapped(inner) for inner in value]
    return value


def _unwrapped(code: int, data: memoryview) -> Any:
    return str(bytes(data), "utf-8", "surrogatepass") if code == _TEXT else int(bytes(data), 16)


class Channel:
    """One end of a stream socket: messages with descriptors, whole or not at all.

    The other side is gone when its end is closed or, where the kernel tells, when its process has ended: a child that
    it forked unseen may hold its end open for long.
    """

    def __init__(self, end: socket.socket, peer: int) -> None:
        """`peer` is the process on the other side."""
        self._end = end
        self._peer: int | None = None
        self._is_gone = False
        with contextlib.suppress(OSError, AttributeError):
            try:
                self._peer = os.pidfd_open(peer)
            except ProcessLookupError:
                self._is_gone = True

    def send(self, message: Message, fds: Iterable[int] = ()) -> None:
        """Sends one message. Raises OSError when the other side is gone, TypeError for what no message can hold."""
        data = encode(message)
        socket.send_fds(self._end, [_LENGTH.pack(len(data))], list(fds))
        self._end.sendall(data)

    def wait(self, other: int | None = None) -> bool:
        """Until `receive` has something to say; False when there is something to read in `other` instead."""
        poll = select.poll()
        for fd in (self._end.fileno(), self._peer, other):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(0 if self._is_gone else None)}
        return self._end.fileno() in ready or self._peer in ready or self._is_gone

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors, which are the caller's now. Raises EOFError when no more will come."""
        fds: list[int] = []
        try:
            self._wait()
            head, fds, _, _ = socket.recv_fds(self._end, _LENGTH.size, _FDS_MAX)
            if not head:
                raise EOFError
            head += self._read(_LENGTH.size - len(head))
            return decode(self._read(_LENGTH.unpack(head)[0])), fds
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, Exception):  # a reset, when the other side died with unread messages, or nonsense
                raise EOFError(str(error)) from error
            raise

    def finish(self) -> None:
        """Says that no more will be sent."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes this end; may be called twice."""
        self._end.close()
        peer, self._peer = self._peer, None
        if peer is not None:
            os.close(peer)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            self._wait()
            count = self._end.recv_into(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data

    def _wait(self) -> None:
        """Until there are bytes. Raises EOFError when the other side's process has ended and all was read."""
        poll = select.poll()
        for fd in (self._end.fileno(), self._peer):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        if not any(fd == self._end.fileno() for fd, _ in poll.poll(0 if self._is_gone else None)):
            raise EOFError
