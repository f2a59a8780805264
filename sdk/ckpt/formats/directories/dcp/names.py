"""Names in a torch distributed checkpoint, and what is one by them."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

METADATA = ".metadata"
DATA = re.compile(r"__(\d{1,9})_\d{1,9}\.distcp")
RANK_METADATA = re.compile(r"__(\d{1,9})\.metadata")
_SUFFIX = ".distcp"
_SUFFIXES = (_SUFFIX, METADATA)


def is_dcp(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """From the first file of its writing on."""
    del name, directories
    few = [file for file in files if file.endswith(_SUFFIXES)]
    return any(file.endswith(_SUFFIX) or RANK_METADATA.fullmatch(file) for file in few)
