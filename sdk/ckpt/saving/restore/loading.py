"""A checkpoint off the disk: proven whole, or the newest one that is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ckpt import refs
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, CheckpointError, CorruptError, FormatError, IncompleteError
from ckpt.records import Checkpoint
from ckpt.saving.envelope import Content, from_envelope
from ckpt.saving.restore.placing import check_location, read_placed
from ckpt.saving.restore.proving import while_proving
from ckpt.scan import RunView
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")


def read_checkpoint(record: Checkpoint, *, map_location: Any = "cpu", verify: bool = True) -> Content:
    """The content of one checkpoint, loaded with `weights_only=True`.

    With `verify` the file is proven whole: torch itself does not notice a flipped bit. Raises as `read_file` does, and
    IncompleteError.
    """
    name = printable(record.path)
    if record.state in ("writing", "incomplete"):
        raise IncompleteError(f"{name} was never committed", hint="load another checkpoint of the run")
    if record.state != "complete":
        raise CorruptError(_damage(record))
    try:
        return read_file(Path(record.path), map_location, verify=verify)
    except FileNotFoundError as error:
        raise CorruptError(f"{name} is gone") from error


def read_file(path: Path, map_location: Any = "cpu", *, verify: bool = True) -> Content:
    """The content of a checkpoint file of any layout, loaded with `weights_only=True`.

    With `verify` its BLAKE3 is compared with the marker beside it, or where there is none each part of it with the
    CRC-32 that the file states. Weights and optimizers go where `map_location` says, all else is on the CPU. A file of
    an older layout is told of in the log and by the content's `migration`. Raises FileNotFoundError, CorruptError,
    FormatError, CheckpointError for a file that is not safe, UsageError for a device that is not here.
    """
    name = printable(str(path))
    check_location(map_location)
    read = partial(read_placed, path, map_location)
    try:
        envelope = while_proving(path, read) if verify else read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorruptError(f"{name} cannot be read: {error.strerror}") from error
    content = from_envelope(envelope, name)
    if content.migration is not None:
        log.log(content.migration.level, "%s was read as %s", name, content.migration)
    return content


def newest_whole(
    view: RunView, *, best: bool = False, map_location: Any = "cpu", verify: bool = True
) -> tuple[Checkpoint, Content]:
    """The newest checkpoint of a run, or its best, that proves whole; those that do not are told of and passed over.

    Raises AddressError when there is nothing to load, and CorruptError when nothing of it is whole.
    """
    damaged: list[tuple[Checkpoint, str]] = []
    for record in _candidates(view, best):
        try:
            content = read_checkpoint(record, map_location=map_location, verify=verify)
        except (CheckpointError, FormatError) as error:
            damaged.append((record, error.message))
            continue
        if not best:
            damaged += [(c, _damage(c)) for c in view.checkpoints if _is_lost(c) and c.saved_at > record.saved_at]
        if damaged:
            told = "; ".join(reason for _, reason in damaged)
            tell(f"{told}. Loaded {printable(Path(record.path).name)} instead", log)
        return record, content
    if damaged:
        raise CorruptError(
            f"no checkpoint of run '{printable(view.run.name)}' can be loaded: "
            + "; ".join(reason for _, reason in damaged),
            hint="`ckpt trash ls` shows what can still be restored",
        )
    what = f"with a finite {printable(view.plan.policy.metric)}" if best else "that is complete"
    raise AddressError(
        f"run '{printable(view.run.name)}' has no checkpoint {what}",
        hint="load_best=False loads the newest" if best and view.checkpoints else "nothing has been saved in it yet",
    )


def has_any(checkpoints: Iterable[Checkpoint]) -> bool:
    """Whether some of a run's were saved, whole or damaged; then a training goes on from its own."""
    return any(_was_saved(c) for c in checkpoints)


def _damage(record: Checkpoint) -> str:
    return f"{printable(record.path)} is damaged: {'; '.join(record.problems) or record.state}"


def _was_saved(record: Checkpoint) -> bool:
    return record.state in ("complete", "corrupt")


def _is_lost(record: Checkpoint) -> bool:
    """Whether even its place in the order is lost, with its marker."""
    return record.state == "corrupt" and record.seq is None


def _candidates(view: RunView, best: bool) -> Sequence[Checkpoint]:
    committed = [c for c in view.checkpoints if _was_saved(c)]
    if not best:
        return committed
    # A damaged best must be told of, so it takes part in the ranking.
    as_whole = [c.evolve(state="complete") for c in committed]
    ranked = refs.best_first(as_whole, view.plan.policy.metric, view.plan.policy.mode)
    by_path = {c.path: c for c in committed}
    return [by_path[c.path] for c in ranked]
