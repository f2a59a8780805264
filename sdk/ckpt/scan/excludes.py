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
    "tmp-checkpoint-*",
)
"""Names of directories that hold no runs; `.*` covers version control, environments and trashes.

A trainer that collects a checkpoint under another name renames it when it is whole.
"""
_REPOSITORIES = frozenset({".coral"})
"""Hidden directories that are checkpoints all the same."""
ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""What makes a directory of any name a virtual environment."""


def is_environment(directory: str) -> bool:
    """Whether a directory is a virtual environment, by what lies in it."""
    return any(os.path.lexists(os.path.join(directory, name)) for name in ENVIRONMENT_MARKS)


_REMEMBERED = 10_000  # names whose answer is kept


class Excludes:
    """What is left out below one root.

    A pattern is a glob of a directory's name, or of its path relative to the root; `*` also matches `/`.
    """

    def __init__(self, root: str, patterns: Sequence[str] = ()) -> None:
        self._prefix = root.rstrip("/") + "/"
        self._name = _either(patterns)
        self._relative = _either(pattern for pattern in patterns if "/" in pattern)
        self._names: dict[str, bool] = {}

    def passes_over(self, path: str) -> bool:
        """Whether a directory is left out by itself. Its parents are not asked."""
        name = path[path.rfind("/") + 1 :]
        known = self._names.get(name)
        if known is None:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            known = self._names[name] = is_excluded(name) or self._name.match(name) is not None
        if known:
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
_DEFAULT = _either(DEFAULT_EXCLUDES)


def is_excluded(name: str) -> bool:
    """Whether a directory of that name holds no runs anywhere."""
    return name not in _REPOSITORIES and _DEFAULT.match(name) is not None
