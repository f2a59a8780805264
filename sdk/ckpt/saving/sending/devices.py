"""Storages of accelerators, copied into memory of the host."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable

import torch

from ckpt.writing.memory import SharedMemory

_PORTABLE = 1  # cudaHostRegisterPortable: for all devices


def as_bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    """A storage on any device as a tensor of its bytes; nothing is copied."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


class DeviceCopies:
    """Copies that run beside each other until `finish`. For CUDA, the memory that they go to is pinned once."""

    def __init__(self) -> None:
        self._tried = False
        """Whether the memory is pinned, or cannot be."""
        self._unpin: Callable[[], object] | None = None
        """Undoes what was pinned; also called when this object goes."""
        self._devices: set[torch.device] = set()

    def start(self, storage: torch.UntypedStorage, memory: SharedMemory, offset: int) -> None:
        """Begins the copy of a storage to an offset of the memory, behind what its device was told to do before."""
        size = storage.nbytes()
        if not size:
            return
        is_cuda = storage.device.type == "cuda"
        if is_cuda and not self._tried:
            self._tried = True
            self._pin(memory, storage.device)
        target = torch.frombuffer(memory.view, dtype=torch.uint8, count=size, offset=offset)
        if is_cuda:
            self._devices.add(storage.device)
        target.copy_(as_bytes(storage), non_blocking=is_cuda)

    def finish(self) -> None:
        """Waits until all copies have landed. Raises RuntimeError when one did not."""
        devices, self._devices = self._devices, set()
        # All of them, also when one fails or an interrupt comes: a copy that still ran would write into a later image.
        with contextlib.ExitStack() as waits:
            for device in devices:
                waits.callback(torch.cuda.current_stream(device).synchronize)

    def release(self) -> None:
        """Unpins the memory, which is about to move or to be given back."""
        self._tried = False
        unpin, self._unpin = self._unpin, None
        if unpin is not None:
            unpin()

    def _pin(self, memory: SharedMemory, device: torch.device) -> None:
        """Copies to memory that could not be pinned are slower, and just as right."""
        with contextlib.suppress(RuntimeError, AttributeError):
            if int(torch.cuda.cudart().cudaHostRegister(memory.address, memory.size, _PORTABLE)):  # type: ignore[no-untyped-call]
                # The failure waits for the next kernel to raise it, which must not be one of the training's.
                torch.zeros(1, device=device)
                return
            # It holds the view: memory must not be unmapped while it is pinned.
            unpin = weakref.finalize(self, _unpin, memory.view, memory.address, os.getpid())
            unpin.atexit = False
            self._unpin = unpin


def _unpin(view: memoryview, address: int, owner: int) -> None:
    """Nothing in a forked child, which has no CUDA."""
    if os.getpid() == owner:
        with contextlib.suppress(RuntimeError):
            torch.cuda.cudart().cudaHostUnregister(address)  # type: ignore[no-untyped-call]
