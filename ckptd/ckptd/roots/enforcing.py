"""Where policies may act on other tools' files: not on whole systems or homes, and by hand alone on network disks."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt import mounts
from ckpt.encoding import printable, quoted
from ckpt.exceptions import UsageError
from ckptd.config.places import too_much
from ckptd.roots.watched import Watched


def check_root(path: str) -> None:
    """Refuses a directory that is too much to be meant, by its real path. Raises UsageError."""
    why = too_much(path)
    if why is not None:
        raise UsageError(f"{printable(path)} {why}", hint="enforce the directory that holds the runs, and nothing else")


def check_inner(path: str, inner: Iterable[Watched]) -> None:
    """Refuses to take over roots that are enforced: nobody would go on with it. Raises UsageError."""
    for watched in inner:
        if watched.root.mode == "enforce":
            held = printable(watched.root.path)
            raise UsageError(
                f"{printable(path)} contains {held}, which is enforced, and roots may not lie in each other",
                hint=f"first `ckpt watch add {quoted(watched.root.path)} --observe`, which ends its enforcement",
            )


def by_hand(path: str) -> str | None:
    """Why nothing may be removed unasked below a directory: other machines may use it unseen; None where it may."""
    kind = mounts.unreliable(path)
    return None if kind is None else f"{kind} is used by other machines too, and what they do there is not told"
