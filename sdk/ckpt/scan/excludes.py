"""Directories that are not looked into: those that hold no runs anywhere, and those that a root leaves out."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence

DEFAULT_EXCLUDES = (
    ".*",
    "__pycache__",
    "node_modules",
    "site-packages",
    "dist-packages",
    "venv",
    "wandb",
    "mlruns",
)
"""Names of directories that hold no runs; `.*` covers version control, environments and trashes."""


class Excludes:
    """What is left out below one root.

    A pattern is a glob of a directory's name, or of its path relative to the root; `*` also matches `/`.
    """

    def __init__(self, root: str, patterns: Sequence[str] = ()) -> None:
        self._prefix = root.rstrip("/") + "/"
        self._name = _either((*DEFAULT_EXCLUDES, *patterns))
        self._relative = _either(pattern for pattern in patterns if "/" in pattern)

    def passes_over(self, path: str) -> bool:
        """Whether a directory is left out by itself. Its parents are not asked."""
        if self._name.match(os.path.basename(path)):
            return True
        return self._relative is not _NONE and self._relative.match(path.removeprefix(self._prefix)) is not None

    def covers(self, path: str) -> bool:
        """Whether a directory below the root, or one above it, is left out. The root itself never is."""
        if not path.startswith(self._prefix):
            return False
        end = len(self._prefix)
        while end != -1:
            end = path.find("/", end + 1)
            if self.passes_over(path if end == -1 else path[:end]):
                return True
        return False


def _either(patterns: Iterable[str]) -> re.Pattern[str]:
    parts = [fnmatch.translate(os.path.normcase(pattern).rstrip("/")) for pattern in patterns]
    return re.compile("|".join(parts)) if parts else _NONE


_NONE = re.compile(r"(?!)")
