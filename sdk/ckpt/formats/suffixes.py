"""Which names of files may be checkpoints, told without opening them."""

from __future__ import annotations

import re

SUFFIXES: frozenset[str] = frozenset({".pt", ".pth", ".ckpt", ".safetensors", ".keras"})
"""Suffixes of files that may be checkpoints, whatever they are called."""

_OTHERS = {
    ".tar": re.compile(r"\.(?:pth|pt|ckpt)\.tar$", re.IGNORECASE),
    ".h5": re.compile(r"\.weights\.h5$", re.IGNORECASE),
    ".zip": re.compile(r"_\d+_steps\.zip$|^(?:best|final)_model\.zip$", re.IGNORECASE),
    ".bin": re.compile(
        r"model|weight|checkpoint|ckpt|adapter|lora|optim|scheduler|(?:^|[-_.])(?:state|step|epoch|iter|ema|best|last)",
        re.IGNORECASE,
    ),
}
"""Names with suffixes that most files with them have no checkpoint behind."""


def may_be_file(name: str) -> bool:
    """Whether a file of that name may be a checkpoint."""
    dot = name.rfind(".")
    if dot <= 0:
        return False
    suffix = name[dot:].lower()
    return suffix in SUFFIXES or ((pattern := _OTHERS.get(suffix)) is not None and pattern.search(name) is not None)


_TELLING = re.compile(
    r"trainer_state\.json|adapter_config\.json|config\.json|metadata\.json|training_metadata\.json|\.metadata(?:\.json)?"
    r"|\d+\.metadata|.+\.distcp|.+\.index\.json|_CHECKPOINT_METADATA|_METADATA|commit_success\.txt|manifest\.ocdbt"
    r"|random_states_\d+\.pkl|training_step\.json|.+-unfinished|checkpoint-is-incomplete\.txt"
)


def may_tell(name: str) -> bool:
    """Whether a file of that name may be what makes its directory a checkpoint."""
    return _TELLING.fullmatch(name) is not None
