"""Storages, which a pickle names by persistent ids: their bytes lie elsewhere in the file."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.values import Global, Home, Opaque, Storage


def storage(reference: Any, home: Home | None) -> Any:
    """The storage in `home` that a persistent id names; opaque when it is not torch's kind of id."""
    if type(reference) is not tuple:
        return Opaque("persistent id", (reference,))
    if len(reference) >= 5 and reference[0] == "storage" and type(reference[1]) is Global:
        _, kind, name, location, count, *_ = reference
        if kind.dtype is not None and type(name) is str and type(location) is str and type(count) is int and count >= 0:
            return Storage(kind.dtype, name, location, count, home)
    return Opaque("persistent id", reference)
