"""What must be among the members of a checkpoint directory, and members that have to be mappings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.folder import Folder
from ckpt.formats.source import Damaged, Unfinished

_NUMBERED = re.compile(r"(?P<lead>.*?)-(?P<index>\d{1,6})-of-(?P<count>\d{1,6})(?P<end>\.[^/]+)")
_MAX_COUNT = 100_000


def required(folder: Folder, *names: str) -> None:
    """Proves that files are there. Raises Unfinished for the first that is not."""
    for name in names:
        if name not in folder.files:
            raise Unfinished(f"{name} is missing")


def all_numbered(folder: Folder, names: Iterable[str]) -> None:
    """Proves that of files named `…-00001-of-00003.…` all are there. Raises Unfinished, Damaged."""
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            continue
        count, width = int(match["count"]), len(match["index"])
        if not 0 < count <= _MAX_COUNT:
            raise Damaged(f"{name} is one of {count} files")
        for index in range(1, count + 1):
            other = f"{match['lead']}-{index:0{width}d}-of-{match['count']}{match['end']}"
            if other not in folder.files:
                raise Unfinished(f"{other} is missing")


def mapping(gathering: Gathering, name: str) -> dict[Any, Any]:
    """The values of a member that has to be a mapping; {} for one that is too large. Raises Damaged, Unfinished."""
    found = gathering.tree(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Damaged(f"{name} holds no mapping")
    return found


def merged(gathering: Gathering, names: Iterable[str]) -> dict[Any, Any]:
    """The mappings of several members as one. Raises Damaged when two hold the same key, Unfinished."""
    found: dict[Any, Any] = {}
    for name in names:
        top = mapping(gathering, name)
        if found.keys() & top.keys():
            raise Damaged(f"{name} holds tensors that another file holds too")
        found.update(top)
    return found
