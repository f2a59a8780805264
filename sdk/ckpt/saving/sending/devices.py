"""Storages of accelerators, copied into memory of the host."""

from __future__ import annotations

import contextlib

import torch

from ckpt.writing.memory import SharedMemory

_PORTABLE = 1  # cudaHostRegisterPortable: for all devices


def as_bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    """A storage on any device as a tensor of its bytes; nothing is copied."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


class DeviceCopies:
    """Copies that run beside each other until `finish`. For CUDA, the memory that they go to is pinned once."""

    def __init__(self) -> None:
        self._pinned: int | None = None
        """Address of what is pinned, or was tried to be."""
        self._devices: set[torch.device] = set()

    def start(self, storage: torch.UntypedStorage, memory: SharedMemory, offset: int) -> None:
        """Begins the copy of a storage to an offset of the memory, behind what its device was told to do before."""
        size = storage.nbytes()
        if not size:
            return
        is_cuda = storage.device.type == "cuda"
        if is_cuda and self._pinned is None:
            self._pin(memory, storage.device)
        target = torch.frombuffer(memory.view, dtype=torch.uint8, count=size, offset=offset)
        if is_cuda:
            self._devices.add(storage.device)
        target.copy_(as_bytes(storage), non_blocking=is_cuda)

    def finish(self) -> None:
        """Waits until all copies have landed. Raises RuntimeError when one did not."""
        devices, self._devices = self._devices, set()
        for device in devices:
            torch.cuda.current_stream(device).synchronize()

    def release(self) -> None:
        """Unpins the memory, which is about to move or to be given back."""
        address, self._pinned = self._pinned, None
        if address is not None:
            with contextlib.suppress(RuntimeError):
                torch.cuda.cudart().cudaHostUnregister(address)  # type: ignore[no-untyped-call]

    def _pin(self, memory: SharedMemory, device: torch.device) -> None:
        """Copies to memory that could not be pinned are slower, and just as right."""
        self._pinned = memory.address
        with contextlib.suppress(RuntimeError, AttributeError):
            if int(torch.cuda.cudart().cudaHostRegister(memory.address, memory.size, _PORTABLE)):  # type: ignore[no-untyped-call]
                # The failure waits for the next kernel to raise it, which must not be one of the training's.
                torch.zeros(1, device=device)
