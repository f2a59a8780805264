"""Where each layout of a checkpoint's mapping keeps what; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PRESENT = "format v1"
EARLIER = "format v1 without a capture report"
FIRST_WRITER = "format v1 as its first writer has it"
SINGLE = "a file with a single optimizer"
PLAIN = "a file of another maker"

WEIGHTS = ("model_state_dict", "state_dict", "model", "module")

PLACES: dict[str, tuple[str, ...]] = {
    "optimizer": ("optimizer_state_dicts", "optimizer_state_dict", "optimizer_states", "optimizers", "optimizer"),
    "scheduler": (
        "scheduler_state_dicts",
        "scheduler_state_dict",
        "schedulers",
        "scheduler",
        "lr_schedulers",
        "lr_scheduler",
    ),
    "scaler": ("amp_scaler_state", "scaler_state_dict", "grad_scaler", "scaler"),
    "rng": ("rng_states", "rng_state", "resume_state.rng"),
    "loaders": ("dataloader_manager_state", "resume_state.dataloader_manager_state", "resume_state.multi_train"),
    "choice_rng": (
        "choice_rng_state",
        "dataloader_manager_state.choice_rng",
        "dataloader_manager_state.choice_rng_state",
        "resume_state.choice_rng",
        "resume_state.dataloader_manager_state.choice_rng",
    ),
    "metrics": ("metrics",),
    "metrics_history": ("metrics_history",),
    "config": ("config_snapshot", "config", "hyper_parameters"),
    "model_config": ("model_config",),
}
"""Part of a training to the places where it is looked for; the first that holds something of the kind wins."""

_OF_VALIDATION = re.compile(
    r"(val|valid|validation|test|eval|evaluation)(loader|dataloader|dl|set|dataset|data)?([\W\d_]|$)", re.IGNORECASE
)
"""What the names of a validation's loaders begin with, as a whole word."""

KINDS: dict[str, tuple[type, ...]] = {
    "model_state_dict": (Mapping,),
    "optimizer_state_dicts": (list, tuple),
    "scheduler_state_dicts": (list, tuple),
    "amp_scaler_state": (Mapping,),
    "rng_states": (Mapping,),
    "rng_states_by_rank": (list, tuple),
    "loader_states_by_rank": (list, tuple),
    "gradients": (Mapping,),
    "early_stopping": (Mapping,),
    "dataloader_manager_state": (Mapping,),
    "resume_state": (Mapping,),
    "metrics": (Mapping,),
    "metrics_history": (Mapping,),
    "config_snapshot": (Mapping,),
    "model_config": (Mapping,),
    "training_state": (Mapping,),
    "captured": (Mapping,),
    "names": (Mapping,),
    "capture_report": (Mapping,),
    "epoch": (int, float),
    "global_step": (int, float),
    "world_size": (int,),
    "environment": (Mapping,),
    "save_timestamp": (int, float),
}
"""What stands under the keys of format v1, where it is not None."""


def layout_of(envelope: Mapping[str, Any]) -> str:
    """Which layout a file's mapping is of."""
    if isinstance(envelope.get("capture_report"), Mapping):
        return PRESENT
    if isinstance(envelope.get("training_state"), Mapping):
        return EARLIER
    if "format_version" in envelope or {"model_state_dict", "resume_state"} <= envelope.keys():
        in_resume = any(
            at(envelope, place) is not None for places in PLACES.values() for place in places if "." in place
        )
        return FIRST_WRITER if in_resume and envelope.get("dataloader_manager_state") is None else EARLIER
    if "model_state_dict" in envelope and {"optimizer_state_dict", "scheduler_state_dict"} & envelope.keys():
        return SINGLE
    return PLAIN


def at(envelope: Mapping[str, Any], place: str) -> Any:
    """What stands at a place such as `resume_state.rng`; None where nothing does."""
    value: Any = envelope
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def may_hold_data(weights: Mapping[str, Any], name: str) -> bool:
    """Whether what stands under a name may be other than a tensor: in the state dict of a module, which tells the
    versions of its parts, it may.
    """
    return name.endswith("_extra_state") or hasattr(weights, "_metadata")


def is_schedule(state: Any) -> bool:
    """Whether a state is the Iterator State of a schedule of several loaders, as `LoaderSchedule` tells it."""
    return isinstance(state, Mapping) and "strategy" in state and "loader_states" in state


def is_validation(name: str | None) -> bool:
    """Whether a loader of this name is one of the validation, and not of the training."""
    return name is not None and _OF_VALIDATION.match(name) is not None


def wrong_kind(envelope: Mapping[str, Any]) -> str | None:
    """What stands under a key of format v1 and is of another kind, as a sentence; None when all is as it should be."""
    for key, kinds in KINDS.items():
        value = envelope.get(key)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            return f"{key} is a {type(value).__name__}, not a {' or '.join(kind.__name__ for kind in kinds)}"
    return None
