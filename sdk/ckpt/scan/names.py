"""What the name of a file in a foreign run says: that it points to a checkpoint, or belongs to one beside it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ckpt.scan.finding import may_be_checkpoint

METADATA = "metadata"
"""A directory of side files beside the part of a run that holds its weights."""

POINTERS = frozenset({"latest", "latest_universal", "last_checkpoint", "latest_checkpointed_iteration.txt"})
"""Small text files in which a trainer names a checkpoint."""
GOING_ON = POINTERS - {"latest_universal"}
"""Those in which it writes which one it goes on from."""
SNAPSHOT = "checkpoint_manager_snapshot.json"
"""The JSON file in which Ray Train lists the checkpoints that it keeps."""

_MOVING = re.compile(r"(?:^|[-_.])(?:last|latest|best|final|current|newest)(?:[-_.]|$)", re.IGNORECASE)
_NEWEST = re.compile(
    r"(?:[\w.=-]{0,100}[-_.])?(?:last|latest|newest)(?:[-_](?:model|checkpoint|ckpt|weights|state|epoch|step|iter|v\d+))?"
    r"(?:\.\w{1,20}){0,3}",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.[a-z]+)")
_RANK = re.compile(r"(?P<stem>.+?)[-_.](?:rank|shard)[-_]?\d{1,6}(?P<suffix>(?:\.[a-z]+){1,2})")
_INDEX = re.compile(r"(?P<stem>.+)(?P<suffix>\.(?:safetensors|bin))\.index\.json")
_EXTRA = re.compile(r"(?P<prefix>.+)_(?:replay_buffer|vecnormalize)_(?P<steps>\d+_steps)\.pkl")
_STATE = re.compile(r"(?:optimizer|optim|scheduler|lr_scheduler|scaler)(?P<rest>(?:[-_.]\w+)*?)\.(?:pt|pth|bin|ckpt)")
_TRAINING = re.compile(r"training_args\.bin|rng_state(?:_\d+)?\.pth|random_states_\d+\.pkl|sampler\.bin")
_METADATA = re.compile(METADATA + r"/checkpoint_metadata_epoch_(?P<epoch>\d+)\.json")
_DATED = re.compile(r".+_epoch_(?P<epoch>\d+)_\d{8}_\d{6}\.pth")
_MODELS = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin", "model")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def is_pointer(name: str) -> bool:
    """Whether a trainer names checkpoints in a file of that name."""
    return name in POINTERS or name == SNAPSHOT


def is_moving(name: str) -> bool:
    """Whether a name goes from one checkpoint to the next, as `last.ckpt` and `model_best.pth` do."""
    return _MOVING.search(name) is not None


def is_newest(name: str) -> bool:
    """Whether a link of that name goes to the newest checkpoint, as `last.ckpt` and `model_latest.pth` do."""
    return _NEWEST.fullmatch(name) is not None and "best" not in name.lower()


def is_link(name: str) -> bool:
    """Whether a symbolic link of that name may be another name of a checkpoint."""
    return may_be_checkpoint(name) or is_pointer(name) or is_moving(name)


def may_belong(name: str) -> bool:
    """Whether a file of that name, which is no checkpoint by itself, may belong to one."""
    return any(pattern.fullmatch(name) for pattern in (_INDEX, _EXTRA, _TRAINING, _METADATA))


@dataclass(frozen=True, slots=True)
class Series:
    """What the files of one step that a training writes in several have in common."""

    stem: str
    suffix: str
    count: str = ""


def series_of(name: str) -> Series | None:
    """The several files of one step that a file is one of: ranks, or shards; None when it stands alone."""
    found = _SHARD.fullmatch(name)
    if found is not None:
        return Series(found["stem"], found["suffix"], found["count"])
    found = _RANK.fullmatch(name)
    return None if found is None else Series(found["stem"], found["suffix"])


def epoch_of_dated(name: str) -> str | None:
    """The epoch in `model_best_epoch_003_20250101_120000.pth`, as it is written there."""
    found = _DATED.fullmatch(name)
    return None if found is None else found["epoch"]


def epoch_of_metadata(name: str) -> str | None:
    """The epoch in `metadata/checkpoint_metadata_epoch_003.json`, as it is written there."""
    found = _METADATA.fullmatch(name)
    return None if found is None else found["epoch"]


def owners_of(name: str) -> tuple[str | Series, ...]:
    """What a side file belongs to, the likeliest first, by names in the same directory; () when it is none."""
    found = _INDEX.fullmatch(name)
    if found is not None:
        return (Series(found["stem"], found["suffix"]),)
    found = _EXTRA.fullmatch(name)
    if found is not None:
        return (f"{found['prefix']}_{found['steps']}.zip",)
    found = _STATE.fullmatch(name)
    if found is not None and found["rest"]:
        return tuple(f"model{found['rest']}{suffix}" for suffix in _WEIGHTS)
    if found is not None or _TRAINING.fullmatch(name):
        files = [*_MODELS[:-1], *(_MODELS[-1] + suffix for suffix in _WEIGHTS)]
        whole = [Series(stem, suffix) for stem in ("model", "pytorch_model") for suffix in (".safetensors", ".bin")]
        return (*files, *whole)
    return ()
