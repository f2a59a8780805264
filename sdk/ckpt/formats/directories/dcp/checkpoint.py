"""Torch distributed checkpoints (torchtitan, FSDP2, plain `dcp.save`): `.metadata` beside `__<rank>_<i>.distcp`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.dcp.names import METADATA, RANK_METADATA
from ckpt.formats.directories.dcp.reader import DcpReader
from ckpt.formats.directories.dcp.tree import told_apart
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.meanings.meaning import Meaning
from ckpt.formats.meanings.scalars import Scalars

_COUNTERS = ("train_state", "trainer_state", "training_state")


class Dcp(Kind):
    """A directory of one such checkpoint. `.metadata` comes last, by a rename, so one without is not finished."""

    framework: ClassVar[str] = "dcp"
    format: ClassVar[str] = "dcp"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self.reader = DcpReader(folder)

    def prove(self) -> None:
        self.reader.prove()

    def read(self) -> Contents:
        top = told_apart(self.reader.tree())
        return Contents(
            told_of(top, self.framework, self.reader), top, self.reader.unknown_globals, self.reader.omitted
        )

    def telling(self, names: Sequence[str]) -> Sequence[str]:
        # The description of a save has an identity of its own; older ones do not.
        described = tuple(name for name in names if name == METADATA or RANK_METADATA.fullmatch(name))
        return described if self.reader.described.save_id else names


def told_of(top: Mapping[Any, Any], framework: str, reader: DcpReader) -> Meaning:
    """What the state says of the training."""
    parts = {key.rpartition(".")[2] if type(key) is str else key: value for key, value in top.items()}
    for name in _COUNTERS:
        counters = parts.get(name)
        if type(counters) is dict:
            parts = {**counters, **parts}
    found = told(parts, framework, {"world_size": reader.world_size} if reader.world_size else None)
    if found.learning_rate is None:
        found.learning_rate = _flat_rate(parts)
    return found


def _flat_rate(parts: Mapping[Any, Any]) -> float | None:
    """The learning rate of the first parameter of an optimizer whose state is by dotted names."""
    for state in parts.values():
        for key, value in state.items() if type(state) is dict else ():
            if type(key) is str and key.startswith("param_groups.") and key.endswith(".lr"):
                number = Scalars().number(value)
                return None if number is None else float(number)
    return None
