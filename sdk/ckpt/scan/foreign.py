"""Everybody else's checkpoints: files that lie together are a run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckpt import marks as marks_module
from ckpt import refs
from ckpt.encoding import printable
from ckpt.marks import Marks
from ckpt.records import Checkpoint, Run, checkpoint_id, foreign_run_id
from ckpt.retention import Policy
from ckpt.scan.cache import Cache
from ckpt.scan.failing import UNREADABLE, is_exhausted, is_failing
from ckpt.scan.finding import checkpoint_parts, may_be_checkpoint
from ckpt.scan.view import RunView, assemble, with_marks

FOREIGN_TRAINING_S = 600.0  # a run that was written to within this time counts as training
SETTLE_S = 30.0  # a file that is not whole and was written to within this time may still be being written


def read_foreign(directory: Path, root: Path, cache: Cache, foreign_marks: Path | None, now: float) -> RunView:
    relative = os.path.relpath(directory, root)
    run_id = foreign_run_id(str(root), relative)
    marks = Marks() if foreign_marks is None else marks_module.read(foreign_marks / f"{run_id}.jsonl")
    problems: list[str] = []
    checkpoints = []
    for paths in _files_by_inode([directory, *checkpoint_parts(directory)], problems):
        checkpoint = _foreign_checkpoint(directory, run_id, paths, cache, marks, now)
        if checkpoint is not None:
            checkpoints.append(with_marks(checkpoint, marks))
    problems += _rewritten(directory, checkpoints, marks)
    frameworks = {c.framework for c in checkpoints if c.fingerprint != UNREADABLE}
    updated = max((c.saved_at for c in checkpoints), default=0.0)
    newest = refs.newest_first(checkpoints)[:1]
    monitor = _common_monitor(checkpoints)
    run = Run(
        id=run_id,
        name=directory.name,
        root=str(root),
        path=str(directory),
        own=False,
        status="training" if 0 <= now - updated < FOREIGN_TRAINING_S else "idle",
        updated_at=updated,
        created_at=min((c.saved_at for c in checkpoints if c.saved_at), default=0.0),
        monitor=monitor,
        mode=refs.mode_for(monitor) if monitor else "min",
        framework=frameworks.pop() if len(frameworks) == 1 else "unknown",
        epoch=newest[0].epoch if newest else None,
        step=newest[0].step if newest else None,
        loss=newest[0].loss if newest else None,
        problems=tuple(problems),
    )
    policy = Policy().evolve(monitor=run.monitor, mode=run.mode)
    return assemble(run, checkpoints, policy, now)


def _files_by_inode(directories: Iterable[Path], problems: list[str]) -> list[list[str]]:
    """Checkpoint files, each with all its names: regular name first, then hard links and symbolic links.

    Raises OSError where a disk fails.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    links: list[str] = []
    for directory in directories:
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda e: e.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            if is_failing(error):
                raise
            problems.append(f"{printable(directory.name)}/ cannot be read: {error.strerror}")
            continue
        for entry in entries:
            if not may_be_checkpoint(entry.name):
                continue
            if entry.is_symlink():
                links.append(entry.path)
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode):
                groups.setdefault((info.st_dev, info.st_ino), []).append(entry.path)
    for link in links:
        try:
            info = os.stat(link)
        except OSError:
            problems.append(f"{printable(os.path.basename(link))} points to nothing")
            continue
        if (info.st_dev, info.st_ino) in groups:
            groups[info.st_dev, info.st_ino].append(link)
    return list(groups.values())


def _foreign_checkpoint(
    directory: Path, run_id: str, names: list[str], cache: Cache, marks: Marks, now: float
) -> Checkpoint | None:
    path = names[0]
    relative = os.path.relpath(path, directory)
    try:
        info = os.stat(path, follow_symlinks=False)
        found = cache.inspect(path, info)
    except FileNotFoundError:
        return None
    except OSError as error:
        if is_exhausted(error):
            raise
        return _unreadable(run_id, names, relative, marks, error)
    # A clock that stands elsewhere, as on a file server, may be a little ahead.
    unsettled = found.state != "complete" and abs(now - info.st_mtime) < SETTLE_S
    checkpoint = Checkpoint(
        id="",
        run=run_id,
        path=path,
        framework=found.framework,
        format=found.format,
        state="writing" if unsettled else found.state,
        step=found.step,
        epoch=found.epoch,
        loss=found.loss,
        learning_rate=found.learning_rate,
        metrics=found.metrics,
        bytes=info.st_size,
        saved_at=info.st_mtime,
        fingerprint=found.fingerprint,
        files=tuple(names),
        problems=() if unsettled else found.problems,
        held_by=tuple(f"also named {printable(os.path.relpath(name, directory))}" for name in names[1:]),
    )
    named: Checkpoint = checkpoint.evolve(id=checkpoint_id(run_id, relative, content_of(checkpoint)))
    return named


def _unreadable(run_id: str, names: list[str], relative: str, marks: Marks, error: OSError) -> Checkpoint:
    """A file that is there and cannot be read. It may be what it was, so what was said of it stays said."""
    marked = [known for known, file in marks.files.items() if file == relative]
    try:
        info = os.stat(names[0], follow_symlinks=False)
        size, saved_at = info.st_size, info.st_mtime
    except OSError:
        size, saved_at = 0, 0.0
    return Checkpoint(
        id=marked[-1] if marked else checkpoint_id(run_id, relative, UNREADABLE),
        run=run_id,
        path=names[0],
        framework="unknown",
        format="unknown",
        state="corrupt",
        bytes=size,
        saved_at=saved_at,
        fingerprint=UNREADABLE,
        files=tuple(names),
        problems=(f"cannot be read: {error.strerror}",),
    )


def content_of(checkpoint: Checkpoint) -> str:
    """What stands for a foreign checkpoint's content in its id; one that is being written has none yet."""
    return "writing" if checkpoint.state == "writing" else checkpoint.fingerprint or f"{checkpoint.bytes}"


def _rewritten(directory: Path, checkpoints: Sequence[Checkpoint], marks: Marks) -> list[str]:
    """Says of which marked files the content that was marked is gone."""
    ids = {c.id for c in checkpoints}
    names = {os.path.relpath(name, directory) for c in checkpoints for name in c.files}
    lost = {
        file
        for marked, file in marks.files.items()
        if marked not in ids and file in names and (marked in marks.pins or marked in marks.tags.values())
    }
    return [f"{printable(file)} was rewritten: the content that was marked is gone" for file in sorted(lost)]


def _common_monitor(checkpoints: Sequence[Checkpoint]) -> str | None:
    """A metric that a foreign run can be compared by: the validation loss, else the loss, when recorded."""
    known = {name for c in checkpoints for name in c.metrics}
    for name in ("val_loss", "eval_loss", "valid_loss"):
        if name in known:
            return name
    return "loss" if any(c.value("loss") is not None for c in checkpoints) else None
