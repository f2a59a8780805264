"""The names that a pickle imports: looked up in a table, and never anywhere else."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.constructors.known import resolve
from ckpt.formats.pickled.constructors.members import GETATTR, member
from ckpt.formats.pickled.values import Budget, Global
from ckpt.formats.source import Damaged, TooLarge

_MAX_NAME = 1000  # letters of a module or of a name in it
_MAX_NAMES = 10_000


class Imports:
    """The globals of one pickle, each resolved once; `unknown` has the names without a plain meaning."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Global] = {}
        self.unknown: dict[str, None] = {}

    def get(self, module: Any, name: Any) -> Global:
        """The global of that name. Raises Damaged for what can be no name, TooLarge for more names than are read."""
        if type(module) is not str or type(name) is not str:
            raise Damaged("its pickle imports a name that is no text")
        if len(module) > _MAX_NAME or len(name) > _MAX_NAME:
            raise Damaged(f"its pickle imports a name of more than {_MAX_NAME} letters")
        found = self._known.get((module, name))
        if found is None:
            if len(self._known) >= _MAX_NAMES:
                raise TooLarge(f"its metadata imports more than {_MAX_NAMES} names")
            found, known = resolve(module, name)
            if found.path == GETATTR:
                # Not reported until it is called for what is no member of an enumeration.
                found, known = Global(GETATTR, self._attribute), True
            self._known[(module, name)] = found
            if not known:
                self.unknown[found.path[:200]] = None
        return found

    def _attribute(self, args: tuple[Any, ...], budget: Budget) -> Any:
        try:
            return member(args)
        except (TypeError, ValueError):
            self.unknown[GETATTR] = None
            raise
