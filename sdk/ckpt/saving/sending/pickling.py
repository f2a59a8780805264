"""The pickle of a checkpoint, and the storages that it names: what torch.save writes, without writing it."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import torch

from ckpt.exceptions import StateError

PROTOCOL = 2
"""What torch.save uses, and all that torch.load(weights_only=True) is sure to read."""

_STORAGES = (torch.storage.TypedStorage, torch.UntypedStorage)


@dataclass(frozen=True)
class Pickled:
    """A value in two parts, which share nothing with each other."""

    data: bytes
    """`data.pkl`."""
    storages: tuple[torch.UntypedStorage, ...]
    """The memory behind the tensors, each once, not copied, on its own device; number N is the record `data/N`."""


def pickle_envelope(envelope: Any) -> Pickled:
    """The value's pickle, byte for byte that of torch.save.

    Raises StateError for memory that is seen as several dtypes, which torch refuses too; what pickle raises for values
    that it does not take.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(envelope)
    return Pickled(buffer.getvalue(), tuple(pickler.storages.values()))


class _Pickler(pickle.Pickler):
    """Replaces storages by numbered references; everything else is pickled as it says itself.

    Tensors reduce themselves to their storage, as a TypedStorage or, for dtypes since uint16, an UntypedStorage. The
    public methods of the former warn that it will go away, so its private ones are used, as in torch.save.
    """

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=PROTOCOL)
        self.storages: dict[int, torch.UntypedStorage] = {}
        """By the address of torch's own object: that tells storages apart which have no memory. Holding them keeps
        an address from being given to another."""
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, torch.dtype] = {}

    def persistent_id(self, value: Any) -> tuple[str, type, str, str, int] | None:
        """What stands for a storage: kind, type, number, location, elements."""
        if not isinstance(value, _STORAGES):
            return None
        if isinstance(value, torch.UntypedStorage):
            storage, dtype, kind = value, torch.uint8, torch.UntypedStorage
        else:
            storage, dtype = value._untyped_storage, value.dtype
            kind = getattr(torch, value._pickle_storage_type())  # type: ignore[no-untyped-call]
        address = storage.data_ptr()
        if address and self._dtypes.setdefault(address, dtype) is not dtype:
            raise StateError(
                f"the same memory is used as {self._dtypes[address]} and as {dtype}, which no torch archive can hold",
                hint="give one of the two a copy",
            )
        identity = storage._cdata
        key = self._keys.setdefault(identity, str(len(self._keys)))
        self.storages[identity] = storage
        return "storage", kind, key, torch.serialization.location_tag(storage), storage.nbytes() // dtype.itemsize
