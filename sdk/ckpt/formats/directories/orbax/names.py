"""Names in Orbax's checkpoints, and what is one by them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ckpt.formats.suffixes import may_tell

STEP = "_CHECKPOINT_METADATA"
TEMPORARY = ".orbax-checkpoint-tmp"
NAMES = "_METADATA"
DATABASE = "manifest.ocdbt"
_SHARDING = "_sharding"


def is_orbax(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By the metadata that Orbax alone writes, and by the suffix of a temporary directory that something is in."""
    if STEP in files or (NAMES in files and (DATABASE in files or _SHARDING in files)):
        return True
    return TEMPORARY in name and (bool(directories) or any(map(may_tell, files)))
