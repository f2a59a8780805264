"""The file that keeps the roots of commands, and what every root and disk was when it was last seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import path_fields, path_from_fields
from ckptd.config.values import Root
from ckptd.roots.identity import Identity

FORMAT = 1


@dataclass(frozen=True)
class Stored:
    """What the file says."""

    roots: tuple[Root, ...] = ()
    """Those of commands."""
    seen: Mapping[str, Identity] = field(default_factory=dict)
    """Which directory each root was, those of config.toml included."""
    disks: Mapping[str, int] = field(default_factory=dict)
    """Mount points that runs lay below, each with the number of its file system."""


class RootStore:
    """Reads and replaces the file. With `path` None nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._written: Any = None

    def read(self) -> Stored:
        """What was kept; nothing when there is no file.

        Raises OSError, and ValueError, KeyError, TypeError or AttributeError when it cannot be understood.
        """
        if self.path is None:
            return Stored()
        try:
            raw: Any = files.read_json(self.path)
        except FileNotFoundError:
            return Stored()
        roots = [
            Root(
                path=path_from_fields(r),
                exclude=tuple(map(str, r.get("exclude", ()))),
                poll=r.get("poll") is True,
                origin="command",
            )
            for r in raw["roots"]
        ]
        seen = {path_from_fields(entry): Identity.parse(entry) for entry in raw.get("seen", ())}
        return Stored(
            roots=tuple(roots),
            seen={path: identity for path, identity in seen.items() if identity is not None},
            disks={path_from_fields(entry): int(entry["file_system"]) for entry in raw.get("disks", ())},
        )

    def write(self, roots: Iterable[Root], seen: Mapping[str, Identity], disks: Mapping[str, int]) -> None:
        """Keeps all this, durable before it returns; what is kept already is not written again. Raises OSError."""
        if self.path is None:
            return
        document = {
            "format": FORMAT,
            "roots": [
                {
                    **path_fields(r.path),
                    "mode": r.mode,
                    "exclude": list(r.exclude),
                    **({"poll": True} if r.poll else {}),
                }
                for r in roots
            ],
            "seen": [{**path_fields(path), **seen[path].to_json()} for path in sorted(seen)],
            "disks": [{**path_fields(path), "file_system": disks[path]} for path in sorted(disks)],
        }
        if document != self._written:
            files.write_json(self.path, document, mode=0o600)
            self._written = document
