"""What is known of runs and checkpoints: frozen records, no I/O.

Times are Unix seconds, sizes bytes, metrics floats that may be NaN or infinite.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

RunStatus = Literal["training", "idle", "stalled", "finished", "failed"]
CheckpointState = Literal["writing", "complete", "incomplete", "corrupt", "trashed"]
Action = Literal["keep", "remove", "skip"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records: immutable; `evolve` gives a changed copy."""

    def evolve(self, **changes: Any) -> Any:
        """A copy with some fields replaced."""
        return msgspec.structs.replace(self, **changes)


class Lineage(Record, frozen=True, kw_only=True):
    """Where a run was forked from."""

    run: str
    """Id of the parent run; "" when the parent was a file of no known run."""
    checkpoint: str | None = None
    """Id of the checkpoint that the fork started at."""
    path: str | None = None
    """Path that the checkpoint had then; tells what it was after it is gone."""


class TensorInfo(Record, frozen=True, kw_only=True):
    """A tensor as a file's metadata describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """Numpy-like name: float32, bfloat16, int64, bool, float8_e4m3fn …"""
    bytes: int


class Reason(Record, frozen=True, kw_only=True, gc=False):
    """Why a rule keeps a checkpoint, or how near it came.

    `rule` is the rule's name (`last`, `best`, `every_n_epochs`, `newest`, `pinned`, …); `text` says it to a person.
    """

    rule: str
    text: str
    rank: int | None = None
    limit: int | None = None
    metric: str | None = None
    value: float | None = None
    cutoff: float | None = None


class Verdict(Record, frozen=True, kw_only=True, gc=False):
    """What the policy makes of one checkpoint now, and why."""

    action: Action
    reasons: tuple[Reason, ...] = ()
    near_misses: tuple[Reason, ...] = ()


class Checkpoint(Record, frozen=True, kw_only=True):
    """One immutable saved snapshot: a file, several files of one step, a directory, or a commit."""

    id: str
    run: str
    """Id of its run."""
    path: str
    """Absolute path of the file or directory that holds it."""
    framework: str = "torch"
    format: str = "torch"
    state: CheckpointState = "complete"
    seq: int | None = None
    """Number of the save in its own run, counting all attempts; None for foreign runs."""
    attempt: int | None = None
    step: int | None = None
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    metrics: dict[str, float] = {}
    bytes: int = 0
    """Apparent size of all its files together."""
    unique_bytes: int | None = None
    """What of them is free again when it alone is gone: files without another name elsewhere; None when not known."""
    kinds: dict[str, int] = {}
    """Bytes of tensors by what they are: `weights`, `optimizer`; what is not named is other. Empty when not known."""
    saved_at: float = 0.0
    touched_at: float = 0.0
    """When anything in it was written, renamed or copied last; 0 when not known."""
    tags: tuple[str, ...] = ()
    """User's tags and the moving ones (`latest`, `best`, `best-1` …), sorted."""
    pinned: bool = False
    note: str | None = None
    measured: dict[str, int] = {}
    """Metrics that were attached after the save: name to the step that they were measured at."""
    label: str | None = None
    """Why it was saved: best, regular, epoch, step, interval …; export for a foreign model without a training's state;
    None when unknown."""
    fingerprint: str = ""
    files: tuple[str, ...] = ()
    """Absolute paths of all files that belong to it and move together; `path` is among them."""
    problems: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    """Who names it besides the user: `parent of RUN`, `pointer latest.pt`, …; protects it."""
    pointed: bool = False
    """Whether the trainer of a foreign run would go on from it, by its own word; it counts as newer than the others."""

    @property
    def global_step(self) -> int | None:
        """The training's own name for `step`."""
        return self.step

    @property
    def timestamp(self) -> datetime:
        """`saved_at` as an aware moment in UTC."""
        return datetime.fromtimestamp(self.saved_at, UTC)

    def value(self, metric: str) -> float | None:
        """The value of a metric, `loss` included; None when it was not recorded."""
        if metric in self.metrics:
            return self.metrics[metric]
        return self.loss if metric == "loss" else None


class Run(Record, frozen=True, kw_only=True):
    """One training experiment: a directory with checkpoints."""

    id: str
    name: str
    root: str
    """The watched directory that it was found under; its own parent when it is outside all roots."""
    path: str
    own: bool
    """Whether the SDK made it."""
    status: RunStatus = "idle"
    checkpoints: int = 0
    bytes: int = 0
    unique_bytes: int | None = None
    """What is free again when the whole run is gone; None when not known."""
    latest: str | None = None
    best: str | None = None
    parent: Lineage | None = None
    updated_at: float = 0.0
    created_at: float = 0.0
    monitor: str | None = None
    """Metric that `best` follows; None when it is unknown."""
    mode: Literal["min", "max"] = "min"
    framework: str = "unknown"
    config: dict[str, Any] = {}
    """The training's own hyper-parameters, as far as they are known."""
    epoch: float | None = None
    step: int | None = None
    loss: float | None = None
    problems: tuple[str, ...] = ()


def checkpoint_id(run: str, name: str, fingerprint: str) -> str:
    """Id of a checkpoint: 12 hexadecimal digits of SHA-256 over run id, name inside the run, and fingerprint.

    Rewriting a file in place changes its fingerprint and so makes another checkpoint.
    """
    digest = hashlib.sha256()
    for part in (run, name, fingerprint):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:12]


def foreign_run_id(root: str, relative: str) -> str:
    """Id of a run that carries none: 32 hexadecimal digits over the root's and its own path."""
    raw = f"{root}\0{relative}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(raw).hexdigest()[:32]
