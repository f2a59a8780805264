"""torch.save's zip files, since torch 1.6: one folder with `data.pkl` and one stored entry a storage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ckpt.formats.containers import members, zipdir
from ckpt.formats.containers.family import SAMPLES, Content, Family, digest, samples
from ckpt.formats.pickled import stream
from ckpt.formats.pickled.values import Storage
from ckpt.formats.source import Damaged, Source, Unfinished

_PICKLE = "data.pkl"
_CODE = "code/"  # sources of a compiled module, which nothing here reads


class TorchZip(Family):
    """A torch zip. The directory is written last, so a file with one has been written to its end."""

    format: ClassVar[str] = "torch"
    framework: ClassVar[str] = "torch"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._entries: dict[str, zipdir.Entry] = {}
        self._root = ""

    @classmethod
    def recognise(cls, source: Source) -> bool:
        head = source.head(4)
        return head == zipdir.LOCAL_MAGIC or (0 < len(head) < 4 and zipdir.LOCAL_MAGIC.startswith(head))

    def prove(self) -> None:
        self._entries = zipdir.read_directory(self.source)
        if not any(f"/{name}".endswith(f"/{_PICKLE}") for name in self._entries):
            raise members.of_others(self.source, self._entries.values(), _PICKLE)
        self._root = _root(self._entries)

    def read(self) -> Content:
        entry = self._entries[self._root + _PICKLE]
        data = zipdir.read_entry(self.source, entry, limit=stream.MAX_PICKLE_BYTES)
        self.big_endian = self._small("byteorder") == b"big"
        try:
            loaded = stream.load(data, home=self)
        except Unfinished as error:
            raise Damaged(error.problem) from None
        return Content(loaded.value, self._fingerprint(data), loaded.unknown)

    def stored_bytes(self, storage: Storage) -> int | None:
        entry = self._entries.get(f"{self._root}data/{storage.key}")
        if entry is not None and not entry.stored:
            raise Damaged(f"storage {storage.key!r} is compressed")
        return None if entry is None else entry.size

    def checksum(self, storage: Storage) -> int:
        return self._entries[f"{self._root}data/{storage.key}"].crc

    def position(self, storage: Storage) -> int:
        return zipdir.content_offset(self.source, self._entries[f"{self._root}data/{storage.key}"])

    def _small(self, name: str) -> bytes:
        entry = self._entries.get(self._root + name)
        return b"" if entry is None else zipdir.read_entry(self.source, entry, limit=1024)

    def _fingerprint(self, data: bytes) -> str:
        entries = self._entries.values()
        checked = all(entry.crc or not entry.size for entry in entries)
        identity = self._small(".data/serialization_id")
        # Its second half is made of the checksums: without them it is the same for every content.
        if checked and identity.isdigit():
            return f"torch:{identity.decode('ascii')}"
        skip = len(self._root)
        listing = [f"{entry.name[skip:]}\0{entry.crc}\0{entry.size}".encode("utf-8", "replace") for entry in entries]
        if checked:
            return f"torch:{digest(listing)}"
        held = [entry for entry in entries if entry.size and entry.stored and "/data/" in entry.name]
        chosen = held[:: max(1, len(held) // SAMPLES)][:SAMPLES]
        places = [(zipdir.content_offset(self.source, entry), entry.size) for entry in chosen]
        return f"torch:{digest([data, *listing, *samples(self.source, places)])}"


def _root(entries: Iterable[str]) -> str:
    """The one folder of a torch zip. What torch refuses to load, or could take another entry for, is refused here."""
    names = list(entries)
    folder, slash, _ = names[0].partition("/") if names else ("", "", "")
    root = folder + slash
    if not slash or root + _PICKLE not in names:
        raise Damaged("it is a zip file without a data.pkl in its first folder, which torch does not load")
    stray = next((name for name in names if not name.startswith(root)), None)
    if stray is not None:
        raise Damaged(f"entry {stray!r} of the zip lies outside of its folder {folder!r}, where torch allows none")
    # torch finds its entries whatever the case of their letters.
    asked = [name.lower() for name in names if not name.startswith(root + _CODE)]
    if len(set(asked)) != len(asked):
        raise Damaged("the zip directory names an entry twice, in letters of another case")
    return root
