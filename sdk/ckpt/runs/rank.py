"""Which process of a distributed training this is, and of how many: only rank 0 writes.

An initialised `torch.distributed` knows best; before that the environment that torchrun sets. torch is never imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def rank() -> int:
    """The rank of this process, 0 when the training is not distributed."""
    distributed = _distributed()
    return int(distributed.get_rank()) if distributed is not None else _told("RANK", 0)


def world_size() -> int:
    """How many processes train together, 1 when the training is not distributed."""
    distributed = _distributed()
    return int(distributed.get_world_size()) if distributed is not None else _told("WORLD_SIZE", 1)


def _distributed() -> Any:
    """`torch.distributed` where it is initialised, else None."""
    found: Any = sys.modules.get("torch.distributed")
    return found if found is not None and found.is_available() and found.is_initialized() else None


def _told(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
