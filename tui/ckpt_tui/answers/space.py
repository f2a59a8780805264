"""`ckpt du`: what runs take on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt.encoding import printable
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.lookup import Lookup, Place, place_of, read_place
from ckpt_tui.running import running

if TYPE_CHECKING:
    from ckpt.records import Run
    from ckpt.trash import TrashEntry


def answer_du(target: str | None, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt du`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        answer = _usage(lookup, target)
        if not answer["runs"]:
            below = f"no run lies below {printable(target)}" if target is not None else None
            out.say(below or "no run is known yet: `ckpt watch add DIR`, or make one with ckpt.Run.create()")

        def human() -> Iterable[str]:
            from ckpt_tui.render.space import usage_lines

            return usage_lines(answer, paint=out.paint, width=out.width) if answer["runs"] else ()

        out.data(answer, ids=[run["run"] for run in answer["runs"]], human=human)


def _usage(lookup: Lookup, target: str | None) -> Mapping[str, Any]:
    """The answer for one run, for the runs below a directory, or for all. Raises AddressError."""
    below = runs_below(target) if target is not None else None
    place = place_of(target) if target is not None and below is None else None
    if below is None and place is None:
        answer: Mapping[str, Any] = lookup.client.get("/v1/du", run=target)
        return answer
    from ckpt.scan.usage import usage_to_json

    views = [read_place(at) for at in ([Place(place.directory)] if place is not None else map(Place, below or []))]
    runs = [view.run for view in views]
    return {**usage_to_json(views, _trashed(runs, target or ".")), "disks": _disks(run.path for run in runs)}


def _trashed(runs: Iterable[Run], target: str) -> dict[str, int]:
    """The bytes in the trash by run: its own, or that of the directory that holds it."""
    from ckpt.paths import RunPaths
    from ckpt.trash import Trash, placing

    found: dict[str, int] = {}
    shared: dict[str, list[TrashEntry]] = {}
    for run in runs:
        if run.own:
            trash = RunPaths(Path(run.path)).trash
            found[run.id] = sum(entry.bytes for entry in Trash(trash).entries()) if trash.is_dir() else 0
            continue
        for root in {run.root, os.path.abspath(target)}:
            if root not in shared:
                shared[root] = [entry for place in placing.existing(root) for entry in place.open().entries()]
            inside = f"{run.path.rstrip('/')}/"
            found[run.id] = found.get(run.id, 0) + sum(e.bytes for e in shared[root] if e.path.startswith(inside))
    return found


def _disks(paths: Iterable[str]) -> list[dict[str, Any]]:
    """The disks that some directories lie on; nobody foresees anything here."""
    from ckpt.scan.usage import disk_to_json

    found: dict[int, dict[str, Any]] = {}
    for path in paths:
        try:
            device = os.stat(path).st_dev
            if device in found:
                continue
            room = os.statvfs(path)
        except OSError:
            continue
        found[device] = disk_to_json(path, free=room.f_bavail * room.f_frsize, total=room.f_blocks * room.f_frsize)
    return list(found.values())
