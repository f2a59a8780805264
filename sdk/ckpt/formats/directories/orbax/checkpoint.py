"""Checkpoints of Orbax: one step of a manager with its items, or one tree saved by itself."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from ckpt.formats.directories.common import beside
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.orbax.names import DATABASE, NAMES, STEP, TEMPORARY
from ckpt.formats.directories.orbax.tree import Tree
from ckpt.formats.meanings.roles import role
from ckpt.formats.source import Unfinished

_COMMITTED = "commit_success.txt"
_STEP_NAME = re.compile(r"^(?:.*_)?(\d{1,18})$")


class Orbax(Kind):
    """A directory that an Orbax checkpointer wrote. Its step is its name, or that of the step that a tree lies in."""

    framework: ClassVar[str] = "orbax"
    format: ClassVar[str] = "orbax"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._trees: dict[str, Tree] = {}
        self._step: dict[str, Any] = {}

    def prove(self) -> None:
        """Whole when it is committed and every item that it lists is there, with every array that an item names."""
        files = self.folder.files
        if TEMPORARY in self.folder.name or any(TEMPORARY in name for name in self.folder.directories):
            raise Unfinished("it still has the name of a save that is not committed")
        if STEP in files:
            self._step = Gathering(self.folder).mapping(STEP)
            if _COMMITTED not in files and not self._step.get("commit_timestamp_nsecs"):
                raise Unfinished(f"it is not committed: {_COMMITTED} is missing")
        handlers = self._step.get("item_handlers")
        for item in handlers if type(handlers) is dict else ():
            if item not in self.folder.directories:
                raise Unfinished(f"the item {item} is missing")
        bases = ["", *(f"{name}/" for name in sorted(self.folder.directories) if "/" not in name)]
        for base in bases:
            if base + NAMES in files or base + DATABASE in files:
                self._trees[base.rstrip("/")] = Tree(self.folder, base)
            if base == "" and "" in self._trees:
                break

    def read(self) -> Contents:
        """What it says: arrays of all its trees, metrics, and JSON items."""
        top = self._top()
        omitted = [reason for tree in self._trees.values() for reason in tree.omitted]
        beyond = {"metrics": self._metrics_beside()} if self._older and type(top) is dict else {}
        found = told({**top, **beyond} if beyond else top, self.framework)
        if not any(found.resume[state] for state in ("model", "optimizer", "scheduler")):
            found.resume["model"] = bool(self._trees)  # a tree without a name for any state is the weights
        step = self._step_number()
        if step is not None:
            found.step = step
        found.saved_at = _seconds(self._step.get("commit_timestamp_nsecs")) or found.saved_at
        if not found.config and type(self._step.get("custom_metadata")) is dict:
            found.config = told({"config": self._step["custom_metadata"]}, self.framework).config
        return Contents(found, top, omitted=omitted)

    def _top(self) -> Any:
        if "" in self._trees:
            return self._trees[""].top
        top: dict[str, Any] = {}
        for item in sorted(name for name in self.folder.directories if "/" not in name):
            if item not in self._trees:
                top[item] = self._other(item)
        for item, tree in self._trees.items():
            parts = tree.top if type(tree.top) is dict else {}
            states = len(self._trees) == 1 or any(role(key) != "other" for key in parts)
            if parts and states and not parts.keys() & (top.keys() | self._trees.keys()):
                top.update(parts)
            else:
                top[item] = tree.top
        return top

    def _other(self, item: str) -> Any:
        for name in (f"{item}/metadata", f"{item}/metrics"):
            if name in self.folder.files:
                return self.folder.json(name)
        return tuple(name.partition("/")[2] for name in self.folder.files if name.startswith(f"{item}/"))

    @property
    def _older(self) -> bool:
        """Whether it is an item of a step of before there was a description of the whole step."""
        return STEP not in self.folder.files

    def _metrics_beside(self) -> Any:
        return beside.value(beside.tail(self.folder.path, "metrics/metrics"))

    def _step_number(self) -> int | None:
        names = [self.folder.name]
        if self._older:
            names.append(os.path.basename(os.path.dirname(self.folder.path)))
        for name in names:
            named = _STEP_NAME.match(name)
            if named is not None:
                return int(named[1])
        return None


def _seconds(nanoseconds: Any) -> float | None:
    if type(nanoseconds) is int and 0 < nanoseconds < 1 << 63:
        return nanoseconds / 1e9
    return None
