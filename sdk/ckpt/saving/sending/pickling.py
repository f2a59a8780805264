"""The pickle of a checkpoint, and the storages that it names: what torch.save writes, without writing it."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ckpt.exceptions import StateError

PROTOCOL = 2
"""What torch.save uses, and all that torch.load(weights_only=True) is sure to read."""

_Id = tuple[str, type, str, str, int]
"""What stands for a storage: kind, type, number, location, elements."""

_NO_STORAGES = frozenset({int, float, bool, str, type(None), tuple, list, dict, torch.Tensor, OrderedDict, type})
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


class _Reference:
    """A storage in what a tensor is rebuilt from."""

    __slots__ = ("id",)

    def __init__(self, id: _Id) -> None:
        self.id = id


@cache
def _kind_of(dtype: torch.dtype) -> type | None:
    """The class that stands for storages of a dtype in archives; None for dtypes that have none."""
    name = torch.storage._dtype_to_storage_type_map().get(dtype)
    return None if name is None or "Q" in name else getattr(torch, name)


class _Pickler(pickle.Pickler):
    """Replaces storages by numbered references; everything else is pickled as it says itself.

    Tensors reduce themselves to their storage, as a TypedStorage or, for dtypes since uint16, an UntypedStorage. The
    public methods of the former warn that it will go away, so its private ones are used, as in torch.save. For the
    most ordinary tensors the same is done here, in a fifth of the time: a training has thousands.
    """

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=PROTOCOL)
        self.storages: dict[int, torch.UntypedStorage] = {}
        """By the address of torch's own object: that tells storages apart which have no memory. Holding them keeps
        an address from being given to another."""
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, torch.dtype] = {}

    def reducer_override(self, value: Any) -> Any:
        """What an ordinary tensor is rebuilt from; NotImplemented for what says it itself."""
        if (
            type(value) is not torch.Tensor
            or value.layout is not torch.strided
            or not (value.is_cpu or value.is_cuda)
            or (kind := _kind_of(value.dtype)) is None
            or value.is_nested
            or value._backward_hooks
            or value.__dict__
            or torch._C._get_tensor_metadata(value)  # type: ignore[attr-defined]
        ):
            return NotImplemented
        reference = _Reference(self._id_of(value.untyped_storage(), value.dtype, kind, is_cpu=value.is_cpu))
        place = value.storage_offset(), tuple(value.shape), value.stride()
        return torch._utils._rebuild_tensor_v2, (reference, *place, value.requires_grad, OrderedDict())

    def persistent_id(self, value: Any) -> _Id | None:
        """What stands for a storage, and None for everything else, of which this is asked down to the last number."""
        given = type(value)
        if given in _NO_STORAGES:
            return None
        if given is _Reference:
            return value.id  # type: ignore[no-any-return]
        if not isinstance(value, _STORAGES):
            return None
        if isinstance(value, torch.UntypedStorage):
            return self._id_of(value, torch.uint8, torch.UntypedStorage)
        kind = getattr(torch, value._pickle_storage_type())  # type: ignore[no-untyped-call]
        return self._id_of(value._untyped_storage, value.dtype, kind)

    def _id_of(self, storage: torch.UntypedStorage, dtype: torch.dtype, kind: type, *, is_cpu: bool = False) -> _Id:
        address = storage.data_ptr()
        if address and self._dtypes.setdefault(address, dtype) is not dtype:
            raise StateError(
                f"the same memory is used as {self._dtypes[address]} and as {dtype}, which no torch archive can hold",
                hint="give one of the two a copy",
            )
        identity = storage._cdata
        key = self._keys.setdefault(identity, str(len(self._keys)))
        self.storages[identity] = storage
        where = "cpu" if is_cpu else torch.serialization.location_tag(storage)
        return "storage", kind, key, where, storage.nbytes() // dtype.itemsize
