"""The kinds of checkpoint directories, in the order in which they are asked whether a directory is theirs.

Asking loads no reader: the rules look at names alone, and the reader is loaded for a directory that is a checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ckpt.formats.directories import names
from ckpt.formats.directories.bounds import MAX_FILES
from ckpt.formats.directories.dcp.names import is_dcp
from ckpt.formats.directories.deepspeed.names import is_deepspeed
from ckpt.formats.directories.huggingface.names import is_accelerate, is_adapter, is_model, is_pipeline, is_transformers
from ckpt.formats.directories.megatron.names import is_megatron
from ckpt.formats.directories.orbax.names import is_orbax
from ckpt.formats.suffixes import may_tell

if TYPE_CHECKING:
    from ckpt.formats.directories.kind import Kind

Rule = Callable[[str, AbstractSet[str], AbstractSet[str]], bool]
"""Whether a directory is one checkpoint of a kind: by its name, and by the names of files and directories in it.

Also while it is being written: as soon as its names tell. No file is opened.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """One kind by its rule; where its reader is, a module among these and the name of a `Kind` in it."""

    rule: Rule
    module: str
    name: str

    def load(self) -> type[Kind]:
        """The reader."""
        kind: type[Kind] = getattr(import_module(f"ckpt.formats.directories.{self.module}"), self.name)
        return kind


KINDS: tuple[Known, ...] = (
    Known(names.is_nemo, "nemo", "NeMo"),
    Known(is_transformers, "huggingface.transformers", "Transformers"),
    Known(is_orbax, "orbax.checkpoint", "Orbax"),
    Known(is_megatron, "megatron.checkpoint", "Megatron"),
    Known(names.is_olmo_core, "olmo_core", "OlmoCore"),
    Known(names.is_lightning, "lightning_sharded", "LightningSharded"),
    Known(names.is_composer, "composer_sharded", "ComposerSharded"),
    Known(is_dcp, "dcp.checkpoint", "Dcp"),
    Known(is_deepspeed, "deepspeed.checkpoint", "DeepSpeed"),
    Known(is_accelerate, "huggingface.accelerate", "Accelerate"),
    Known(names.is_verl, "verl", "Verl"),
    Known(names.is_lerobot, "lerobot", "LeRobot"),
    Known(names.is_keras_backup, "keras_backup", "KerasBackup"),
    Known(names.is_coral, "coral", "Coral"),
    Known(names.is_torchtune, "torchtune", "TorchTune"),
    Known(is_pipeline, "huggingface.diffusers", "Pipeline"),
    Known(is_adapter, "huggingface.peft", "Peft"),
    Known(is_model, "huggingface.sharded", "Sharded"),
    Known(names.is_ray, "ray", "Ray"),
)


def recognise(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> Known | None:
    """The kind of checkpoint that a directory of that name with these names directly in it is; None for no checkpoint.

    Opens nothing, so it is as cheap as the listing. Names for which `may_tell` is false may be left out of `files`.
    """
    for kind in KINDS:
        if kind.rule(name, files, directories):
            return kind
    return None


def recognise_listed(name: str, entries: Iterable[os.DirEntry[str]]) -> Known | None:
    """As `recognise`, for a directory of that name as it was listed. Keeps few of the names, however many there are."""
    files: set[str] = set()
    directories: set[str] = set()
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            kept = directories
        elif may_tell(entry.name):
            kept = files
        else:
            continue
        if len(kept) < MAX_FILES:
            kept.add(entry.name)
    return recognise(name, files, directories)
