"""The writer process: takes jobs, performs them one after the other, and ends with the training.

It ends as soon as the channel does, after the jobs that it was given completely; it never imports torch.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from ckpt.writing.carriers.base import failed, performer
from ckpt.writing.carriers.messages import Came, Channel, Cut, Ready, Told, Write
from ckpt.writing.image import StagedImage
from ckpt.writing.memory import SharedMemory
from ckpt.writing.patience import patience

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@dataclass(frozen=True)
class Order:
    """A message of the training with its descriptors."""

    write: Write
    memory: int
    lock: int | None
    """Held until the job is done, so that nobody else trains or prunes the run although the training may be gone."""


class Memories:
    """The memories of the training, each mapped once."""

    def __init__(self) -> None:
        self._mapped: dict[int, SharedMemory] = {}

    def take(self, number: int, fd: int, size: int) -> SharedMemory:
        """The memory of that number; the descriptor is closed when it is known. Raises OSError."""
        known = self._mapped.get(number)
        if known is not None and known.size == size:
            os.close(fd)
            return known
        self.drop(number)
        try:
            memory = SharedMemory.attach(fd, size)
        except BaseException:
            os.close(fd)
            raise
        self._mapped[number] = memory
        return memory

    def drop(self, number: int) -> None:
        """Unmaps one; nothing happens when it is not known."""
        memory = self._mapped.pop(number, None)
        if memory is not None:
            memory.close()


def main(end: int, training: int, perform: str) -> None:
    """Works for the process `training` at the other end of the socket `end`."""
    faulthandler.enable()
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(b"ckpt-writer")
    channel = Channel(socket.socket(fileno=end), training)
    work = performer(perform)
    orders: SimpleQueue[Order | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, orders), daemon=True).start()
    with contextlib.suppress(OSError):
        channel.send(Ready())
    memories = Memories()
    while (order := orders.get()) is not None:
        try:
            for number in order.write.dropped:
                memories.drop(number)
            memory = memories.take(order.write.memory, order.memory, order.write.memory_size)
            image = StagedImage(memory=memory, layout=order.write.layout, known=order.write.known)
            outcome = work(order.write.job, image, partial(_tell, channel))
            del image, memory
        except Exception as error:  # noqa: BLE001  one job that cannot be begun must not end the others
            outcome = failed(order.write.job, error)
        if order.lock is not None:
            os.close(order.lock)  # before the outcome is told: the training may give the lock up then
        with contextlib.suppress(OSError):
            channel.send(Came(outcome=outcome))
        del order, outcome


def _listen(channel: Channel, orders: SimpleQueue[Order | None]) -> None:
    """Takes what comes at once, so that it is here when the training ends, and so that the training never waits."""
    try:
        while True:
            message, fds = channel.receive()
            if isinstance(message, Cut):
                patience.cut(message.job, message.within_s, message.why)
                continue
            assert isinstance(message, Write)
            orders.put(Order(message, fds[0], fds[1] if len(fds) > 1 else None))
    except EOFError:
        pass
    finally:
        orders.put(None)


def _tell(channel: Channel, text: str) -> None:
    with contextlib.suppress(OSError):
        channel.send(Told(text=text))
