"""Roots as the API shows them."""

from __future__ import annotations

from typing import Any

from ckpt.encoding import path_fields, printable
from ckptd.roots.advice import root_warnings
from ckptd.roots.watched import Watched
from ckptd.space.space import Outlook


def root_json(watched: Watched, runs: int, checkpoints: int, size: int, disk: Outlook) -> dict[str, Any]:
    """A root as `ckpt status --json` shows it."""
    return {
        **path_fields(watched.root.path),
        "mode": watched.root.mode,
        "confirmed": watched.confirmed,
        "policy": dict(watched.root.policy),
        "waits": watched.waits,
        "by_hand": watched.by_hand,
        "state": watched.state,
        "problem": watched.problem,
        "exclude": list(watched.root.exclude),
        "poll": watched.root.poll,
        "origin": watched.root.origin,
        "runs": runs,
        "checkpoints": checkpoints,
        "bytes": size,
        "free_bytes": disk.free_bytes,
        "total_bytes": disk.total_bytes,
        "full_in_s": disk.full_in_s,
        "filling": disk.filling,
        "device": disk.device,
        "polled": watched.polled,
        "directories": watched.directories,
        "links": [{**path_fields(link), "target": printable(target)} for link, target in watched.links],
        "unreadable": [printable(directory) for directory in watched.unreadable],
        "warnings": root_warnings(
            watched.root.path,
            directories=watched.directories,
            links=watched.links,
            unreadable=watched.unreadable,
            missing=watched.missing,
        ),
    }
