"""Which names of files may be checkpoints, told without opening them."""

from __future__ import annotations

import re

SUFFIXES: frozenset[str] = frozenset({".pt", ".pth", ".ckpt", ".safetensors", ".keras"})
"""Suffixes of files that may be checkpoints, whatever they are called."""

_HDF5 = re.compile(r"(?:^|[-_.])(?:models?|weights?|checkpoints?|ckpts?|epoch)(?=[-_.\d=])", re.IGNORECASE)

_OTHERS = {
    ".tar": re.compile(r"\.(?:pth|pt|ckpt)\.tar$", re.IGNORECASE),
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".zip": re.compile(
        r"_\d+_steps\.zip$|(?:^|[-_.])(?:(?:best|final|last|rl)_model|ppo|a2c|trpo|dqn|qrdqn|sac|td3|ddpg|tqc|crossq|ars)"
        r"(?:[-_.]|$)",
        re.IGNORECASE,
    ),
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


_TEXTS = (".txt", ".md", ".log", ".csv", ".tsv", ".jsonl", ".yaml", ".yml", ".toml", ".html", ".xml", ".pdf", ".svg")
_PROGRAMS = (".py", ".pyc", ".sh", ".ipynb", ".c", ".h", ".cpp", ".so")
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".mp4", ".wav", ".mp3", ".flac")
_DATA = (".npy", ".npz", ".parquet", ".arrow", ".gz", ".zst", ".xz", ".lz4")
_DOCUMENTS = frozenset((*_TEXTS, *_PROGRAMS, *_PICTURES))
_SILENT = _DOCUMENTS.union(_DATA)
"""Suffixes of files of which there may be very many, and that say nothing of a checkpoint."""
_TELLING_TEXTS = frozenset({"commit_success.txt", "checkpoint-is-incomplete.txt", "latest_checkpointed_iteration.txt"})
_MARKERS = re.compile(
    r"(?:trainer_state|config|adapter_config|metadata|training_metadata|training_step|\.metadata|.+\.index)\.json"
    r"|(?:\d+|__\d+_?)?\.metadata|.+\.distcp|_CHECKPOINT_METADATA|_METADATA|manifest\.ocdbt|random_states_\d+\.pkl"
    r"|.+-unfinished"
)


def may_tell(name: str) -> bool:
    """Whether a file of that name may have a say in which kind of checkpoint its directory is, if any."""
    return name[name.rfind(".") :].lower() not in _SILENT or name in _TELLING_TEXTS


def is_document(name: str) -> bool:
    """Whether a file of that name is for people or programs, so that it holds nothing of a checkpoint beside it."""
    return name[name.rfind(".") :].lower() in _DOCUMENTS and name not in _TELLING_TEXTS


def is_marker(name: str) -> bool:
    """Whether a directory may become a checkpoint, or a whole one, when a file of that name comes to lie in it."""
    return name in _TELLING_TEXTS or _MARKERS.fullmatch(name) is not None
