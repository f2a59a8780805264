"""What lies in the trash: records, their shape on disk and in `--json`."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ckpt.encoding import finite, number_from_disk, path_fields, path_from_fields, printable
from ckpt.paths import MARKER_SUFFIX
from ckpt.protocol import reason_to_json
from ckpt.records import Reason, Record

VERSION = 1
ENTRY_ID = re.compile(r"[0-9a-f]{15,19}")
"""Names of the entries' directories."""


class Item(Record, frozen=True, kw_only=True):
    """One file or directory of an entry, and what tells it from another of the same name."""

    name: str
    """Name inside the base directory, with / between its parts."""
    inode: int
    bytes: int
    mtime_ns: int
    digest: str = ""
    """Of its stamp, which tells a directory's content too; "" in an entry of an earlier version."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The directories that it lies in, from the base down."""
        return PurePosixPath(self.name).parts[:-1]

    @property
    def last(self) -> str:
        """Its own name."""
        return PurePosixPath(self.name).name

    @property
    def is_marker(self) -> bool:
        """Whether its presence commits the checkpoint: it goes first and comes back last."""
        return self.name.endswith(MARKER_SUFFIX)

    def is_same(self, info: os.stat_result | None) -> bool:
        """Whether what is at a name now is what was removed, and not another written since."""
        if info is None or info.st_ino != self.inode:
            return False
        return stat.S_ISDIR(info.st_mode) or (info.st_size, info.st_mtime_ns) == (self.bytes, self.mtime_ns)


class TrashEntry(Record, frozen=True, kw_only=True):
    """A removed checkpoint, whole and restorable."""

    id: str
    """Sorts by the time of removal."""
    run: str
    path: str
    """Where the checkpoint was, absolute."""
    bytes: int
    trashed_at: float
    """Unix seconds."""
    purge_at: float
    """Unix seconds from which on it may be purged."""
    plan: str
    """Id of the plan that removed it; "" when none did."""
    reasons: tuple[dict[str, Any], ...] = ()
    near_misses: tuple[dict[str, Any], ...] = ()
    """What came nearest to keeping it."""
    checkpoint: dict[str, Any] = msgspec.field(default_factory=dict)
    """The checkpoint's JSON as it was then."""
    files: tuple[str, ...] = ()
    """Where its files were, absolute."""
    items: tuple[Item, ...] = ()
    """The same files inside the base directory, in the order of their removal."""

    @property
    def frees(self) -> int:
        """Bytes that purging it frees: what its checkpoint shared with nothing when it was removed."""
        unique = self.checkpoint.get("unique_bytes")
        return min(unique, self.bytes) if isinstance(unique, int) and not isinstance(unique, bool) else self.bytes


def entry_to_json(entry: TrashEntry) -> dict[str, Any]:
    """An entry as `ckpt trash ls --json` shows it."""
    return {
        "id": entry.id,
        "run": entry.run,
        **path_fields(entry.path),
        **_facts(entry),
        "files": [printable(name) for name in entry.files],
    }


def entry_to_disk(entry: TrashEntry) -> dict[str, Any]:
    """An entry as `entry.json` and the journal hold it; names are relative, so a moved run keeps its trash."""
    return {
        "v": VERSION,
        "id": entry.id,
        "run": entry.run,
        **_facts(entry),
        "items": [
            {
                **path_fields(item.name),
                "inode": item.inode,
                "bytes": item.bytes,
                "mtime_ns": item.mtime_ns,
                "digest": item.digest,
            }
            for item in entry.items
        ],
    }


def _facts(entry: TrashEntry) -> dict[str, Any]:
    """When and why it went, and what it was: told alike to people and to the disk."""
    return {
        "bytes": entry.bytes,
        "trashed_at": entry.trashed_at,
        "purge_at": entry.purge_at,
        "plan": entry.plan,
        "reasons": list(entry.reasons),
        "near_misses": list(entry.near_misses),
        "checkpoint": entry.checkpoint,
    }


def entry_from_disk(raw: Any, base: Path) -> TrashEntry:
    """The entry behind its JSON. Raises ValueError when it is not one that this version understands."""
    try:
        if raw["v"] != VERSION:
            raise ValueError(f"trash entry of version {raw['v']!r}")
        items = tuple(
            Item(
                name=path_from_fields(item),
                inode=int(item["inode"]),
                bytes=int(item["bytes"]),
                mtime_ns=int(item["mtime_ns"]),
                digest=str(item.get("digest", "")),
            )
            for item in raw["items"]
        )
        if not items or not all(_is_inside(item.name) for item in items):
            raise ValueError("a trash entry without files, or with files from elsewhere")
        return TrashEntry(
            id=str(raw["id"]),
            run=str(raw["run"]),
            path=str(base / _main(items).name),
            bytes=int(raw["bytes"]),
            trashed_at=_time(raw["trashed_at"]),
            purge_at=_time(raw["purge_at"]),
            plan=str(raw["plan"]),
            reasons=tuple(dict(reason) for reason in raw["reasons"]),
            near_misses=tuple(dict(reason) for reason in raw["near_misses"]),
            checkpoint=dict(raw["checkpoint"]),
            files=tuple(str(base / item.name) for item in items),
            items=items,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a trash entry: {error}") from None


def make_entry(
    items: Iterable[Item],
    base: Path,
    *,
    id: str,
    run: str,
    bytes: int,
    trashed_at: float,
    keep_for_s: float,
    plan: str,
    reasons: Iterable[Mapping[str, Any] | Reason],
    near_misses: Iterable[Mapping[str, Any] | Reason],
    checkpoint: Mapping[str, Any],
) -> TrashEntry:
    """An entry of files below `base`; commit markers first, so that they are moved first."""
    ordered = tuple(sorted(items, key=lambda item: not item.is_marker))
    return TrashEntry(
        id=id,
        run=run,
        path=str(base / _main(ordered).name),
        bytes=bytes,
        trashed_at=trashed_at,
        purge_at=trashed_at + keep_for_s,
        plan=plan,
        reasons=tuple(_reason(reason) for reason in reasons),
        near_misses=tuple(_reason(reason) for reason in near_misses),
        checkpoint=finite(checkpoint),
        files=tuple(str(base / item.name) for item in ordered),
        items=ordered,
    )


def _main(items: tuple[Item, ...]) -> Item:
    return next((item for item in items if not item.is_marker), items[0])


def _reason(reason: Mapping[str, Any] | Reason) -> dict[str, Any]:
    plain: dict[str, Any] = finite(reason_to_json(reason) if isinstance(reason, Reason) else reason)
    return plain


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _time(value: Any) -> float:
    seconds = float(number_from_disk(value))
    if not math.isfinite(seconds):
        raise ValueError(f"not a time: {value!r}")
    return seconds
