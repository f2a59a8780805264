"""What a file says of itself, as one record."""

from __future__ import annotations

from typing import Any

import msgspec

from ckpt.records import CheckpointState, Record, TensorInfo


class Inspection(Record, frozen=True, kw_only=True):
    """One file as its metadata describes it; numbers may be NaN or infinite.

    `state` is complete, incomplete (it ends too early) or corrupt (it breaks its format's rules); `problems` say why.
    """

    path: str
    framework: str = "unknown"
    format: str = "unknown"
    """The container: torch, torch-legacy, safetensors, pickle, unknown."""
    state: CheckpointState = "complete"
    step: int | None = None
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    """Hyper-parameters as plain data: text, numbers, booleans, None, lists and mappings."""
    parameter_count: int = 0
    """Elements of the model's own weights; shared ones count once."""
    tensor_count: int = 0
    bytes: int = 0
    """Size of the file."""
    bytes_read: int = 0
    """How much of the file was read to know all this."""
    tensors: tuple[TensorInfo, ...] = ()
    resume: dict[str, Any] = msgspec.field(default_factory=dict)
    """Which states a training finds in it: model, optimizer, scheduler, scaler, data; and rng by generator."""
    unknown_globals: tuple[str, ...] = ()
    """Names that the file's pickle imports and that have no plain meaning. Shown, never imported."""
    problems: tuple[str, ...] = ()
    saved_at: float | None = None
    """When it was saved, by its own word; Unix seconds."""
    fingerprint: str = ""
    """Changes with the content; "" where the file could not be read to that point."""
    storages: dict[str, str] = msgspec.field(default_factory=dict)
    """For tensors by name a hint at their content: equal hints, equal bytes. Absent where there is none."""
