"""What differs between two checkpoints, as records."""

from __future__ import annotations

from typing import Any, Literal

from ckpt.records import Record


class KeyChange(Record, frozen=True, kw_only=True):
    """One key whose values differ. `only` says that the other side does not have the key at all."""

    key: str
    a: Any = None
    b: Any = None
    only: Literal["a", "b"] | None = None


class TensorChange(Record, frozen=True, kw_only=True):
    """A tensor of that name in both, but not the same one.

    `kind` is the first that differs of shape, dtype, value. The statistics of the values are None where they were not
    asked for or make no sense.
    """

    name: str
    kind: Literal["shape", "dtype", "value"]
    a: str
    """Shape and dtype in a, as text: float32 [3, 4]."""
    b: str
    max_abs: float | None = None
    l2: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None


class Difference(Record, frozen=True, kw_only=True):
    """What differs between two checkpoints.

    `same` is about what they hold; where that is equal, another container (`format`, `bytes`) is listed in `metadata`
    and does not make them differ.
    """

    a: str
    b: str
    same: bool
    metadata: tuple[KeyChange, ...] = ()
    metrics: tuple[KeyChange, ...] = ()
    config: tuple[KeyChange, ...] = ()
    """By dotted keys."""
    values: tuple[KeyChange, ...] = ()
    """Everything else that is no tensor: optimizer options, scheduler positions, generator states …"""
    added: tuple[str, ...] = ()
    """Tensors that only b has."""
    removed: tuple[str, ...] = ()
    """Tensors that only a has."""
    changed: tuple[TensorChange, ...] = ()
    identical: int = 0
    """Number of tensors that are equal bit by bit."""
    by_checksum: int = 0
    """How many of the identical ones were taken as such by the checksums that the files state, and not read."""
    prefixes: tuple[str, str] = ("", "")
    """What was taken off the names of a's and of b's tensors to compare them; two that differ so are not `same`."""
