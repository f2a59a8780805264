"""Which files of a checkpoint directory make up the checkpoint: others may come, change and go beside them. Pure.

Names are those of members: relative to the directory, with slashes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ckpt.formats.directories.deepspeed.names import is_member
from ckpt.formats.directories.huggingface.names import FSDP, is_weights
from ckpt.formats.suffixes import is_document, is_marker

_KNOWN_HIDDEN = frozenset(
    {".metadata", ".metadata.json", ".is_checkpoint", ".tune_metadata", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
)
_SETTINGS = frozenset({".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".jinja", ".tiktoken"})
_TOKENIZER = re.compile(r"(?:tokenizer|spiece|sentencepiece|spm)[\w.-]*\.(?:model|vocab|bin)(?:\.v\d+)?")
_LEFT = frozenset({".swp", ".bak", ".orig", ".db"})
_ANY_TIME = frozenset({"config.json", "adapter_config.json"})
"""Markers of a format that people edit afterwards."""


def is_incidental(name: str) -> bool:
    """Whether a file of that name is no part of the checkpoint unless its reader asks for it.

    Files that are hidden and of no format, documents, programs, and settings such as those of a tokenizer.
    """
    last = name.rpartition("/")[2]
    if name.startswith(".") or "/." in name:
        hidden = name.removesuffix(last)
        return last not in _KNOWN_HIDDEN or hidden.startswith(".") or "/." in hidden
    suffix = last[last.rfind(".") :].lower()
    if suffix in _SETTINGS:
        return not last.endswith(".index.json")
    if suffix in _LEFT or last.endswith("~") or is_document(last):
        return True
    return last.startswith(("tok", "sp", "sent")) and _TOKENIZER.fullmatch(last) is not None


def identifying(names: Collection[str], consulted: Collection[str]) -> list[str]:
    """Of a directory's files those that tell its content, in the same order.

    `consulted` are those that were opened to prove and read it.
    """
    made = _made_of_others(names)
    return [name for name in names if name not in made and (name in consulted or not is_incidental(name))]


def dating(names: Collection[str]) -> list[str]:
    """Of a directory's files those that are written while it is saved and hardly ever again; all where there are none.

    What a format writes last is among them, whatever it is; settings that a reader shows are not.
    """
    made = _made_of_others(names)
    found = [name for name in names if name not in made and (not is_incidental(name) or _is_last(name))]
    return found or list(names)


def _is_last(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last not in _ANY_TIME and is_marker(last) and not name.startswith(".") and "/." not in name


def _made_of_others(names: Collection[str]) -> frozenset[str]:
    """Whole weights beside those that an engine has sharded: they can be put together of these at any time."""
    if not any(map(_is_sharded, names)):
        return frozenset()
    return frozenset(name for name in names if "/" not in name and is_weights(name))


def _is_sharded(name: str) -> bool:
    directory, _, file = name.partition("/")
    if name.endswith("_states.pt"):
        return is_member(file or directory)
    return directory.startswith("pytorch_model_fsdp_") and bool(file) and FSDP["model"].fullmatch(directory) is not None
