"""Keras' zip archives: `metadata.json`, `config.json`, and the weights as one HDF5 file."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.containers import hdf5, members, zipdir
from ckpt.formats.containers.family import Content, Family, digest
from ckpt.formats.source import Source

_METADATA = "metadata.json"
_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_MAX_JSON = 16 << 20


class Keras(Family):
    """A `.keras` file. The zip directory is written last, so a file with one has been written to its end."""

    format: ClassVar[str] = "keras"
    framework: ClassVar[str] = "keras"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._entries: dict[str, zipdir.Entry] = {}

    @classmethod
    def recognise(cls, source: Source) -> bool:
        return members.begins_with(source, _METADATA.encode())

    def prove(self) -> None:
        self._entries = zipdir.read_directory(self.source)
        if _METADATA not in self._entries or _CONFIG not in self._entries:
            raise members.of_others(self.source, self._entries.values(), "Keras' metadata.json and config.json")
        weights = self._entries.get(_WEIGHTS)
        if weights is not None and weights.stored:
            hdf5.prove_superblock(members.stored(self.source, weights))

    def read(self) -> Content:
        top: dict[str, Any] = {
            "metadata": members.parsed(self.source, self._entries[_METADATA], limit=_MAX_JSON),
            "config": members.parsed(self.source, self._entries[_CONFIG], limit=_MAX_JSON),
        }
        weights = [entry for name, entry in self._entries.items() if name.endswith(".weights.h5")]
        if weights:
            top["weights_file"] = {"bytes": sum(entry.size for entry in weights)}
        listing = [
            f"{entry.name}\0{entry.crc}\0{entry.size}".encode("utf-8", "replace") for entry in self._entries.values()
        ]
        return Content(top, f"keras:{digest(listing)}", omitted=(hdf5.UNLISTED,) if weights else ())
