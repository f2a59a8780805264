"""Names in checkpoint directories of a single layout each, and what is one by them."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

from ckpt.formats.directories.dcp.names import is_dcp
from ckpt.formats.suffixes import may_be_file, may_tell

NEMO_WEIGHTS = "weights"
NEMO_UNFINISHED = "-unfinished"
_NEMO_CONTEXT = "context"
_NEMO = re.compile(r"(?:^|-)(?:consumed_samples|step)=\d")

OLMO_MARKER = ".metadata.json"
OLMO_WEIGHTS = "model_and_optim"

LIGHTNING_META = "meta.pt"
_LIGHTNING = re.compile(r"(?:.*(?:epoch|step)=\d.*|last(?:-v\d+)?)\.ckpt")  # what the Trainer calls them by itself

_COMPOSER = re.compile(r"ep\d{1,9}-ba\d{1,12}")

VERL_STEP = re.compile(r"^global_step_(\d{1,12})$")
VERL_PARTS = frozenset({"actor", "critic"})
VERL_CONTENTS = frozenset({"model", "optimizer", "extra"})
VERL_SHARDS = "dist_ckpt"
VERL_MANIFEST = "ckpt_contents.json"
VERL_RANK = re.compile(
    r"^(?:(?P<part>[^/]+)/)?(?P<kind>model|optim|extra_state)_world_size_(?P<world>\d{1,7})_rank_(?P<rank>\d{1,7})\.pt$"
)

LEROBOT_MODEL = "pretrained_model"
LEROBOT_STATE = "training_state"

KERAS_WEIGHTS = "latest.weights.h5"

CORAL_HEAD = "HEAD"
_CORAL = ".coral"
_CORAL_PARTS = frozenset({"objects", "refs"})

TORCHTUNE_SAVE = re.compile(r"^(epoch|step)_(\d{1,9})$")
TORCHTUNE_MODEL = re.compile(r"^(?:ft-)?model-\d{5}-of-\d{5}\.(?:safetensors|bin|pt)$")
TORCHTUNE_RECIPE = "recipe_state.pt"
TORCHTUNE_BESIDE = "recipe_state"
"""The directory next to a run's checkpoints that has the recipe's state for all of them."""
TORCHTUNE_ADAPTER = ("adapter_model.pt", "adapter_model.safetensors", "adapter_model.bin")

RAY_DATED = re.compile(r"^checkpoint_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.\d{3,6}$")
RAY_OWN = frozenset({".metadata.json", ".is_checkpoint", ".tune_metadata"})
_RAY_COUNTED = re.compile(r"^checkpoint_\d{6}$")


def is_nemo(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its weights under a name with step or samples, or by both parts under the last one's name."""
    del files
    if NEMO_WEIGHTS not in directories:
        return False
    return _NEMO.search(name) is not None or (_NEMO_CONTEXT in directories and name.endswith("-last"))


def is_olmo_core(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its weights beside the ranks' states or the marker that is written last."""
    del name
    return OLMO_WEIGHTS in directories and ("train" in directories or OLMO_MARKER in files)


def is_lightning(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By what is not sharded, or by the name that the Trainer gives."""
    return (LIGHTNING_META in files or _LIGHTNING.fullmatch(name) is not None) and is_dcp(name, files, directories)


def is_composer(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By epoch and batch in its name."""
    return _COMPOSER.fullmatch(name) is not None and is_dcp(name, files, directories)


def is_verl(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its name, and a part, a rank's file, or what is saved with Megatron in it."""
    if VERL_STEP.match(name) is None:
        return False
    if not VERL_PARTS.isdisjoint(directories) or VERL_SHARDS in directories or VERL_MANIFEST in files:
        return True
    return len(VERL_CONTENTS & directories) > 1 or any(map(VERL_RANK.match, files))


def is_lerobot(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its two parts; by the first alone while it is written, under a number."""
    del files
    return LEROBOT_MODEL in directories and (LEROBOT_STATE in directories or (name.isascii() and name.isdigit()))


def is_keras_backup(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By the name of its weights, which no other callback writes."""
    del name, directories
    return KERAS_WEIGHTS in files


def is_coral(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its name and its parts."""
    return name == _CORAL and CORAL_HEAD in files and directories >= _CORAL_PARTS


def is_torchtune(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its name, and a numbered file of weights, an adapter, or what a resume needs in it."""
    del directories
    if TORCHTUNE_SAVE.match(name) is None:
        return False
    return TORCHTUNE_RECIPE in files or any(TORCHTUNE_MODEL.match(file) or file in TORCHTUNE_ADAPTER for file in files)


def is_ray(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By the time in its name, or by its number and a file in it that Ray or a training writes."""
    del directories
    if RAY_DATED.match(name):
        return any(map(may_tell, files))
    return _RAY_COUNTED.match(name) is not None and (not RAY_OWN.isdisjoint(files) or any(map(may_be_file, files)))
