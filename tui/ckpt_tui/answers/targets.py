"""From addresses to the checkpoints that are read whole, as their runs know them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckpt.exceptions import AddressError
from ckpt.protocol import checkpoint_from_json, run_from_json
from ckpt.records import Checkpoint, Run
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.lookup import Lookup, Place, other_parts, place_of, read_place


@dataclass(frozen=True)
class Target:
    """A checkpoint to verify. `id` is None for a file that is no checkpoint of a run.

    `state` and `problems` are what its run says of it, which knows more than its bytes: whether it was committed.
    """

    path: str
    bytes: int
    id: str | None = None
    state: str = "complete"
    problems: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    """The other files of a checkpoint of several."""
    own: bool = False
    """Whether it is of an own run, whose lock tells what is being written."""
    named: bool = False
    """Whether it was named itself, and not its run."""


def all_targets(lookup: Lookup) -> Iterator[Target]:
    """Every checkpoint of every known run."""
    for raw in lookup.client.get("/v1/runs")["runs"]:
        yield from _of_view(lookup.client.get("/v1/run", run=run_from_json(raw).id))


def targets(lookup: Lookup, ref: str) -> Iterator[Target]:
    """What an address stands for: all of a run, of the runs below a directory, or one. Raises AddressError."""
    below = runs_below(ref)
    if below is not None:
        from ckpt.scan import run_view_to_json

        for directory in below:
            yield from _of_view(run_view_to_json(read_place(Place(directory))))
    elif lookup.names_run(ref):
        yield from _of_view(lookup.view(ref))
    else:
        yield replace(_one(lookup, ref), named=True)


def settled(target: Target) -> Target:
    """A checkpoint of a foreign run as the run has it once the time is over in which it may be being written.

    As it was where its run has it no more. Raises OSError.
    """
    if target.id is None:
        return replace(target, state="complete")
    from ckpt.scan import read_run, run_of
    from ckpt.scan.recording import SETTLE_S

    directory, _ = run_of(Path(target.path))
    view = read_run(directory, now=time.time() + 2 * SETTLE_S)
    for checkpoint in view.checkpoints:
        if checkpoint.path == target.path:
            return replace(_target(checkpoint, other_parts(checkpoint), own=False), named=target.named)
    return replace(target, state="complete")


def _of_view(view: Mapping[str, Any]) -> Iterator[Target]:
    run = run_from_json(view["run"])
    parts = _parts_below(run)
    for raw in view["checkpoints"]:
        checkpoint = checkpoint_from_json(raw)
        yield _target(checkpoint, parts.get(checkpoint.path, ()), own=run.own)


def _parts_below(run: Run) -> dict[str, tuple[str, ...]]:
    """The further files of a run's checkpoints, by their paths; answers of the daemon do not name them."""
    if run.own:
        return {}
    try:
        view = read_place(Place(Path(run.path)))
    except OSError:
        return {}
    return {checkpoint.path: other_parts(checkpoint) for checkpoint in view.checkpoints}


def _one(lookup: Lookup, ref: str) -> Target:
    try:
        found = lookup.find(ref)
    except AddressError:
        place = place_of(ref)
        if place is None or place.file is None:
            raise
        return _alone(str(place.file))
    parts = other_parts(found.checkpoint) or _parts_below(found.run).get(found.checkpoint.path, ())
    return _target(found.checkpoint, parts, own=found.run.own)


def _alone(path: str) -> Target:
    """What no run has for a checkpoint: verified as what it is."""
    from ckpt.formats import inspect
    from ckpt.scan.recording import SETTLE_S

    found = inspect(path)
    fresh = abs(time.time() - os.stat(path).st_mtime) < SETTLE_S
    return Target(path, found.bytes, state="writing" if fresh and found.state != "complete" else "complete")


def _target(checkpoint: Checkpoint, parts: tuple[str, ...], *, own: bool) -> Target:
    return Target(checkpoint.path, checkpoint.bytes, checkpoint.id, checkpoint.state, checkpoint.problems, parts, own)
