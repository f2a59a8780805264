"""The file that keeps the roots of commands, and what every root and disk was when it was last seen."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import path_fields, path_from_fields
from ckpt.retention.reading import given
from ckpt.trash.placing import Place
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
    confirmed: Set[str] = frozenset()
    """Roots whose first plan a person has confirmed, those of config.toml included."""
    places: Set[Place] = frozenset()
    """Where trashes of roots were made, be they roots still or not."""


class RootStore:
    """Reads and replaces the file. With `path` None nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._written: Any = None

    def read(self) -> Stored:
        """What was kept; nothing when there is no file.

        Raises OSError, and StateError, ValueError, KeyError, TypeError or AttributeError when it cannot be understood.
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
                mode="enforce" if r.get("mode") == "enforce" else "observe",
                policy=given(r.get("policy", {})),
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
            confirmed=frozenset(path_from_fields(entry) for entry in raw.get("confirmed", ())),
            disks={path_from_fields(entry): int(entry["file_system"]) for entry in raw.get("disks", ())},
            places=frozenset(
                Place(root=path_from_fields(entry["root"]), directory=path_from_fields(entry["directory"]))
                for entry in raw.get("places", ())
            ),
        )

    def write(self, kept: Stored) -> None:
        """Keeps all this, durable before it returns; what is kept already is not written again. Raises OSError."""
        if self.path is None:
            return
        seen, disks = kept.seen, kept.disks
        document = {
            "format": FORMAT,
            "roots": [
                {
                    **path_fields(r.path),
                    "mode": r.mode,
                    "exclude": list(r.exclude),
                    **({"poll": True} if r.poll else {}),
                    **({"policy": r.policy} if r.policy else {}),
                }
                for r in kept.roots
            ],
            "seen": [{**path_fields(path), **seen[path].to_json()} for path in sorted(seen)],
            "confirmed": [path_fields(path) for path in sorted(kept.confirmed)],
            "disks": [{**path_fields(path), "file_system": disks[path]} for path in sorted(disks)],
            "places": [
                {"root": path_fields(place.root), "directory": path_fields(place.directory)}
                for place in sorted(kept.places, key=lambda place: (place.root, place.directory))
            ],
        }
        if document != self._written:
            files.write_json(self.path, document, mode=0o600)
            self._written = document
