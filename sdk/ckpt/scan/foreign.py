"""Everybody else's runs: what was listed, grouped and read of one, put together."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from ckpt import marks as marks_module
from ckpt import refs, retention
from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.marks import Marks
from ckpt.records import Checkpoint, Run, foreign_run_id
from ckpt.retention import FOREIGN, Merged
from ckpt.scan import facts, live
from ckpt.scan.cache import Cache
from ckpt.scan.failing import is_failing
from ckpt.scan.finding import is_part
from ckpt.scan.listing import Listing, listing
from ckpt.scan.occupied import unique
from ckpt.scan.pointed import marked
from ckpt.scan.pointers import Names, held, written
from ckpt.scan.recording import record
from ckpt.scan.references import references, rewritten
from ckpt.scan.units import size, units
from ckpt.scan.view import RunView, Wishes, assemble, with_marks

FOREIGN_TRAINING_S = 600.0  # a run that was written to within this time counts as training; clocks may be ahead


def read_foreign(
    directory: Path, root: Path, cache: Cache, foreign_marks: Path | None, now: float, listed: Listing | None = None
) -> RunView:
    """The run in a directory. `listed` is what lies there when that is known already.

    Raises OSError where a disk or the system fails.
    """
    relative = os.path.relpath(directory, root)
    run_id = foreign_run_id(str(root), relative)
    marks, doubts = _marks(None if foreign_marks is None else foreign_marks / f"{run_id}.jsonl")
    listed = listing(str(directory)) if listed is None else listed
    problems, unseen = _unlisted(listed)
    found, broken = units(listed)
    problems += broken
    recorded = [made for unit in found if (made := record(unit, run_id, cache, marks, now)) is not None]
    names, said = Names(recorded, str(directory)), written(listed.pointers)
    recorded = marked(recorded, said, names)
    overwritten = rewritten(recorded, now - FOREIGN_TRAINING_S)
    named = held([*said, *references(recorded), *overwritten], names)
    exported = facts.exports(recorded)
    checkpoints = [
        with_marks(_told(made.checkpoint, named.by.get(made.checkpoint.id, ()), exported), marks) for made in recorded
    ]
    problems += named.problems
    problems += _lost(directory, checkpoints, marks)
    updated = max((c.saved_at for c in checkpoints), default=0.0)
    reached = live.reached(directory)
    epoch, step, loss = facts.position(facts.furthest(checkpoints), reached)
    if reached is not None:
        updated = max(updated, reached.at)
    # Data and models that were put there know no step and grow no metrics.
    trains = reached is not None or any(c.state == "writing" or (c.step, c.epoch) != (None, None) for c in checkpoints)
    own = facts.monitor(recorded)
    guessed = {} if own else facts.likely_monitor([made.checkpoint for made in recorded])
    wishes, merged, misunderstood = _understood(Wishes(own=own, origin="trainer", guessed=guessed, said=marks.policy))
    doubts += misunderstood
    problems += [f"{doubt}, so everything is kept" for doubt in doubts]
    wishes = wishes.evolve(doubt="; ".join(dict.fromkeys([*doubts, *unseen, *named.doubts])) or None)
    run = Run(
        id=run_id,
        name=directory.name,
        root=str(root),
        path=str(directory),
        own=False,
        status="training" if trains and abs(now - updated) < FOREIGN_TRAINING_S else "idle",
        updated_at=updated,
        created_at=min((c.saved_at for c in checkpoints if c.saved_at), default=0.0),
        monitor=merged.policy.monitor,
        mode=merged.policy.mode,
        framework=facts.framework(checkpoints),
        config=facts.config(recorded),
        epoch=epoch,
        step=step,
        loss=loss,
        problems=tuple(problems),
    )
    whole = size(entry for made in recorded for entry in made.unit.entries)
    alone = unique(entry.info for made in recorded for entry in made.unit.names)
    situation = FOREIGN.evolve(guessed=merged.guessed)
    return assemble(run, checkpoints, wishes, merged, now, situation=situation, size=whole, unique=alone)


def _marks(file: Path | None) -> tuple[Marks, list[str]]:
    """What was said of the run, and why there may be more. Raises OSError where a disk fails."""
    try:
        return Marks() if file is None else marks_module.read(file), []
    except OSError as error:
        if is_failing(error):
            raise
        return Marks(), [f"what was said of it cannot be read: {error.strerror}"]


def _understood(wishes: Wishes) -> tuple[Wishes, Merged, list[str]]:
    """The wishes without what cannot be used of them, the policy that they make, and why something cannot be used."""
    try:
        return wishes, retention.merge(wishes.layers), []
    except StateError as error:
        hint = f" ({error.hint})" if error.hint else ""
        usable = wishes.evolve(said={})
        return usable, retention.merge(usable.layers), [f"its policy cannot be used: {error.message}{hint}"]


def _unlisted(listed: Listing) -> tuple[list[str], list[str]]:
    """What is wrong with directories of the run, and what that hides. Raises OSError where a disk fails."""
    problems, hidden = [], []
    for name, error in listed.failed:
        if is_failing(error):
            raise error
        problems.append(f"{printable(name)}/ cannot be read: {error.strerror}")
        if is_part(name):
            hidden.append(f"{problems[-1]}, so which checkpoints its trainer needs is not known")
    return problems, hidden


def _told(checkpoint: Checkpoint, held_by: Sequence[str], exported: Collection[str]) -> Checkpoint:
    """The record with what the other checkpoints of the run say of it."""
    label = refs.EXPORT if checkpoint.id in exported else checkpoint.label
    if not held_by and label == checkpoint.label:
        return checkpoint
    changed: Checkpoint = checkpoint.evolve(held_by=(*checkpoint.held_by, *held_by), label=label)
    return changed


def _lost(directory: Path, checkpoints: Sequence[Checkpoint], marks: Marks) -> list[str]:
    """Says what of the pinned and tagged content is gone: rewritten, or removed by whoever owns the run."""
    if not marks.files:
        return []
    ids = {c.id for c in checkpoints}
    names = {os.path.relpath(name, directory) for c in checkpoints for name in c.files}
    lost: dict[str, list[str]] = {}
    for checkpoint, file in marks.files.items():
        said = marks.of(checkpoint)
        words = [*(["pinned"] if said.pinned else []), *(f"tagged {printable(tag)}" for tag in said.tags)]
        if checkpoint not in ids and words:
            lost.setdefault(file, []).extend(words)
    return [
        f"{printable(file)} was {'rewritten' if file in names else 'removed'}: "
        f"the content that was marked ({', '.join(dict.fromkeys(lost[file]))}) is gone"
        for file in sorted(lost)
    ]
