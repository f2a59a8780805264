"""The kinds of checkpoint directories, in the order in which they are asked whether a directory is theirs."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ckpt.formats.directories.composer_sharded import ComposerSharded
from ckpt.formats.directories.coral import Coral
from ckpt.formats.directories.dcp.checkpoint import Dcp
from ckpt.formats.directories.deepspeed.checkpoint import DeepSpeed
from ckpt.formats.directories.huggingface.accelerate import Accelerate
from ckpt.formats.directories.huggingface.peft import Peft
from ckpt.formats.directories.huggingface.sharded import Sharded
from ckpt.formats.directories.huggingface.transformers import Transformers
from ckpt.formats.directories.keras_backup import KerasBackup
from ckpt.formats.directories.kind import Kind
from ckpt.formats.directories.lerobot import LeRobot
from ckpt.formats.directories.lightning_sharded import LightningSharded
from ckpt.formats.directories.megatron.checkpoint import Megatron
from ckpt.formats.directories.nemo import NeMo
from ckpt.formats.directories.olmo_core import OlmoCore
from ckpt.formats.directories.orbax.checkpoint import Orbax
from ckpt.formats.directories.ray import Ray
from ckpt.formats.directories.torchtune import TorchTune
from ckpt.formats.directories.verl import Verl
from ckpt.formats.suffixes import may_tell

KINDS: tuple[type[Kind], ...] = (
    NeMo,
    Transformers,
    Orbax,
    Megatron,
    OlmoCore,
    LightningSharded,
    ComposerSharded,
    Dcp,
    DeepSpeed,
    Accelerate,
    Verl,
    LeRobot,
    KerasBackup,
    Coral,
    TorchTune,
    Peft,
    Sharded,
    Ray,
)


def recognise(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> type[Kind] | None:
    """The kind of checkpoint that a directory of that name with these names directly in it is; None for no checkpoint.

    Opens nothing, so it is as cheap as the listing. Data, texts and pictures have no say.
    """
    files = {file for file in files if may_tell(file)}
    if not files and not directories:
        return None
    for kind in KINDS:
        if kind.recognise(name, files, directories):
            return kind
    return None
