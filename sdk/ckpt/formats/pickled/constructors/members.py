"""Members of enumerations by their names, as the first releases of Python 3.11 pickle them.

Others pickle the class and the member's value: `Colour("red")`. The `enum.py` of 3.11.2, for one, has
`getattr(Colour, "RED")`, from which the value cannot be known.
"""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.constructors.arguments import text
from ckpt.formats.pickled.values import Global, Opaque

GETATTR = "builtins.getattr"
_LONGEST = 200  # letters of a member's name


def member(args: tuple[Any, ...]) -> Opaque:
    """The member that `getattr(class, name)` means, made of its name.

    Raises ValueError and TypeError for any other attribute: of what is no class of a library, or a hidden one.
    """
    holder, name = args
    if type(holder) is not Global or holder.builder is not None or holder.path.startswith("builtins."):
        raise TypeError("not an enumeration")
    if len(text(name)) > _LONGEST or not name.isidentifier() or name.startswith("_"):
        raise ValueError("not a member")
    return Opaque(holder.path, (name,))
