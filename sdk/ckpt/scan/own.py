"""Runs that the SDK made: manifest, commit markers, marks, states."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ckpt import files, refs
from ckpt import marks as marks_module
from ckpt.encoding import metrics_from_disk, printable
from ckpt.exceptions import StateError
from ckpt.marks import Marks
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, POINTER_NAMES, PRUNER, RunPaths, is_temporary
from ckpt.records import Checkpoint, CheckpointState, Lineage, Run, RunStatus, checkpoint_id, foreign_run_id
from ckpt.retention import OWN, Merged, Policy, merge
from ckpt.scan.cache import Cache, identity
from ckpt.scan.failing import UNREADABLE, is_exhausted, is_failing
from ckpt.scan.numbers import count_or_none, number, number_or_none, whole_or_none
from ckpt.scan.occupied import touched, unique
from ckpt.scan.view import RunView, Wishes, assemble, with_marks

STALLED_AFTER_S = 900.0
_TAIL = 1 << 16  # bytes at the end of states.jsonl in which the last whole line is looked for


def read_own(directory: Path, root: Path, cache: Cache, now: float) -> RunView:
    paths = RunPaths(directory)
    problems: list[str] = []
    try:
        manifest = files.read_json(paths.manifest, limit=16 << 20)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("id"), str):
            raise ValueError("no id in it")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_failing(error):
            raise
        problems.append(f"run.json cannot be used: {error}")
        manifest = {}
    run_id = str(manifest.get("id") or foreign_run_id(str(root), os.path.relpath(directory, root)))
    lock = files.FileLock(paths.lock)
    # The daemon holds the lock while it prunes; that is no training.
    training = not lock.is_free() and lock.holder().get("program") != PRUNER
    marks, doubt = Marks(), None
    try:
        marks = marks_module.read(paths.marks)
    except OSError as error:
        if is_failing(error):
            raise
        doubt = f"marks.jsonl cannot be read: {error.strerror}"
    wishes, merged = _wishes_of(manifest, marks, doubt)
    if wishes.doubt is not None:
        problems.append(f"{wishes.doubt}, so everything is kept")
    checkpoints = _own_checkpoints(paths, run_id, cache, marks, training, problems)
    epoch, step, loss = _reached(paths.states, checkpoints)
    stamps = [c.saved_at for c in checkpoints] + [number(manifest.get("created"), 0.0)]
    for path in (paths.states, paths.manifest):
        try:
            stamps.append(path.stat().st_mtime)
        except OSError:
            continue
    updated = max(stamps)
    parent = manifest.get("parent")
    run = Run(
        id=run_id,
        name=directory.name,
        root=str(root),
        path=str(directory),
        own=True,
        status=_own_status(manifest, training, now - updated),
        parent=_lineage(parent),
        updated_at=updated,
        created_at=number(manifest.get("created"), 0.0),
        monitor=merged.policy.monitor,
        mode=merged.policy.mode,
        framework="ckpt",
        config=manifest["config"] if isinstance(manifest.get("config"), dict) else {},
        epoch=epoch,
        step=step,
        loss=loss,
        problems=tuple(problems),
    )
    situation = OWN.evolve(own_policy=merged.only(wishes.origin))
    return assemble(run, checkpoints, wishes, merged, now, situation=situation)


def _wishes_of(manifest: dict[str, Any], marks: Marks, doubt: str | None) -> tuple[Wishes, Merged]:
    """What is asked for in the run itself, and the policy that it makes."""
    raw = manifest.get("policy") or {}
    monitor, mode = manifest.get("monitor"), "max" if manifest.get("mode") == "max" else "min"
    followed: dict[str, Any] = {"monitor": "loss", "mode": "min"}
    if isinstance(monitor, str):
        followed = {"monitor": monitor, "mode": mode}
    try:
        policy = Policy.from_json(raw)
        own = policy.asked if policy.monitor is not None or policy.unmonitored else {**policy.asked, **followed}
        wishes = Wishes(own=own, said=marks.policy, doubt=doubt)
        return wishes, merge(wishes.layers)
    except StateError as error:
        hint = f" ({error.hint})" if error.hint else ""
        wishes = Wishes(own=followed, doubt=doubt or f"its policy cannot be used: {error.message}{hint}")
        return wishes, merge(wishes.layers)


def _own_checkpoints(
    paths: RunPaths, run_id: str, cache: Cache, marks: Marks, training: bool, problems: list[str]
) -> list[Checkpoint]:
    try:
        with os.scandir(paths.checkpoints) as listing:
            entries = {entry.name: entry for entry in listing}
    except FileNotFoundError:
        return []
    except OSError as error:
        if is_failing(error):
            raise
        problems.append(f"checkpoints/ cannot be read: {error.strerror}")
        return []
    checkpoints = []
    # A link is another name of a checkpoint, not one more.
    pointers = {name for name, entry in entries.items() if entry.is_symlink()} | POINTER_NAMES
    others = _hard_links(entries[name] for name in POINTER_NAMES if name in entries)
    for name, entry in entries.items():
        if name.endswith(MARKER_SUFFIX):
            if name[: -len(MARKER_SUFFIX)] + CHECKPOINT_SUFFIX not in entries and not is_temporary(name):
                problems.append(f"{printable(name)} has no checkpoint beside it")
            continue
        if not name.endswith(CHECKPOINT_SUFFIX) or name in pointers or is_temporary(name):
            continue
        marker = entries.get(name[: -len(CHECKPOINT_SUFFIX)] + MARKER_SUFFIX)
        try:
            checkpoint = _own_checkpoint(run_id, entry, marker, cache, training, others)
        except FileNotFoundError:
            continue
        except OSError as error:
            if is_exhausted(error):
                raise
            checkpoint = Checkpoint(
                id=checkpoint_id(run_id, name, UNREADABLE),
                run=run_id,
                path=entry.path,
                framework="ckpt",
                state="corrupt",
                fingerprint=UNREADABLE,
                files=(entry.path,),
                problems=(f"cannot be read: {error.strerror}",),
            )
        if checkpoint is not None:
            checkpoints.append(with_marks(checkpoint, marks))
    ids = {c.id for c in checkpoints}
    names = {os.path.basename(c.path): c for c in checkpoints}
    for marked, file in marks.files.items():
        if marked in ids or file not in names:
            continue
        said = marks.of(marked)
        if said.pinned or said.tags:
            problems.append(f"{printable(file)} was rewritten: the content that was marked is gone")
    return checkpoints


def _own_checkpoint(
    run_id: str,
    entry: os.DirEntry[str],
    marker: os.DirEntry[str] | None,
    cache: Cache,
    training: bool,
    others: Sequence[os.stat_result],
) -> Checkpoint | None:
    """The record of one file without its marks; None when it is no regular file. Raises OSError.

    `others` are the pointers that are names of files.
    """
    info = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(info.st_mode):
        return None
    committed = None if marker is None else _identity_of(marker)
    if marker is None or committed is None:
        return _uncommitted(run_id, entry.path, info, training)
    names = [info, *(other for other in others if os.path.samestat(other, info))]
    # How many blocks are taken may be known only a moment after a file was written.
    origin = (run_id, identity(info), committed, info.st_blocks, len(names))
    known = cache.recall(entry.path, *origin)
    if known is None:
        said = _read_marker(marker.path)
        if said is None:
            return _uncommitted(run_id, entry.path, info, training)
        known = _committed(run_id, entry.path, info, marker.path, said, cache).evolve(
            unique_bytes=unique(names), touched_at=max(touched([info]), *(stamp / 1e9 for stamp in committed[3:]))
        )
        # A marker that cannot be read today may be readable tomorrow, and look the same.
        if said:
            cache.remember(entry.path, known, *origin)
    return known


def _hard_links(pointers: Iterable[os.DirEntry[str]]) -> list[os.stat_result]:
    """What the pointers are that are names of files themselves."""
    found = []
    for entry in pointers:
        with contextlib.suppress(FileNotFoundError):
            found.append(entry.stat(follow_symlinks=False))
    return found


def _identity_of(marker: os.DirEntry[str]) -> tuple[int, ...] | None:
    """What a marker's content hangs on; None when it is not there any more."""
    try:
        return identity(marker.stat())
    except FileNotFoundError:
        return None


