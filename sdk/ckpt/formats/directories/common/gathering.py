"""Takes the parts of a directory together: what they hold, what was left out, and which names nobody knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ckpt.formats.directories.folder import Folder
from ckpt.formats.source import Damaged, TooLarge

Read = TypeVar("Read")


class Gathering:
    """Reads members of one folder. A member that is too large to read is left out, with its reason in `omitted`.

    All methods raise Unfinished and Damaged for a member that is not whole, and OSError.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.omitted: list[str] = []
        self.unknown_globals: set[str] = set()

    def tree(self, name: str) -> Any:
        """The values of a member that its family proves and reads; None for one that is too large."""
        content = self.lenient(lambda: self.folder.open(name).content)
        if content is None:
            return None
        self.unknown_globals.update(content.unknown_globals)
        self.omitted += [reason for reason in content.omitted if reason not in self.omitted]
        return content.top

    def trees(self, names: Iterable[str]) -> Any:
        """The values of several members of one kind: of a single one as they are, of more as a list, of none None."""
        found = [self.tree(name) for name in names]
        return found if len(found) > 1 else found[0] if found else None

    def mapping(self, name: str) -> dict[str, Any]:
        """The object of a JSON member; {} for one that is too large. Raises Damaged when it is another value."""
        return self.lenient(lambda: self._object(name)) or {}

    def _object(self, name: str) -> dict[str, Any]:
        value = self.folder.json(name)
        if type(value) is not dict:
            raise Damaged(f"{name} is not a JSON object")
        return value

    def lenient(self, read: Callable[[], Read]) -> Read | None:
        """What `read` gives; None where that is too large, with the reason in `omitted`."""
        try:
            return read()
        except TooLarge as error:
            if error.problem not in self.omitted:
                self.omitted.append(error.problem)
            return None


def numbered(names: Iterable[str], pattern: re.Pattern[str]) -> dict[int, str]:
    """The names that a pattern matches as a whole, by the number in its first group (0 where that is empty), in order.

    Of two names with one number the first in the alphabet counts.
    """
    found: dict[int, str] = {}
    for name in sorted(names):
        match = pattern.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[1] or 0), name)
    return dict(sorted(found.items()))


def gap(numbers: Iterable[int]) -> int | None:
    """The first number from 0 on that is missing before the highest one; None when none is."""
    given = set(numbers)
    return next((number for number in range(len(given)) if number not in given), None)
