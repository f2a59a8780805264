"""Opens a checkpoint with what recognises it and puts together what it says."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ckpt.encoding import printable
from ckpt.formats.containers.bare_pickle import BarePickle
from ckpt.formats.containers.claims import unrecognised
from ckpt.formats.containers.family import Content, Family, NotACheckpoint, digest
from ckpt.formats.containers.hdf5 import Hdf5, KerasWeights
from ckpt.formats.containers.keras import Keras
from ckpt.formats.containers.safetensors import Safetensors
from ckpt.formats.containers.sb3 import StableBaselines
from ckpt.formats.containers.tensors import Placed, collect, hint
from ckpt.formats.containers.torch_legacy import TorchLegacy
from ckpt.formats.containers.torch_zip import TorchZip
from ckpt.formats.directories import known
from ckpt.formats.directories.belonging import identifying, is_incidental
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Kind
from ckpt.formats.meanings.meaning import Meaning, meaning
from ckpt.formats.meanings.names import from_name
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.meanings.weights import by_role, kinds, parameter_count
from ckpt.formats.pickled.walk import Omissions
from ckpt.formats.record import Inspection
from ckpt.formats.source import Source, Unfinished, Unreadable

FAMILIES: tuple[type[Family], ...] = (
    Keras,
    StableBaselines,
    TorchZip,
    Safetensors,
    TorchLegacy,
    KerasWeights,
    Hdf5,
    BarePickle,
)
"""Families of files in the order in which they are asked whether a file is theirs."""

_MAX_UNKNOWN = 200
_MAX_PROBLEM = 400


@dataclass(slots=True)
class Opened:
    """A checkpoint that is open for reading: what is known of it, and its tensors' places."""

    inspection: Inspection
    content: Content | None = None
    tensors: list[Placed] = field(default_factory=list)


@contextmanager
def opened(path: Path | str) -> Iterator[Opened]:
    """The checkpoint, open while the context lasts; bad content is a state of the inspection.

    Raises OSError: the path is missing, cannot be read, is no regular file, or a directory that is no checkpoint.
    """
    text = os.fspath(path)
    if os.path.isdir(text):
        with _opened_directory(text) as result:
            yield result
        return
    with Source(text) as source:
        result = Opened(Inspection(path=source.path, bytes=source.size))
        try:
            with _collector_paused():
                _read(result, source)
        except Unreadable as error:
            _fail(result, error)
        result.inspection = result.inspection.evolve(bytes_read=source.bytes_read)
        yield result


@contextmanager
def _opened_directory(path: str) -> Iterator[Opened]:
    kind = kind_of(path)
    if kind is None:
        raise IsADirectoryError(errno.EISDIR, "a directory that is no checkpoint itself", path)
    result = Opened(Inspection(path=path, framework=kind.framework, format=kind.format))
    folder: Folder | None = None
    try:
        try:
            folder = Folder(path, family_of)
            result.inspection = result.inspection.evolve(bytes=folder.size, files=tuple(folder.files))
            with _collector_paused():
                _read_directory(result, kind(folder))
        except Unreadable as error:
            _fail(result, error)
        if folder is not None:
            result.inspection = result.inspection.evolve(bytes_read=folder.bytes_read)
        yield result
    finally:
        if folder is not None:
            folder.close()


@contextmanager
def _collector_paused() -> Iterator[None]:
    # Making many small values sets off the cycle collector again and again, which in a large process takes longer than
    # the reading itself. Nothing here makes cycles that outlive it.
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def inspect(path: Path | str) -> Inspection:
    """What a checkpoint says of itself, read without torch, without unpickling and without its tensors' bytes.

    `path` is a file, or a directory that is one checkpoint. Never raises for bad content: that is state "incomplete" or
    "corrupt" with `problems`. Raises OSError for what is missing, unreadable, or no checkpoint by its kind.
    """
    # Paused until all that was read is gone again: else the collector goes through it just before that.
    with _collector_paused():
        return _inspected(path)


def _inspected(path: Path | str) -> Inspection:
    with opened(path) as result:
        return result.inspection


def kind_of(path: str) -> type[Kind] | None:
    """The kind of checkpoint that a directory is; None when it is none. Raises OSError when it cannot be listed."""
    with os.scandir(path) as listing:
        found = known.recognise_listed(os.path.basename(os.path.abspath(path)), listing)
    return None if found is None else found.load()