def _read_marker(path: str) -> dict[str, Any] | None:
    """The commit marker; None when there is none, {} when it cannot be used. Raises OSError when the disk fails."""
    try:
        marker = files.read_json(Path(path), limit=64 << 20)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_failing(error):
            raise
        return {}
    return marker if isinstance(marker, dict) else {}


def _uncommitted(run_id: str, path: str, info: os.stat_result, training: bool) -> Checkpoint:
    return Checkpoint(
        id=checkpoint_id(run_id, os.path.basename(path), "uncommitted"),
        run=run_id,
        path=path,
        framework="ckpt",
        state="writing" if training else "incomplete",
        bytes=info.st_size,
        unique_bytes=unique([info]),
        saved_at=info.st_mtime,
        touched_at=touched([info]),
        files=(path,),
        problems=() if training else ("it was never committed: its marker is missing",),
    )


def _committed(
    run_id: str, path: str, info: os.stat_result, marker_path: str, marker: dict[str, Any], cache: Cache
) -> Checkpoint:
    inspection = cache.inspect(path, info)
    fingerprint = inspection.fingerprint
    if fingerprint == UNREADABLE:
        # That a reader failed says nothing against the file: its marker is believed.
        fingerprint = str(marker.get("fingerprint") or UNREADABLE)
    problems = list(inspection.problems)
    state: CheckpointState = "complete"
    if not marker:
        problems.append("its marker cannot be read")
        state = "corrupt"
    elif info.st_size != marker.get("bytes") or fingerprint != marker.get("fingerprint"):
        problems.append("it is not what was saved: size or content differ from its marker")
        state = "corrupt"
    elif inspection.state != "complete":
        state = "corrupt"
    return Checkpoint(
        id=checkpoint_id(run_id, os.path.basename(path), fingerprint),
        run=run_id,
        path=path,
        framework="ckpt",
        format=inspection.format,
        state=state,
        seq=whole_or_none(marker.get("seq")),
        attempt=whole_or_none(marker.get("attempt")),
        step=whole_or_none(marker.get("step")),
        epoch=count_or_none(marker.get("epoch")),
        loss=number_or_none(marker.get("loss")),
        learning_rate=number_or_none(marker.get("learning_rate")),
        metrics=metrics_from_disk(marker.get("metrics")),
        bytes=info.st_size,
        kinds=inspection.kinds,
        saved_at=number(marker.get("saved_at"), info.st_mtime),
        label=sys.intern(str(marker["label"])) if marker.get("label") else None,
        fingerprint=fingerprint,
        files=(path, marker_path),
        problems=tuple(problems),
    )


