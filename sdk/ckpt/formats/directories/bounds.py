"""How much of a checkpoint directory is looked at."""

from __future__ import annotations

MAX_FILES = 100_000
MAX_DEPTH = 12
