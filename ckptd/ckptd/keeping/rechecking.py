"""Whether a checkpoint is still what its plan saw, asked once more right before its rename."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt import marks
from ckpt.records import Checkpoint
from ckpt.trash.stamps import Stamp, stamp_of

POLICY_CHANGED = "its policy changed meanwhile"
"""Why nothing goes by a plan that was made under another policy."""
Stamps = Mapping[str, Stamp]
"""Path to what tells whether the file or directory there, and all that lies in it, is still the same."""


def stamps_of(paths: Sequence[str]) -> Stamps | None:
    """The stamps of all files of a checkpoint; None when one is missing or is a link, which is never acted on."""
    stamps: dict[str, Stamp] = {}
    for path in paths:
        stamp = None if os.path.islink(path) else stamp_of(path)
        if stamp is None:
            return None
        stamps[path] = stamp
    return stamps


def changed(
    base: str, checkpoint: Checkpoint, stamps: Stamps | None, marks_file: Path | None, policy: Mapping[str, Any]
) -> str | None:
    """Why a checkpoint must not be removed after all; None when it is what the plan saw.

    `base` is the directory that it has to lie in: the run, or the root of a foreign one. `stamps` are those of
    its files before they were looked at last. `marks_file` keeps what was said of its run, and `policy` is what
    commands had asked of it there.
    """
    if stamps is None or stamps_of(checkpoint.files) != stamps:
        return "it changed since it was planned"
    real = os.path.realpath(base) + os.sep
    for file in checkpoint.files:
        if not file.startswith(os.path.join(base, "")) or not os.path.realpath(file).startswith(real):
            return f"it lies outside {os.path.basename(base)}"
    if marks_file is not None:
        now = marks.read(marks_file)
        said = now.of(checkpoint.id)
        if said.pinned or said.tags or said.forks:
            return "it was marked meanwhile"
        if now.policy != policy:
            return POLICY_CHANGED
    return None
