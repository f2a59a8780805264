"""Repositories of Coral: the newest commit of the branch that is checked out, with its training state."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import required
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.names import CORAL_HEAD
from ckpt.formats.source import Damaged, Unfinished

_WEIGHTS = "objects/weights.h5"
_REFERENCE = re.compile(r"^ref: (refs/heads/[^/\0]{1,200}(?:/[^/\0]{1,200}){0,4})$")
_COMMIT = re.compile(r"^[0-9a-f]{8,128}$")
_ABOUT = ("model_name", "dataset_name", "experiment_name", "batch_size", "gradient_accumulation_steps", "max_epochs")


class Coral(Kind):
    """A directory `.coral`. All commits lie in it, so it is one checkpoint that moves on."""

    framework: ClassVar[str] = "coral"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._commit = ""

    def prove(self) -> None:
        """Whole when the branch names a commit that is there with its file of weights."""
        required(self.folder, CORAL_HEAD)
        reference = _REFERENCE.match(self.folder.text(CORAL_HEAD))
        if reference is None:
            raise Damaged("HEAD names no branch")
        branch = self._gathering.mapping(reference[1])
        commit = branch.get("commit_hash")
        if not commit:
            raise Unfinished("its branch has no commit")
        if type(commit) is not str or not _COMMIT.match(commit):
            raise Damaged("its branch names no commit")
        self._commit = f"objects/commits/{commit}"
        required(self.folder, f"{self._commit}.json", _WEIGHTS)
        self._gathering.mapping(f"{self._commit}.json")
        self._gathering.tree(_WEIGHTS)

    def read(self) -> Contents:
        """The commit's training state; which of its tensors are stored how is not said here."""
        state: dict[str, Any] = {}
        if f"{self._commit}_state.json" in self.folder.files:
            state = self._gathering.mapping(f"{self._commit}_state.json")
        commit = self._gathering.mapping(f"{self._commit}.json")
        about = {name: state[name] for name in _ABOUT if state.get(name) is not None}
        found = told({**state, "config": about}, self.framework)
        found.resume["model"] = bool(commit.get("weight_hashes"))
        top = {name: value for name, value in state.items() if value is not None}
        return Contents(found, top, omitted=self._gathering.omitted)
