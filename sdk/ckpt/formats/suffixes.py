"""Which names of files may be checkpoints, told without opening them."""

from __future__ import annotations

import re

SUFFIXES: frozenset[str] = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".keras"})
"""Suffixes of files that may be checkpoints, whatever they are called."""

_OTHERS = re.compile(
    r"\.(?:pth|pt|ckpt)\.tar$|\.weights\.h5$|_\d+_steps\.zip$|^(?:best_model|final_model)\.zip$", re.IGNORECASE
)
"""Names with suffixes that most files with them have no checkpoint behind."""


def may_be_file(name: str) -> bool:
    """Whether a file of that name may be a checkpoint."""
    dot = name.rfind(".")
    if dot <= 0:
        return False
    return name[dot:].lower() in SUFFIXES or _OTHERS.search(name) is not None
