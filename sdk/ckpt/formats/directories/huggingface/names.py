"""Names that transformers, accelerate and peft give to files and directories, and what is a checkpoint by them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from ckpt.formats.suffixes import may_be_file

INDEX = re.compile(r"(.+)\.(safetensors|bin)\.index\.json")
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.(safetensors|bin)")
SINGLE = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model_fsdp.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
"""Files that hold all weights of a model."""
_WEIGHTS = (".safetensors", ".bin", ".index.json")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ARGUMENTS = "training_args.bin"
PIPELINE = "model_index.json"

DEEPSPEED_TAG = re.compile(r"global_step(\d{1,12})")
FSDP = {"model": re.compile(r"pytorch_model_fsdp_(\d{1,6})"), "optimizer": re.compile(r"optimizer_(\d{1,6})")}
"""Directories of parts that FSDP has sharded."""

TRAINER_STATE = "trainer_state.json"
TRAINER_UNFINISHED = "checkpoint-is-incomplete.txt"
TRAINER_STATES = {"optimizer": "optimizer.pt", "scheduler": "scheduler.pt", "scaler": "scaler.pt"}
TRAINER_RNG = re.compile(r"rng_state(?:_(\d{1,6}))?\.pth")
_TRAINER_MEMBERS = frozenset(
    {
        TRAINER_STATE,
        ARGUMENTS,
        TRAINER_UNFINISHED,
        CONFIG,
        ADAPTER_CONFIG,
        "generation_config.json",
        *TRAINER_STATES.values(),
    }
)

STEP = re.compile(r"checkpoint-\d+")
_STEP_OR_SAVE = re.compile(r"checkpoint[-_]\d+")
ACCELERATE_RANDOM = re.compile(r"random_states_(\d{1,6})\.pkl")
ACCELERATE_MODEL = re.compile(r"(?:model|pytorch_model|pytorch_model_fsdp)(?:_(\d{1,6}))?\.(?:safetensors|bin)")
ACCELERATE_STATES = {
    "optimizer": re.compile(r"optimizer(?:_(\d{1,6}))?\.bin"),
    "scheduler": re.compile(r"scheduler(?:_(\d{1,6}))?\.bin"),
    "sampler": re.compile(r"sampler(?:_(\d{1,6}))?\.bin"),
    "dataloader": re.compile(r"dl_state_dict(?:_(\d{1,6}))?\.bin"),
    "scaler": re.compile(r"scaler()\.pt"),
}
_OF_ACCELERATE = re.compile(r"random_states_\d+\.pkl|(?:optimizer|scheduler)(?:_\d+)?\.bin")

_CHECKPOINTS = re.compile(
    r"(?:checkpoint|ckpt|step|global_?step|epoch|iter|iteration)s?(?:[-_=]?\d+)?|(?:best|last|latest|final)(?:[-_].*)?|run-.+",
    re.IGNORECASE,
)


def is_split(name: str) -> bool:
    """Whether a file of that name is one shard of several, or lists the shards."""
    return SHARD.fullmatch(name) is not None or INDEX.fullmatch(name) is not None


def is_weights(name: str) -> bool:
    """Whether a file of that name holds weights of a model, all or some, or lists its shards."""
    return name in SINGLE or is_split(name)


def is_engine(directory: str) -> bool:
    """Whether a directory of that name in a checkpoint is of DeepSpeed or FSDP."""
    return any(pattern.fullmatch(directory) for pattern in (DEEPSPEED_TAG, *FSDP.values()))


def is_transformers(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By its name and any member; under another name by the Trainer's state beside another state."""
    if STEP.fullmatch(name) is None:
        if TRAINER_STATE not in files:
            return False
        # Where a training's directory holds its checkpoints, the state beside them is that of its end.
        holds = any(STEP.fullmatch(directory) for directory in directories)
        return not holds and (TRAINER_STATES["optimizer"] in files or any(map(TRAINER_RNG.fullmatch, files)))
    if TRAINER_STATE not in files and any(map(_OF_ACCELERATE.fullmatch, files)):
        return False
    parts = any(file in _TRAINER_MEMBERS or is_weights(file) or TRAINER_RNG.fullmatch(file) for file in files)
    return parts or any(map(is_engine, directories))


def is_accelerate(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By random states, or by an optimizer or scheduler with one thing more that accelerate writes."""
    del directories
    few = [file for file in files if file.endswith((".pkl", ".bin"))]
    if any(map(ACCELERATE_RANDOM.fullmatch, few)):
        return True
    states = [key for key in ("optimizer", "scheduler") if any(map(ACCELERATE_STATES[key].fullmatch, few))]
    return bool(states) and (
        _STEP_OR_SAVE.fullmatch(name) is not None or len(states) == 2 or any(map(ACCELERATE_MODEL.fullmatch, files))
    )


def is_adapter(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By the adapter's configuration or weights."""
    del name
    adapter = ADAPTER_CONFIG in files or any(file in files for file in ADAPTER)
    # The directory of a training holds its last adapter beside its checkpoints.
    return adapter and not _holds_checkpoints(directories)


def is_pipeline(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By the index of the models in it, each in a directory."""
    del name
    return PIPELINE in files and bool(directories) and not _holds_checkpoints(directories)


def is_model(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By shards of weights or their index, or by one file of weights with a configuration."""
    del name
    weights = {file for file in files if file.endswith(_WEIGHTS) and is_weights(file)}
    if not weights:
        return False
    # Where a training's own checkpoints lie beside or below, the directory is the training's.
    others = any(may_be_file(file) and file not in weights and file != ARGUMENTS for file in files)
    if others or _holds_checkpoints(directories):
        return False
    if any(map(is_split, weights)):
        return True
    # One file with its configuration may lie in any directory: one that is split further is more than a model.
    return CONFIG in files and all(directory.startswith(".") for directory in directories)


def _holds_checkpoints(directories: Iterable[str]) -> bool:
    """Whether the names of directories are such as trainings give to their checkpoints."""
    return any(map(_CHECKPOINTS.fullmatch, directories))
