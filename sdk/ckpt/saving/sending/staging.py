"""States into memory: a copy that the training goes on beside, or a view of the live tensors."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

import torch

from ckpt.exceptions import StateError
from ckpt.saving.sending.devices import DeviceCopies, as_bytes
from ckpt.saving.sending.pickling import Pickled
from ckpt.writing.image import LiveImage, Part, StagedImage
from ckpt.writing.layout import Layout, Member, frame
from ckpt.writing.memory import SharedMemory
from ckpt.writing.threads import side_by_side

_PIECE = 4 << 20  # bytes that are compared, then copied, at a time
_SMALL = 64 << 10  # bytes up to which the interpreter is not released: taking it back may cost more than the copy
_LARGE = 64 << 20  # bytes from which several threads copy
_THREADS = 4


class Staging:
    """One reused buffer. At most one image at a time lies in it: the next `fill` overwrites the last one's bytes.

    The first `fill` is slower, since the system has to give the memory; so is one that needs more than ever before.
    """

    def __init__(self) -> None:
        self._memory: SharedMemory | None = None
        self._crcs: dict[tuple[int, int], int] = {}
        """What is known of the storages that lie there: offset and size to CRC32."""
        self._copies = DeviceCopies()

    def fill(self, layout: Layout, pickled: Pickled) -> StagedImage:
        """Copies everything to where the file has it; once this returns, the tensors may change.

        A storage whose bytes lie there already, with a CRC32 that is remembered, is compared and not copied.
        Raises MemoryError when the memory cannot be had, and StateError for a storage without data.
        """
        members = checked(layout, pickled.storages)
        # Nothing is known while bytes are on their way, so that a fill that is interrupted leaves nothing wrong behind.
        crcs, self._crcs = self._crcs, {}
        memory = self._memory
        if memory is None or memory.closed or memory.size < layout.size:
            crcs, memory = {}, self._grown(layout.size)
        base, view = memory.address, memory.view
        for offset, data in frame(layout, pickled.data):
            view[offset : offset + len(data)] = data
        known: dict[int, int] = {}
        changed: set[int] = set()
        pieces: list[_Piece] = []
        try:
            for index, (member, storage) in enumerate(
                zip(members, pickled.storages, strict=True), layout.first_storage
            ):
                if storage.device.type != "cpu":
                    changed.add(index)
                    self._copies.start(storage, memory, member.offset)
                    continue
                crc = crcs.get((member.offset, member.size))
                if crc is not None:
                    known[index] = crc
                _cut(pieces, _Piece(index, base + member.offset, storage.data_ptr(), member.size, crc is not None))
            _copy(pieces, changed)
        finally:
            self._copies.finish()
        for index in changed:
            known.pop(index, None)
        self._crcs = {(layout.members[index].offset, layout.members[index].size): crc for index, crc in known.items()}
        return StagedImage(memory, layout, known, sum(layout.members[index].size for index in changed))

    def remember(self, layout: Layout, crcs: Sequence[int]) -> None:
        """Takes what was found to be the CRC32 of each member of the last image, before the next `fill`."""
        stop = layout.first_storage + layout.storages
        for member, crc in list(zip(layout.members, crcs, strict=False))[layout.first_storage : stop]:
            self._crcs[member.offset, member.size] = crc

    def close(self) -> None:
        """Gives the memory back, as soon as nobody reads an image in it. A later `fill` takes new memory."""
        self._copies.release()
        self._crcs = {}
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _grown(self, size: int) -> SharedMemory:
        self._copies.release()
        if self._memory is None or self._memory.closed:
            self._memory = SharedMemory(size)
        else:
            self._memory.grow(size)
        return self._memory


def live_image(layout: Layout, pickled: Pickled) -> LiveImage:
    """The same file without a copy: valid until a tensor changes. Raises StateError for a storage without data."""
    parts = [
        Part(offset, len(data), partial(_read_bytes, memoryview(data))) for offset, data in frame(layout, pickled.data)
    ]
    for member, storage in zip(checked(layout, pickled.storages), pickled.storages, strict=True):
        parts.append(Part(member.offset, member.size, partial(_read_storage, storage)))
    return LiveImage(layout, parts)


def checked(layout: Layout, storages: Sequence[torch.UntypedStorage]) -> Sequence[Member]:
    """The members that the storages are to become. Raises StateError for a storage without data."""
    members = layout.members[layout.first_storage : layout.first_storage + layout.storages]
    if [member.size for member in members] != [storage.nbytes() for storage in storages]:
        raise ValueError("the layout is for storages of other sizes")
    for member, storage in zip(members, storages, strict=True):
        kind = storage.device.type
        if kind == "meta" or (kind == "cpu" and member.size and not storage.data_ptr()):
            raise StateError(
                f"{member.name.partition('/')[2]} is a tensor without data, so it cannot be saved",
                hint="load or initialise what lies on the meta device first",
            )
    return members


class _Piece(NamedTuple):
    """Bytes to be copied."""

    member: int
    """Index of the member that they belong to."""
    to: int
    """Address."""
    source: int
    """Address."""
    size: int
    compare: bool
    """Whether it is worth knowing that they lie there already."""


def _cut(pieces: list[_Piece], whole: _Piece) -> None:
    if whole.size <= _PIECE:
        pieces.append(whole)
        return
    for start in range(0, whole.size, _PIECE):
        size = min(_PIECE, whole.size - start)
        pieces.append(whole._replace(to=whole.to + start, source=whole.source + start, size=size))


def _copy(pieces: list[_Piece], changed: set[int]) -> None:
    """Copies all pieces, by as many threads as torch may use, and adds the members that differed to `changed`."""
    is_large = sum(piece.size for piece in pieces) >= _LARGE
    threads = min(torch.get_num_threads(), _THREADS) if is_large else 1
    left = iter(pieces)
    side_by_side([partial(_copy_some, left, changed)] * threads)


def _copy_some(pieces: Iterator[_Piece], changed: set[int]) -> None:
    released, held = _functions()
    for member, to, source, size, compare in pieces:
        call = held if size <= _SMALL else released
        # A member that is known to differ is not compared further: at worst this costs little more than the copy.
        if compare and member not in changed and not call.memcmp(to, source, size):
            continue
        changed.add(member)
        call.memmove(to, source, size)


@cache
def _functions() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """The C library twice: with the interpreter released during a call, and held."""
    name = None if sys.platform != "win32" else "msvcrt"
    libraries = ctypes.CDLL(name), ctypes.PyDLL(name)
    for library in libraries:
        for function in (library.memcmp, library.memmove):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.memmove.restype = ctypes.c_void_p
    return libraries


def _read_bytes(data: memoryview, start: int, into: memoryview) -> None:
    into[:] = data[start : start + len(into)]


def _read_storage(storage: torch.UntypedStorage, start: int, into: memoryview) -> None:
    torch.frombuffer(into, dtype=torch.uint8).copy_(as_bytes(storage)[start : start + len(into)])
