"""Compares two checkpoints, files or directories: metadata, metrics, configuration, other values, tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ckpt.diff.keys import CONTAINER_FACTS, changes, facts, flattened, leaves
from ckpt.diff.keys import metrics as measured
from ckpt.diff.naming import prefixes
from ckpt.diff.record import Difference, KeyChange, TensorChange
from ckpt.diff.streams import equal_bytes
from ckpt.encoding import printable
from ckpt.exceptions import CorruptError, FormatError, IncompleteError
from ckpt.formats.containers.tensors import Placed, whole_storage
from ckpt.formats.meanings.layout import Layout
from ckpt.formats.meanings.layouts import PLAIN, recognise
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.reading import Opened, opened
from ckpt.formats.source import Unfinished, Unreadable


def diff(a: Path | str, b: Path | str, *, quick: bool = False) -> Difference:
    """What differs between two checkpoints, files or directories. Their paths and times do not count.

    Tensors are compared by their names, in which a prefix that only one side has does not count (`prefixes`), and bit
    by bit: by reading them in pieces of at most 1 MB. A checksum that a file states says what its writer meant to
    write, so equal ones are believed only when `quick`, and counted in `by_checksum`; where those of whole storages
    differ, nothing has to be read.
    Raises IncompleteError, CorruptError or FormatError for a file that cannot be compared, OSError.
    """
    with opened(a) as file_a, opened(b) as file_b:
        for file in (file_a, file_b):
            _require_whole(file)
        try:
            return _compare(file_a, file_b, quick)
        except Unfinished as error:
            raise IncompleteError(f"a file changed while it was compared: {error.problem}") from None
        except Unreadable as error:
            raise CorruptError(f"the tensors cannot be compared: {printable(error.problem)}") from None


def _require_whole(file: Opened) -> None:
    known = file.inspection
    name = printable(known.path)
    why = "; ".join(known.problems) or known.state
    if known.state == "incomplete":
        raise IncompleteError(f"{name} is not complete: {why}", hint="compare it again when its writer is done")
    if known.state != "complete":
        kind = FormatError if known.framework == "unknown" else CorruptError
        raise kind(f"{name} cannot be compared: {why}", hint=f"ckpt inspect {name} shows what is left of it")
    if known.problems or file.content is None:
        raise FormatError(
            f"{name} cannot be compared as a whole: {why}", hint=f"ckpt inspect {name} shows what was read"
        )


def _compare(file_a: Opened, file_b: Opened, quick: bool) -> Difference:
    a, b = file_a.inspection, file_b.inspection
    metadata = changes(facts(file_a), facts(file_b))
    metrics = changes(measured(file_a), measured(file_b))
    config = changes(flattened(a.config), flattened(b.config))
    values = changes(leaves(file_a), leaves(file_b))
    off = prefixes([p.info.name for p in file_a.tensors], [p.info.name for p in file_b.tensors])
    left, right = _named(file_a, off[0]), _named(file_b, off[1])
    added = tuple(placed.info.name for name, placed in right.items() if name not in left)
    removed = tuple(placed.info.name for name, placed in left.items() if name not in right)
    shared = {name: (placed, right[name]) for name, placed in left.items() if name in right}
    believed = _equal_by_checksum(shared, file_a, file_b) if quick else frozenset()
    changed = _changed({name: pair for name, pair in shared.items() if name not in believed}, file_a, file_b)
    # When it was saved is no part of what it holds: the same state saved twice is the same.
    moments = {place for file in (file_a, file_b) for place in _layout_of(file).saved_at}
    untimely = any(change.key not in moments for change in values)
    same = not (metrics or config or untimely or added or removed or changed or any(off)) and all(
        change.key in CONTAINER_FACTS or change.key == "saved_at" for change in metadata
    )
    return Difference(
        a=a.path,
        b=b.path,
        same=same,
        metadata=metadata,
        metrics=metrics,
        config=config,
        values=_untold(values, file_a, metadata, metrics, config),
        added=added,
        removed=removed,
        changed=changed,
        identical=len(shared) - len(changed),
        by_checksum=len(believed),
        prefixes=off,
    )


def _named(file: Opened, prefix: str) -> dict[str, Placed]:
    return {placed.info.name.removeprefix(prefix): placed for placed in file.tensors}


def _layout_of(file: Opened) -> Layout:
    return recognise(mapping_of(file.content.top) or {}) if file.content is not None else PLAIN


def _untold(
    values: tuple[KeyChange, ...],
    file: Opened,
    metadata: tuple[KeyChange, ...],
    metrics: tuple[KeyChange, ...],
    config: tuple[KeyChange, ...],
) -> tuple[KeyChange, ...]:
    """The values that do not stand in one of the other lists under their meaning."""
    layout = _layout_of(file)
    facts_told = {change.key for change in metadata}
    told = {change.key for change in metrics} | facts_told
    for fact, places in (
        ("epoch", layout.epoch),
        ("step", layout.step),
        ("loss", layout.loss),
        ("learning_rate", layout.learning_rate),
        ("saved_at", layout.saved_at),
    ):
        told.update(places if fact in facts_told else ())
    mappings = (*(layout.metrics if metrics else ()), *((*layout.config, "__metadata__") if config else ()))
    under = tuple(f"{place}." for place in mappings)
    return tuple(change for change in values if change.key not in told and not change.key.startswith(under))


Pairs = Mapping[str, tuple[Placed, Placed]]
"""Tensors of both sides by the name that they share."""


def _equal_by_checksum(pairs: Pairs, file_a: Opened, file_b: Opened) -> frozenset[str]:
    """The tensors of one shape and dtype over whose storages both files state the same checksum."""
    found = []
    for name, (a, b) in pairs.items():
        said_a, said_b = _checksums(a, file_a, b, file_b)
        if said_a is not None and said_a == said_b and a.info.shape == b.info.shape and a.info.dtype == b.info.dtype:
            found.append(name)
    return frozenset(found)


def _checksums(a: Placed, file_a: Opened, b: Placed, file_b: Opened) -> tuple[str | None, str | None]:
    return file_a.inspection.storages.get(a.info.name), file_b.inspection.storages.get(b.info.name)


def _changed(pairs: Pairs, file_a: Opened, file_b: Opened) -> tuple[TensorChange, ...]:
    kinds = {name: _kind(a, file_a, b, file_b) for name, (a, b) in pairs.items()}
    return tuple(
        TensorChange(name=name, kind=kind, a=_described(pairs[name][0]), b=_described(pairs[name][1]))
        for name, kind in kinds.items()
        if kind is not None
    )


def _kind(a: Placed, file_a: Opened, b: Placed, file_b: Opened) -> Literal["shape", "dtype", "value"] | None:
    if a.info.shape != b.info.shape:
        return "shape"
    if a.info.dtype != b.info.dtype:
        return "dtype"
    said_a, said_b = _checksums(a, file_a, b, file_b)
    # Other checksums mean other values only where the tensor is all that they are made over.
    told = said_a is not None and said_b is not None and whole_storage(a) and whole_storage(b)
    if told and said_a != said_b:
        return "value"
    return None if equal_bytes(a, b) else "value"


def _described(placed: Placed) -> str:
    return f"{placed.info.dtype} [{', '.join(map(str, placed.info.shape))}]"
