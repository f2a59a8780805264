"""The face that every kind of checkpoint directory has: prove that it is whole, read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt.formats.directories.folder import Folder
from ckpt.formats.meanings.meaning import Meaning


@dataclass(slots=True)
class Contents:
    """What a checkpoint directory holds besides the bytes of its tensors.

    `top` is one tree of values: a mapping by what the parts are (`model`, `optimizer`, `trainer_state` …), or the
    tensors themselves where there is nothing but weights. Tensors know where their bytes lie.
    """

    meaning: Meaning
    top: Any
    unknown_globals: Collection[str] = ()
    omitted: list[str] = field(default_factory=list)
    """What was left out of `top`, a sentence each; "" is none."""


class Kind(ABC):
    """One kind of checkpoint directory, opened on one that `known.recognise` gave to it.

    All methods may raise `source.Unreadable` and OSError.
    """

    framework: ClassVar[str]
    format: ClassVar[str] = "directory"

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @abstractmethod
    def prove(self) -> None:
        """Proves that it is whole, by the format's own marker. Raises Unfinished or Damaged when it is not."""

    @abstractmethod
    def read(self) -> Contents:
        """What it says; `prove` comes first."""

    def telling(self, names: Sequence[str]) -> Sequence[str]:
        """Of the files that tell its content those whose bytes stand for the whole in the fingerprint; all by default.

        Names and sizes of all of `names` are part of it anyway.
        """
        return names
