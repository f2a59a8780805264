"""What one tree of values means where the framework is known by the directory around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt.formats.containers.family import Content
from ckpt.formats.meanings.meaning import Meaning, meaning
from ckpt.formats.meanings.scalars import Scalars


def told(top: Any, framework: str, topology: Mapping[str, int] | None = None, ranks: int = 0) -> Meaning:
    """The meaning of a tree, of that framework whatever its keys remind of.

    `topology` is what names and files say of how the training was spread; what the tree says itself wins. `ranks` is
    how many ranks have generators of their own. Raises Unreadable, OSError.
    """
    found = meaning(Content(top, ""), Scalars(), framework)
    found.framework = framework
    found.resume["topology"] = {**(topology or {}), **found.resume["topology"]}
    rng = found.resume["rng"]
    if rng["ranks"]:
        rng["ranks"] = max(rng["ranks"], ranks)
    return found
