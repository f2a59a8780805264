"""Shapes that pages of several topics answer with."""

from __future__ import annotations

from typing import Any

from ckpt.encoding import path_fields, printable
from ckpt.protocol import checkpoint_to_json, run_to_json
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckptd.catalog.catalog import Catalog
from ckptd.roots.advice import root_warnings
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched
from ckptd.space.space import Outlook, Space


def named(view: RunView, checkpoint: Checkpoint) -> dict[str, Any]:
    """One checkpoint with its run: what an address stands for."""
    shown = checkpoint_to_json(checkpoint, view.verdict(checkpoint.id))
    return {"run": run_to_json(view.run), "checkpoint": shown}


def known(catalog: Catalog) -> tuple[int, int]:
    """How many runs and checkpoints are known so far."""
    views = catalog.all()
    return len(views), sum(len(view.checkpoints) for view in views)


class RootsShown:
    """Watched directories with what lies in them and what is known of their disks."""

    def __init__(self, catalog: Catalog, roots: Roots, space: Space) -> None:
        self._catalog = catalog
        self._roots = roots
        self._space = space

    def one(self, watched: Watched) -> dict[str, Any]:
        """A watched directory as `ckpt status --json` shows it."""
        path = watched.root.path
        runs = [view.run for view in self._catalog.all() if view.run.root == path]
        checkpoints, size = sum(run.checkpoints for run in runs), sum(run.bytes for run in runs)
        return _root_json(watched, len(runs), checkpoints, size, self._space.of(path))

    def all(self) -> list[dict[str, Any]]:
        """Every watched directory."""
        return [self.one(watched) for watched in self._roots.all()]


def _root_json(watched: Watched, runs: int, checkpoints: int, size: int, disk: Outlook) -> dict[str, Any]:
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
