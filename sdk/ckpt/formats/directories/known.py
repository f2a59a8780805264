"""The kinds of checkpoint directories, in the order in which they are asked whether a directory is theirs."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ckpt.formats.directories.kind import Kind

KINDS: tuple[type[Kind], ...] = ()


def recognise(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> type[Kind] | None:
    """The kind of checkpoint that a directory of that name with these names directly in it is; None for no checkpoint.

    Opens nothing, so it is as cheap as the listing.
    """
    for kind in KINDS:
        if kind.recognise(name, files, directories):
            return kind
    return None
