"""What a checkpoint says of itself, as one record."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ckpt.records import CheckpointState, Record, TensorInfo


class Inspection(Record, frozen=True, kw_only=True):
    """One file or directory as its metadata describes it; numbers may be NaN or infinite.

    `state` is complete, incomplete (it ends too early) or corrupt (it breaks its format's rules); `problems` say why.
    """

    path: str
    framework: str = "unknown"
    format: str = "unknown"
    """The container: torch, torch-legacy, safetensors, pickle, keras, hdf5, dcp, orbax, directory, unknown."""
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
    """Size of the file, or of all files in the directory, each inode once."""
    kinds: dict[str, int] = msgspec.field(default_factory=dict)
    """Bytes on disk by what they are: `weights` with their averages, `optimizer`; the rest is neither. Empty when it is
    not known, as where the tensors are not listed."""
    bytes_read: int = 0
    """How much of it was read to know all this."""
    tensors: tuple[TensorInfo, ...] = ()
    resume: dict[str, Any] = msgspec.field(default_factory=dict)
    """Which states a training finds in it: `model`, `optimizer`, `scheduler`, `scaler`, `data` (true or false), `rng`
    (`python`, `numpy`, `torch`, `cuda`: true or false; `ranks`: how many ranks have their own) and `topology`
    (`world_size` and whatever else is known of how the training was spread; {} when nothing is). Where the writer
    says that its epoch was over, also `epoch_finished` (true); where it reports what it captured, also `captured`
    (names of parts), `left_out` (name to the reason), `resumes_by` (loader to `position`, `state` or `skipping`),
    `caveats` (why a resume may not be exact, as sentences) and `phase` (`train_batch`, `val_batch`,
    `epoch_end` …)."""
    unknown_globals: tuple[str, ...] = ()
    """Names that the file's pickle imports and that have no plain meaning. Shown, never imported."""
    problems: tuple[str, ...] = ()
    saved_at: float | None = None
    """When it was saved, by its own word; Unix seconds."""
    fingerprint: str = ""
    """Changes with the content; "" where the file could not be read to that point."""
    storages: dict[str, str] = msgspec.field(default_factory=dict)
    """For tensors by name a hint at their content: equal hints, equal bytes. Absent where there is none."""
    monitor: str | None = None
    """The metric that the trainer itself compares checkpoints by."""
    mode: Literal["min", "max"] | None = None
    """Which values of `monitor` are better, by the trainer's own word."""
    references: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Other checkpoints that the trainer's state names, as written there: `best_model_checkpoint`, `best_k_models` …
    Under a key without any it may name some, and could not be read."""
    from_name: tuple[str, ...] = ()
    """Which of `step`, `epoch` and `metrics.NAME` stand in the name alone."""
    files: tuple[str, ...] = ()
    """Of a directory: names of all its files, relative to it, sorted."""