def _own_status(manifest: dict[str, Any], training: bool, silent_s: float) -> RunStatus:
    if training:
        return "stalled" if silent_s > STALLED_AFTER_S else "training"
    ending = manifest.get("ending")
    if ending == "finished":
        return "finished"
    if ending == "failed" or manifest.get("attempts"):
        return "failed"
    return "idle"


def _lineage(raw: Any) -> Lineage | None:
    if not isinstance(raw, dict):
        return None
    checkpoint, path = raw.get("checkpoint"), raw.get("path")
    return Lineage(
        run=str(raw.get("run") or ""),
        checkpoint=None if checkpoint is None else str(checkpoint),
        path=None if path is None else str(path),
    )


def _reached(states: Path, checkpoints: Sequence[Checkpoint]) -> tuple[float | None, int | None, float | None]:
    """Epoch, step and loss of the last emitted state, or of the newest save of a training that emits none."""
    last = _last_state(states)
    if last:
        return (
            count_or_none(last.get("epoch")),
            whole_or_none(last.get("global_step")),
            number_or_none(last.get("loss")),
        )
    for saved in refs.newest_first(checkpoints):
        # The start of a fork tells where its parent was.
        if saved.state == "complete" and saved.label != "fork":
            return saved.epoch, saved.step, saved.loss
    return None, None, None


def _last_state(path: Path) -> dict[str, Any]:
    """The last whole line of a states file; {} when there is none, or the file cannot be read."""
    last: dict[str, Any] = {}
    try:
        start = max(0, path.stat().st_size - _TAIL)
        for line in files.read_json_lines(path, offset=start):
            if isinstance(line, dict):
                last = line
    except OSError:
        return {}
    return last
