"""How the bytes of a chunk of an array were made, as the description of the array states it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MAX_DIMENSIONS = 64


@dataclass(frozen=True, slots=True)
class Coding:
    """How the bytes of a chunk were made: compressed or not, and whether an index of its one part follows them."""

    compressed: bool
    indexed: bool = False
    big_endian: bool = False


def second(described: dict[str, Any], shape: tuple[int, ...]) -> Coding | None:
    """The coding that the second version of zarr states; None for one that is not read."""
    compressor = described.get("compressor")
    coded = compressor is not None and not (type(compressor) is dict and compressor.get("id") == "zstd")
    if coded or sizes(described.get("chunks")) != shape or described.get("order") != "C" or described.get("filters"):
        return None
    return Coding(compressor is not None, big_endian=str(described.get("dtype")).startswith(">"))


def third(described: dict[str, Any], shape: tuple[int, ...]) -> Coding | None:
    """The coding that the third version states; None for one that is not read."""
    grid = _named(described.get("chunk_grid"), "regular")
    codecs = described.get("codecs")
    if grid is None or sizes(grid.get("chunk_shape")) != shape or type(codecs) is not list or not codecs:
        return None
    inner = _named(codecs[0], "sharding_indexed")
    if inner is None:
        return _plain(codecs)
    index = inner.get("index_codecs")
    checked = type(index) is list and len(index) == 2 and _named(index[1], "crc32c") is not None
    part = _plain(inner.get("codecs"))
    whole = len(codecs) == 1 and checked and sizes(inner.get("chunk_shape")) == shape
    at_end = inner.get("index_location", "end") == "end"
    return Coding(part.compressed, indexed=True) if part is not None and whole and at_end else None


def _plain(codecs: Any) -> Coding | None:
    """The coding of little-endian bytes, compressed or not."""
    if type(codecs) is not list or not 1 <= len(codecs) <= 2:
        return None
    order = _named(codecs[0], "bytes")
    if order is None or order.get("endian", "little") != "little":
        return None
    if len(codecs) == 2 and _named(codecs[1], "zstd") is None:
        return None
    return Coding(len(codecs) == 2)


def _named(value: Any, name: str) -> dict[str, Any] | None:
    """The configuration of a part of that name; None for another."""
    if type(value) is not dict or value.get("name") != name:
        return None
    found = value.get("configuration", {})
    return found if type(found) is dict else None


def sizes(value: Any) -> tuple[int, ...] | None:
    """A list of sizes as a shape; None for anything else."""
    if type(value) is not list or len(value) > _MAX_DIMENSIONS:
        return None
    if not all(type(size) is int and 0 <= size < 1 << 60 for size in value):
        return None
    return tuple(value)
