"""Names in Megatron's checkpoints, and what is one by them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from ckpt.formats.directories.dcp.names import DATA, METADATA

ITERATION = re.compile(r"(?:iter_(\d{7,12})|release)")
RANK = re.compile(r"^mp_rank_(\d{2,4})(?:_(\d{3,5}))?(?:_(\d{3,5}))?$")
SETTINGS = "metadata.json"
COMMON = "common.pt"


def ranks_in(directories: Iterable[str]) -> list[str]:
    """Names of the directories that are of a rank, sorted."""
    return sorted(name for name in directories if RANK.match(name))


def is_megatron(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its settings beside what is common, or, under its name, by whatever is written first."""
    if COMMON in files and SETTINGS in files and METADATA in files:
        return True
    if ITERATION.fullmatch(name) is None:
        return False
    shards = COMMON in files or METADATA in files or any(map(DATA.fullmatch, files))
    return shards or bool(ranks_in(directories))
