"""Every save of a run that anything is known of: what is there, what lies in its trash, and what was purged from it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ckpt import files, marks, refs
from ckpt.encoding import metrics_from_disk, printable
from ckpt.marks import MAX_BYTES, Marks
from ckpt.paths import MARKER_SUFFIX, RunPaths
from ckpt.protocol import checkpoint_from_json
from ckpt.records import Checkpoint, Run
from ckpt.retention.rehearsing import History, Reached, Said
from ckpt.scan.live import curves_of
from ckpt.scan.numbers import number
from ckpt.scan.view import RunView
from ckpt.trash.journal import Journal
from ckpt.trash.placing import existing

_POINTS = 100_000  # of a curve; fewer may miss its best


def history(view: RunView, foreign_marks: Path | None = None) -> History:
    """The history of a run. `foreign_marks` is the directory in which marks of foreign runs lie.

    Of a removed checkpoint the record counts that its removal wrote, in the trash's journal. What another tool removed
    is not known. Raises OSError.
    """
    lines = list(_marks_lines(view.run, foreign_marks))
    late = {name: set(metrics) for name, metrics in _ever_attached(lines).items()}
    present = {c.id: c for c in view.checkpoints if c.state == "complete"}
    known = {c.id: c for c in _removed(view.run)} | present
    saves = {c.id: _as_saved(c, late.get(c.id, set()), own=view.run.own) for c in known.values()}
    numbers = {c.seq for c in known.values() if c.seq is not None}
    return History(
        saves=tuple(reversed(refs.newest_first(saves.values()))),
        said=tuple(sorted(_said(lines, saves), key=lambda said: said.at)),
        removed=len(known) - len(present),
        forgotten=max(numbers) - len(numbers) if numbers and min(numbers) > 0 else 0,
        unusable=sum(c.state != "complete" for c in view.checkpoints),
        reached=_reached(Path(view.run.path)),
    )


def _marks_lines(run: Run, foreign_marks: Path | None) -> Iterator[Mapping[str, Any]]:
    if run.own:
        path = RunPaths(Path(run.path)).marks
    elif foreign_marks is not None:
        path = foreign_marks / f"{run.id}.jsonl"
    else:
        return
    for line in files.read_json_lines(path, limit=MAX_BYTES):
        if isinstance(line, dict) and isinstance(line.get("checkpoint"), str):
            yield line


def _ever_attached(lines: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Checkpoint id to the names of all metrics that were ever attached to it."""
    names: dict[str, set[str]] = {}
    folded = Marks()
    for line in lines:
        folded.apply(line)
        checkpoint = line["checkpoint"]
        names.setdefault(checkpoint, set()).update(folded.metrics.get(checkpoint, ()))
    return names


def _removed(run: Run) -> Iterator[Checkpoint]:
    """What was moved to a trash of the run, whether it still lies there or not."""
    trashes = [RunPaths(Path(run.path)).trash] if run.own else [place.trash for place in existing(run.root)]
    for trash in trashes:
        for entry in Journal(trash).entries().values():
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                if entry["run"] == run.id:
                    yield checkpoint_from_json(entry["checkpoint"])


def _as_saved(checkpoint: Checkpoint, late: set[str], *, own: bool) -> Checkpoint:
    """The record before anything was said of it, and before anything else pointed at it."""
    metrics = {name: value for name, value in checkpoint.metrics.items() if name not in late}
    if own and late:
        # Attached values stand before the saved ones in the record; the marker has these.
        marker = Path(checkpoint.path).with_suffix(MARKER_SUFFIX)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            metrics = metrics_from_disk(files.read_json(marker, limit=64 << 20)["metrics"])
    saved: Checkpoint = checkpoint.evolve(
        state="complete",
        metrics=metrics,
        measured={},
        tags=(),
        pinned=False,
        note=None,
        held_by=(),
        pointed=False,
        touched_at=checkpoint.saved_at,
    )
    return saved


def _said(lines: Iterable[Mapping[str, Any]], saves: Mapping[str, Checkpoint]) -> Iterator[Said]:
    """What changed of each checkpoint with each mark."""
    folded = Marks()
    for line in lines:
        holder = folded.tags.get(str(line.get("name"))) if line.get("kind") == "tag" else None
        folded.apply(line)
        for checkpoint in {line["checkpoint"], holder} & saves.keys():
            at = number(line.get("at"), saves[checkpoint].saved_at)
            yield Said(at=at, checkpoint=checkpoint, changes=_with(saves[checkpoint], folded.of(checkpoint)))


def _with(saved: Checkpoint, said: marks.CheckpointMarks) -> dict[str, Any]:
    return {
        "tags": said.tags,
        "pinned": said.pinned,
        "metrics": {**saved.metrics, **{name: late.value for name, late in said.metrics.items()}},
        "held_by": tuple(f"parent of {printable(name)}" for name in said.forks),
    }


def _reached(directory: Path) -> dict[str, Reached]:
    """The lowest and the highest value of each metric that the training wrote as it went."""
    found: dict[str, Reached] = {}
    for name, points in curves_of(directory, _POINTS).items():
        finite = [(value, step) for step, value in points if math.isfinite(value)]
        if finite:
            (low, low_step), (high, high_step) = min(finite), max(finite)
            found[name] = Reached(low=low, low_step=low_step, high=high, high_step=high_step)
    return found
