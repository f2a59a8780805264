"""torch.save's files before torch 1.6 (and with `_use_new_zipfile_serialization=False`): pickles one after another.

A magic number, a protocol, facts of the system, the object, the storages' keys; then each storage as a count of
elements and its bytes.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ckpt.formats import dtypes
from ckpt.formats.containers.family import Content, Family, digest, samples
from ckpt.formats.pickled import stream
from ckpt.formats.pickled.values import Home, Storage, Tensor
from ckpt.formats.pickled.walk import walk
from ckpt.formats.source import Damaged, Source, TooLarge, Unfinished

_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_TEXT_MAGIC = b"L119547037146038801333356L\n"  # the same number, as pickle's protocols 0 and 1 write it
_KEY = re.compile(rb"(?:X.\0\0\0|\x8c.)(\d{6,20})", re.DOTALL)
_FIRST_WINDOW = 256 << 10
_MAX_STORAGES = 200_000


class PickleStream:
    """Pickles that follow one another in a file, of unknown lengths: read in windows that grow."""

    def __init__(self, source: Source, home: Home | None = None) -> None:
        self._source = source
        self._home = home
        self._window = b""
        self.position = 0
        self.unknown: set[str] = set()

    def next(self) -> Any:
        """The next pickle's value. Raises Unfinished, Damaged, TooLarge, OSError."""
        while True:
            try:
                loaded = stream.load(self._window, self.position, self._home)
            except Unfinished:
                have, size = len(self._window), self._source.size
                if have >= size:
                    raise
                if have >= stream.MAX_PICKLE_BYTES:
                    raise TooLarge(f"its metadata has more than {stream.MAX_PICKLE_BYTES} bytes") from None
                more = min(max(_FIRST_WINDOW, have * 3), size - have, stream.MAX_PICKLE_BYTES - have)
                self._window += self._source.read(have, more)
                continue
            self.position = loaded.end
            self.unknown.update(loaded.unknown)
            return loaded.value

    @property
    def consumed(self) -> bytes:
        """All bytes of the pickles so far."""
        return self._window[: self.position]


class TorchLegacy(Family):
    """An old torch file. Whole when every storage that its keys name lies in it to the end."""

    format: ClassVar[str] = "torch-legacy"
    framework: ClassVar[str] = "torch"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._stream = PickleStream(source, self)
        self._top: Any = None
        self._held: tuple[str, ...] = ()
        self._places: dict[str, tuple[int, int]] = {}
        self._described = 0

    @classmethod
    def recognise(cls, source: Source) -> bool:
        head = source.head(32)
        return _MAGIC in head or head.startswith(_TEXT_MAGIC)

    def prove(self) -> None:
        self._stream.next()
        self._stream.next()
        system = self._stream.next()
        self.big_endian = type(system) is dict and system.get("little_endian") is False
        top = self._stream.next()
        self._described = self._stream.position
        keys = self._stream.next()
        if type(keys) is not list or len(keys) > _MAX_STORAGES:
            raise Damaged("its list of storages is no list")
        held: dict[str, Storage] = {}
        for _, value in walk(top):
            storage = value.storage if type(value) is Tensor else value
            if type(storage) is Storage:
                held.setdefault(storage.key, storage)
        position = self._stream.position
        for key in keys:
            if type(key) is not str or key not in held:
                raise Damaged("it lists a storage that no tensor names")
            width = dtypes.ITEM_BYTES[held[key].dtype]
            count = int.from_bytes(self.source.read(position, 8), "big" if self.big_endian else "little")
            if count != held[key].count:
                raise Damaged(f"storage {key!r} does not have the length that its tensors give it")
            self._places[key] = (position + 8, count * width)
            position += 8 + count * width
        if position > self.source.size:
            raise Unfinished(f"it ends {position - self.source.size} bytes before its last storage does")
        if position < self.source.size:
            raise Damaged(f"there are {self.source.size - position} bytes behind its last storage")
        self._top, self._held = top, tuple(held)

    def read(self) -> Content:
        # Keys are addresses in the writer's memory, which also order the storages: neither is content.
        order = {key.encode("utf-8", "surrogatepass"): b"%d" % index for index, key in enumerate(self._held)}
        pickled = _KEY.sub(lambda match: order.get(match[1], match[0]), self._stream.consumed[: self._described])
        places = [self._places[key] for key in self._held if key in self._places]
        size = self.source.size.to_bytes(8, "little")
        fingerprint = f"torch-legacy:{digest([pickled, size, *samples(self.source, places)])}"
        # Storages know the file that holds them: handed over, they make no cycle that only the collector would break.
        top, self._top = self._top, None
        return Content(top, fingerprint, tuple(sorted(self._stream.unknown)))

    def stored_bytes(self, storage: Storage) -> int | None:
        place = self._places.get(storage.key)
        return None if place is None else place[1]

    def position(self, storage: Storage) -> int:
        return self._places[storage.key][0]
