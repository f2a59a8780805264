"""Whether two checkpoints have the same tensors under a prefix, as weights alone and weights in a training's state."""

from __future__ import annotations

from collections.abc import Collection


def prefixes(a: Collection[str], b: Collection[str]) -> tuple[str, str]:
    """What to take off the names of a's and of b's tensors so that both are called the same.

    Only where no name is in both, and every name of one side is found in the other behind one prefix that ends in a
    dot: "model." or "module.". ("", "") otherwise.
    """
    if not a or not b or not set(a).isdisjoint(b):
        return "", ""
    return (found, "") if (found := _prefix(a, b)) else ("", _prefix(b, a))


def _prefix(longer: Collection[str], bare: Collection[str]) -> str:
    """The shortest prefix behind which the first names all names of `bare`; "" when there is none."""
    first = next(iter(bare))
    known = set(longer)
    found = {name[: -len(first)] for name in known if name.endswith(f".{first}")}
    for prefix in sorted(found, key=lambda text: (len(text), text)):
        if all(prefix + name in known for name in bare):
            return prefix
    return ""
