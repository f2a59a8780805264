"""How much memory the daemon's threads may keep for themselves."""

from __future__ import annotations

import ctypes

ARENAS = 2
_M_ARENA_MAX = -8


def share_arenas() -> bool:
    """Lets all threads allocate from two arenas; whether the C library knows such a limit. Before threads start.

    glibc gives a thread an arena of its own, up to eight a core, and what is freed in one serves no other: after a
    survey of many large files the same memory was held several times (mallopt(3), M_ARENA_MAX).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, ARENAS))
