"""Stable-Baselines3's zip archives: `data` as JSON, and a torch file for the policy and for each optimizer."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.containers import members, zipdir
from ckpt.formats.containers.family import Content, Family, digest
from ckpt.formats.containers.torch_zip import TorchZip
from ckpt.formats.source import Source

_DATA = "data"
_VERSION = "_stable_baselines3_version"
_TORCH = ".pth"
_MAX_JSON = 16 << 20
_MAX_PARTS = 100
_PICKLED = ":serialized:"


class StableBaselines(Family):
    """An agent's file. The zip directory is written last, so a file with one has been written to its end."""

    format: ClassVar[str] = "zip"
    framework: ClassVar[str] = "sb3"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._entries: dict[str, zipdir.Entry] = {}
        self._parts: dict[str, TorchZip] = {}
        self._omitted: list[str] = []

    @classmethod
    def recognise(cls, source: Source) -> bool:
        return members.begins_with(source, _DATA.encode())

    def prove(self) -> None:
        self._entries = zipdir.read_directory(self.source)
        if _DATA not in self._entries or _VERSION not in self._entries:
            raise members.of_others(self.source, self._entries.values(), "Stable-Baselines3's data and version")
        parts = [entry for name, entry in self._entries.items() if name.endswith(_TORCH)]
        for entry in parts[:_MAX_PARTS]:
            if not entry.stored:
                self._omitted.append(f"{entry.name[:80]!r}, which is compressed")
                continue
            part = TorchZip(members.stored(self.source, entry))
            part.prove()
            self._parts[entry.name.removesuffix(_TORCH)] = part
        if len(parts) > _MAX_PARTS:
            self._omitted.append(f"more than {_MAX_PARTS} torch files")

    def read(self) -> Content:
        version = members.content(self.source, self._entries[_VERSION], limit=1024)
        data = members.parsed(self.source, self._entries[_DATA], limit=_MAX_JSON)
        top: dict[str, Any] = {_DATA: {key: _told(value) for key, value in data.items()}}
        top[_VERSION] = version.decode("utf-8", "replace").strip()
        unknown: set[str] = set()
        for name, part in self._parts.items():
            content = part.read()
            top[name] = content.top
            unknown.update(content.unknown_globals)
        listing = [
            f"{entry.name}\0{entry.crc}\0{entry.size}".encode("utf-8", "replace") for entry in self._entries.values()
        ]
        return Content(top, f"zip:{digest(listing)}", tuple(sorted(unknown)), omitted=tuple(self._omitted))


def _told(value: Any) -> Any:
    """A value of the JSON without the pickles in it, which stand there as text, and the insides of classes."""
    if type(value) is dict:
        return {key: item for key, item in value.items() if key != _PICKLED and not key.startswith("__")}
    return value
