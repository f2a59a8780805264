"""From one checkpoint on disk to its record: read through the cache, its state judged by when it was written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ckpt.encoding import printable
from ckpt.formats import Inspection
from ckpt.marks import Marks
from ckpt.records import Checkpoint, checkpoint_id
from ckpt.scan.cache import Cache, identity
from ckpt.scan.called import completed
from ckpt.scan.failing import UNREADABLE, is_exhausted
from ckpt.scan.merging import merged
from ckpt.scan.occupied import touched, unique
from ckpt.scan.units import Unit, size

SETTLE_S = 30.0  # what is not whole and was written to within this time may still be being written


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of a checkpoint with what was read for it; None where it could not be read."""

    unit: Unit
    checkpoint: Checkpoint
    inspection: Inspection | None = None

    def pointed(self) -> Recorded:
        """The same, as one that the trainer would go on from."""
        return replace(self, checkpoint=self.checkpoint.evolve(pointed=True))


def record(unit: Unit, run_id: str, cache: Cache, marks: Marks, now: float) -> Recorded | None:
    """The record of a checkpoint of a foreign run; None when it has gone. Raises OSError where the system fails."""
    try:
        found = completed(unit.name, _inspected(unit, cache))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        # It is not what it was when it was listed.
        return None
    except OSError as error:
        if is_exhausted(error):
            raise
        return Recorded(unit, _unreadable(unit, run_id, marks, error))
    # A clock that stands elsewhere, as on a file server, may be a little ahead.
    unsettled = found.state != "complete" and abs(now - unit.touched) < SETTLE_S
    checkpoint = Checkpoint(
        id="",
        run=run_id,
        path=unit.path,
        framework=found.framework,
        format=found.format,
        state="writing" if unsettled else found.state,
        step=found.step,
        epoch=found.epoch,
        loss=found.loss,
        learning_rate=found.learning_rate,
        metrics=found.metrics,
        bytes=size(unit.entries),
        unique_bytes=unique(entry.info for entry in unit.names),
        kinds=found.kinds,
        saved_at=unit.newest,
        touched_at=_touched_at(unit),
        fingerprint=found.fingerprint,
        files=unit.paths,
        problems=() if unsettled else found.problems,
        held_by=tuple(f"also named {printable(name)}" for name, _ in unit.aliases),
    )
    unread = found.fingerprint == UNREADABLE
    known = _id_unread(unit, run_id, marks) if unread else checkpoint_id(run_id, unit.name, content_of(checkpoint))
    named = checkpoint.evolve(id=known)
    return Recorded(unit, named, found)


def content_of(checkpoint: Checkpoint) -> str:
    """What stands for a foreign checkpoint's content in its id; one that is being written has none yet."""
    return "writing" if checkpoint.state == "writing" else checkpoint.fingerprint or f"{checkpoint.bytes}"


def _touched_at(unit: Unit) -> float:
    own = [] if unit.directory is None else [unit.directory.info]
    return touched([*own, *(entry.info for entry in unit.entries)])


def _inspected(unit: Unit, cache: Cache) -> Inspection:
    directory = unit.directory
    if directory is not None:
        members = tuple((e.name, identity(e.info)) for e in (*directory.members, *directory.beside))
        try:
            return cache.inspect(directory.path, directory.info, members)
        except IsADirectoryError:
            if directory.members:
                raise
            return Inspection(path=directory.path, format="directory", state="incomplete", problems=("it is empty",))
    return merged([(file.name, cache.inspect(file.path, file.info)) for file in unit.files], unit.sides)


def _unreadable(unit: Unit, run_id: str, marks: Marks, error: OSError) -> Checkpoint:
    """A checkpoint that is there and cannot be read."""
    return Checkpoint(
        id=_id_unread(unit, run_id, marks),
        run=run_id,
        path=unit.path,
        framework="unknown",
        format="unknown",
        state="corrupt",
        bytes=size(unit.entries),
        unique_bytes=unique(entry.info for entry in unit.names),
        saved_at=unit.newest,
        touched_at=_touched_at(unit),
        fingerprint=UNREADABLE,
        files=unit.paths,
        problems=(f"cannot be read: {error.strerror}",),
    )


def _id_unread(unit: Unit, run_id: str, marks: Marks) -> str:
    """The id of what could not be read. It may be what it was, so what was said of it stays said."""
    marked = [known for known, file in marks.files.items() if file == unit.name]
    return marked[-1] if marked else checkpoint_id(run_id, unit.name, UNREADABLE)
