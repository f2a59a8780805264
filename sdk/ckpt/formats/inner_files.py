"""Where whole files lie inside other files of a checkpoint directory: the slices of torch distributed checkpoints."""

from __future__ import annotations

from ckpt.formats.directories.dcp.names import METADATA, RANK_METADATA
from ckpt.formats.directories.dcp.reader import DcpReader
from ckpt.formats.directories.folder import Folder
from ckpt.formats.reading import family_of
from ckpt.formats.source import Unreadable

Slice = tuple[int, int]
"""Offset and length in bytes."""


def inner_files(path: str) -> dict[str, list[Slice]]:
    """By the names of the outer files, relative to the directory: the slices that are files of their own, in order.

    A distributed checkpoint may lie anywhere in the directory, as the optimizer of one kind and the model of another
    do. One that cannot be read has none. Raises TooLarge for a directory with more files than are read, OSError.
    """
    found: dict[str, set[Slice]] = {}
    with Folder(path, family_of) as folder:
        for prefix in sorted({name[: name.rfind("/") + 1] for name in folder.files if _describes(name)}):
            reader = DcpReader(folder, prefix)
            try:
                reader.prove()
            except Unreadable:
                continue
            chunks = (chunk.place for tensor in reader.described.tensors.values() for chunk in tensor.chunks)
            for place in (*chunks, *reader.described.values.values()):
                if not place.transforms:
                    found.setdefault(prefix + place.file, set()).add((place.offset, place.length))
    return {name: sorted(slices) for name, slices in found.items()}


def _describes(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last == METADATA or RANK_METADATA.fullmatch(last) is not None
