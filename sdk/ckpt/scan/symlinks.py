"""Where the symbolic links below a directory lead. What they lead to is not opened."""

from __future__ import annotations

import os

from ckpt.paths import is_inside

MOST_LINKS = 100_000  # links into the directory that are remembered, and as many that lead out of it


class Symlinks:
    """Collects symbolic links below a directory, each with the real path that it leads to, whether that exists or not.

    A link to a directory that it lies in itself says nothing of what is there, and is left out. So is what cannot be
    read.
    """

    def __init__(self, top: str) -> None:
        self._top = top
        self._places: dict[str, str] = {}
        self._inside: list[tuple[str, str]] = []
        self._elsewhere: list[tuple[str, str]] = []
        self.are_all = True
        """Whether every link into the directory was remembered."""

    def add(self, link: str) -> None:
        """Remembers a link by its absolute path."""
        target = self._led_to(link)
        if target is None or is_inside(link, target):
            return
        leads_in = is_inside(target, self._top)
        found = self._inside if leads_in else self._elsewhere
        if len(found) < MOST_LINKS:
            found.append((link, target))
        elif leads_in:
            self.are_all = False

    def sorted(self) -> tuple[tuple[str, str], ...]:
        """All links with their targets."""
        return tuple(sorted((*self._inside, *self._elsewhere)))

    def _led_to(self, link: str) -> str | None:
        try:
            place, name = os.path.split(os.path.join(os.path.dirname(link), os.readlink(link)))
        except OSError:
            return None
        if name in ("", ".", ".."):
            return os.path.realpath(link)
        real = self._places.get(place)
        if real is None:
            # Many links lead into few directories.
            real = os.path.realpath(place)
            if len(self._places) < MOST_LINKS:
                self._places[place] = real
        path = os.path.join(real, name)
        return os.path.realpath(path) if os.path.islink(path) else path
