"""What a training writes down outside of its run: one line for every batch, step, epoch, and for its end.

A line is its key and the hashes of what was: `batch 12.3 <bits of the loss> <data>` is the fourth batch since
step 12. It is written by one call, so that a SIGKILL leaves whole lines.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def told(value: Any) -> str:
    """A hash of every bit of a state: tensors, arrays, numbers, texts, and what holds them."""
    digest = hashlib.blake2b(digest_size=8)
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"{len(value)} by key".encode())
        for key in sorted(value, key=str):
            digest.update(f"{key}=".encode())
            _add(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)} in order".encode())
        for one in value:
            _add(digest, one)
    else:
        digest.update(f"{value!r};".encode())


def generators() -> str:
    """A hash of the states of Python's, NumPy's and torch's generators."""
    return told([random.getstate(), np.random.get_state(), torch.get_rng_state()])


def bits(loss: torch.Tensor) -> str:
    """The bits of a float32."""
    return struct.pack(">f", loss.item()).hex()


class Diary:
    """Writes lines."""

    def __init__(self, path: str) -> None:
        self.to = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, kind: str, step: int, number: int, *what: str) -> None:
        os.write(self.to, " ".join((kind, f"{step}.{number}", *what)).encode() + b"\n")
