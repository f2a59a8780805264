"""Which process of a distributed training this is: only rank 0 writes."""

from __future__ import annotations

import os
import sys


def rank() -> int:
    """The rank of this process, 0 when the training is not distributed.

    An initialised `torch.distributed` knows best; before that the RANK that torchrun sets. torch is never imported.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    text = os.environ.get("RANK", "")
    return int(text) if text.isdigit() else 0
