"""Opens a file with the family that recognises it and puts together what it says."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ckpt.encoding import printable
from ckpt.formats.bare_pickle import BarePickle
from ckpt.formats.family import Content, Family, NotACheckpoint, Scalars
from ckpt.formats.meaning import meaning, parameter_count
from ckpt.formats.record import Inspection
from ckpt.formats.safetensors import Safetensors
from ckpt.formats.source import Source, Unreadable
from ckpt.formats.tensors import Placed, collect, hint
from ckpt.formats.torch_legacy import TorchLegacy
from ckpt.formats.torch_zip import TorchZip
from ckpt.formats.walk import Omissions

SUFFIXES: frozenset[str] = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors"})
"""Suffixes of files that may be checkpoints."""

FAMILIES: tuple[type[Family], ...] = (TorchZip, Safetensors, TorchLegacy, BarePickle)
"""Families in the order in which they are asked whether a file is theirs."""

_MAX_UNKNOWN = 200
_MAX_PROBLEM = 400


@dataclass(slots=True)
class Opened:
    """A file that is open for reading: what is known of it, and its tensors' places. `family` is None for no family."""

    source: Source
    inspection: Inspection
    family: Family | None = None
    content: Content | None = None
    tensors: list[Placed] = field(default_factory=list)


@contextmanager
def opened(path: Path | str) -> Iterator[Opened]:
    """The file, open while the context lasts. Raises OSError only; bad content is a state of the inspection."""
    with Source(path) as source:
        result = Opened(source, Inspection(path=source.path, bytes=source.size))
        try:
            with _collector_paused():
                _read(result)
        except Unreadable as error:
            _fail(result, error)
        result.inspection = result.inspection.evolve(bytes_read=source.bytes_read)
        yield result


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
    """What a file says of itself, read without torch, without unpickling and without its tensors' bytes.

    Never raises for bad content: that is state "incomplete" or "corrupt" with `problems`. Raises OSError for a file
    that is missing, unreadable or not a regular file.
    """
    with opened(path) as result:
        return result.inspection


def _read(result: Opened) -> None:
    source = result.source
    if not source.size:
        result.inspection = result.inspection.evolve(state="incomplete", problems=("it is empty",))
        return
    kind = next((family for family in FAMILIES if family.recognise(source)), None)
    if kind is None:
        raise NotACheckpoint("it is not a checkpoint of any known format")
    family = kind(source)
    result.inspection = result.inspection.evolve(framework=family.framework, format=family.format)
    result.family = family
    family.prove()
    content = result.content = family.read()
    result.inspection = result.inspection.evolve(
        fingerprint=content.fingerprint, unknown_globals=content.unknown_globals[:_MAX_UNKNOWN]
    )
    omissions = Omissions()
    found = meaning(content, Scalars(source, family), family.framework)
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
    )
    result.tensors = collect(content.top, family, omissions)
    hints = {placed.info.name: text for placed in result.tensors if (text := hint(placed, family)) is not None}
    result.inspection = result.inspection.evolve(
        parameter_count=parameter_count(content.top, result.tensors),
        tensor_count=len(result.tensors),
        tensors=tuple(placed.info for placed in result.tensors),
        storages=hints,
        problems=tuple(f"left out: {reason}" for reason in omissions.reasons),
    )


def _fail(result: Opened, error: Unreadable) -> None:
    known = result.inspection
    unknown = {"framework": "unknown", "format": "unknown"} if isinstance(error, NotACheckpoint) else {}
    problem = printable(error.problem[:_MAX_PROBLEM])
    result.inspection = known.evolve(state=error.state, problems=(*known.problems, problem), **unknown)