def family_of(source: Source) -> Family:
    """The family that recognises a file, opened on it. Raises Damaged or NotACheckpoint where none does, OSError."""
    for family in FAMILIES:
        if family.recognise(source):
            return family(source)
    raise unrecognised(source)


def _read(result: Opened, source: Source) -> None:
    if not source.size:
        result.inspection = result.inspection.evolve(state="incomplete", problems=("it is empty",))
        return
    family = family_of(source)
    result.inspection = result.inspection.evolve(framework=family.framework, format=family.format)
    family.prove()
    content = result.content = family.read()
    result.inspection = result.inspection.evolve(
        fingerprint=content.fingerprint, unknown_globals=content.unknown_globals[:_MAX_UNKNOWN]
    )
    omissions = Omissions()
    for reason in content.omitted:
        omissions.add(reason)
    _tell(result, content, meaning(content, Scalars(), family.framework), omissions)


def _read_directory(result: Opened, opened_as: Kind) -> None:
    folder = opened_as.folder
    for name in folder.dangling:
        if not is_incidental(name):
            raise Unfinished(f"{name} is missing: its link leads to nothing")
    opened_as.prove()
    contents = opened_as.read()
    names = identifying(folder.files, folder.consulted)
    listing = [f"{name}\0{folder.files[name].info.st_size}".encode("utf-8", "surrogateescape") for name in names]
    telling = opened_as.telling(names)
    fingerprint = f"{opened_as.format}:{digest([*listing, *map(folder.print_of, telling)])}"
    unknown = tuple(sorted(set(contents.unknown_globals)))[:_MAX_UNKNOWN]
    content = result.content = Content(contents.top, fingerprint, unknown)
    result.inspection = result.inspection.evolve(fingerprint=fingerprint, unknown_globals=unknown)
    omissions = Omissions()
    for reason in contents.omitted:
        omissions.add(reason)
    _tell(result, content, contents.meaning, omissions)


def _tell(result: Opened, content: Content, found: Meaning, omissions: Omissions) -> None:
    _complete_by_name(found, os.path.basename(os.path.abspath(result.inspection.path)))
    result.inspection = result.inspection.evolve(
        framework=found.framework,
        epoch=found.epoch,
        step=found.step,
        loss=found.loss,
        learning_rate=found.learning_rate,
        saved_at=found.saved_at,
        metrics=found.metrics,
        config=found.config,
        resume=found.resume,
        monitor=found.monitor,
        mode=found.mode,
        references=found.references,
        from_name=found.from_name,
    )
    result.tensors = collect(content.top, omissions)
    grouped = by_role(content.top, result.tensors)
    hints = {placed.info.name: text for placed in result.tensors if (text := hint(placed)) is not None}
    result.inspection = result.inspection.evolve(
        parameter_count=parameter_count(grouped),
        kinds=kinds(content.top, grouped, result.inspection.bytes, content.texts),
        tensor_count=len(result.tensors),
        tensors=tuple(placed.info for placed in result.tensors),
        storages=hints,
        problems=tuple(f"left out: {reason}" for reason in omissions.reasons),
    )


def _complete_by_name(found: Meaning, name: str) -> None:
    """Takes from the name what the content does not say."""
    named = from_name(name, found.framework)
    taken: list[str] = []
    if found.step is None and named.step is not None and not (named.bare and found.epoch is not None):
        found.step = named.step
        taken.append("step")
    if found.epoch is None and named.epoch is not None:
        found.epoch = named.epoch
        taken.append("epoch")
    for metric, value in named.metrics.items():
        if metric not in found.metrics:
            found.metrics[metric] = value
            taken.append(f"metrics.{metric}")
    found.from_name = tuple(taken)


def _fail(result: Opened, error: Unreadable) -> None:
    known_so_far = result.inspection
    unknown = {"framework": "unknown", "format": "unknown"} if isinstance(error, NotACheckpoint) else {}
    problem = printable(error.problem[:_MAX_PROBLEM])
    result.inspection = known_so_far.evolve(state=error.state, problems=(*known_so_far.problems, problem), **unknown)
