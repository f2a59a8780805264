"""What a manager finds in its run: checkpoints by name, their content, and the way back into a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from ckpt.exceptions import AddressError, UsageError
from ckpt.records import Checkpoint
from ckpt.runs import Run
from ckpt.runs.lookup import names_start, start_of
from ckpt.saving.capture.arguments import telling_loaders
from ckpt.saving.capture.epoch_loss import EpochLoss
from ckpt.saving.capture.loaders import training_loaders
from ckpt.saving.capture.metrics_history import MetricsHistory
from ckpt.saving.capture.observing import Unobserved
from ckpt.saving.capture.registry import Registry
from ckpt.saving.capture.taking import Training
from ckpt.saving.capture.turns import Turns
from ckpt.saving.envelope import Content, Migration
from ckpt.saving.envelope.content import Phase
from ckpt.saving.restore import RestoreReport, restore
from ckpt.saving.restore.loading import has_any, newest_whole, read_checkpoint
from ckpt.saving.when.rules import Rules
from ckpt.state import TrainingState


class LoadedCheckpoint(TypedDict):
    """What `load_checkpoint` returns."""

    weights: Mapping[str, Any]
    """Name to tensor."""
    state: TrainingState
    optimizer_states: list[Any]
    scheduler_states: list[Any]
    scaler_state: Any
    random_state: Any
    loader_states: list[Any]
    checkpoint: Checkpoint
    path: str
    commit_hash: str
    """Id of the checkpoint."""
    epoch_finished: bool | None
    phase: Phase | None
    """Where in its epoch the training stood: in its training, its validation, or between two."""
    resume_state: Mapping[str, Any]
    """The format's `resume_state`: `phase` and counts, and what the trainer's own has."""
    model_config: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    """The run's hyper-parameters at the save."""
    gradients: Mapping[str, Any] | None
    """Those that counted, in the midst of an accumulation, by the names of their parameters; {} when none did."""
    early_stopping: Mapping[str, Any] | None
    captured: Mapping[str, Any]
    """States of registered objects by name."""
    metrics_history: Mapping[str, Any] | None
    migration: Migration | None
    """How the file was read, when it is of an older layout or of another maker."""


class Reading:
    """Loading and looking. All of it waits for what is being saved, so what was saved before is found."""

    run: Run
    next_epoch: int = 0
    """The epoch that a loop begins with: after a restore that of its report, before one 0."""
    next_step: int = 0
    """The global step that it counts on from."""
    _begins_at: int | None = None
    """The step at which an epoch is not begun yet, after a restore from between two."""
    observed: Unobserved
    _registry: Registry
    epoch_loss: EpochLoss
    _metrics: MetricsHistory
    _turns: Turns
    _rules: Rules

    def load_checkpoint(
        self,
        ref: Any = None,
        load_best: bool = False,
        *,
        commit_hash: Any = None,
        map_location: Any = "cpu",
        verify: bool = True,
    ) -> LoadedCheckpoint:
        """The content of a checkpoint; changes nothing on disk or in the training.

        `ref` (also under the name `commit_hash`) is a path, id, selector such as `best` or `step:40`, record, handle,
        or another run as `Run.fork` takes it (`runs/exp1`, `exp1@best`); without it the newest, or with `load_best`
        the best. Where that one is damaged, the newest (next best) whole one is loaded and a warning says so; a
        damaged `ref` raises CorruptError. `verify` compares the file's hash. Weights and optimizer states go where
        `map_location` says, all else is on the CPU. Raises AddressError when there is nothing to load,
        IncompleteError, FormatError, and UsageError for a device that is not here.
        """
        record, content = self._read(ref, load_best, commit_hash, map_location, verify)
        self.observed.read(content.state.global_step)
        if record.run == self.run.id and record.seq is not None and not self._rules.history.has_past:
            # Who loads before the first save goes on from there, in a way of their own.
            self._rules.history.go_on_from(record.seq)
        return LoadedCheckpoint(
            weights=content.weights,
            state=content.state,
            optimizer_states=content.optimizers or [],
            scheduler_states=content.schedulers or [],
            scaler_state=content.scaler,
            random_state=content.random,
            loader_states=content.loaders or [],
            checkpoint=record,
            path=record.path,
            commit_hash=record.id,
            epoch_finished=content.epoch_finished,
            phase=content.phase,
            resume_state=content.resume,
            model_config=content.model_config,
            config=content.config_snapshot,
            gradients=content.gradients,
            early_stopping=content.early_stopping,
            captured=content.captured or {},
            metrics_history=content.metrics_history,
            migration=content.migration,
        )

    def _read(
        self, ref: Any, load_best: bool, commit_hash: Any, map_location: Any, verify: bool
    ) -> tuple[Checkpoint, Content]:
        wanted = ref if ref is not None else commit_hash
        if wanted is None:
            return newest_whole(self.run.view(), best=load_best, map_location=map_location, verify=verify)
        if load_best:
            raise UsageError("load_best and a checkpoint by name ask for two things", hint="give one of them")
        try:
            record = self.run.checkpoint(wanted)
        except AddressError:
            beside = Path.cwd() if self.run.directory is None else self.run.directory.parent
            if not names_start(wanted, beside):
                raise
            record = start_of(wanted, beside, None)[1]
        return record, read_checkpoint(record, map_location=map_location, verify=verify)

    def restore_from_checkpoint(
        self,
        model: Any = None,
        optimizers: Any = None,
        schedulers: Any = None,
        scaler: Any = None,
        *,
        loaders: Any = None,
        strict: bool = True,
        ref: Any = None,
        load_best: bool = False,
        map_location: Any = "cpu",
        verify: bool = True,
        random: bool = True,
        weights_only: bool = False,
        fallback: Any = None,
    ) -> RestoreReport:
        """Puts a checkpoint into the training's objects and random generators, and reports what it did.

        Which one is chosen as by `load_checkpoint`. With `strict` anything that does not fit raises CheckpointError
        and nothing is changed; without, what fits is restored, and optimizers and the rest only when all weights did.
        Registered objects are restored by name. With `weights_only` the model alone is restored, and the training
        counts from 0. `fallback` is a checkpoint to start from as long as the run has none of its own.
        The training goes on from there: rules for steps and epochs and the count of early stopping follow.
        """
        if ref is None and fallback is not None and not has_any(self.run.checkpoints()):
            ref, load_best = fallback, False
        record, content = self._read(ref, load_best, None, map_location, verify)
        training = Training(model, optimizers, schedulers, scaler, telling_loaders(loaders)[0], self._registry.objects)
        report = restore(
            content,
            path=record.path,
            checkpoint=record.id,
            start_of_fork=record.label == "fork",
            training=training,
            strict=strict,
            random=random,
            weights_only=weights_only,
        )
        self.observed.knows(training)
        self.observed.read(report.next_step)
        self.next_epoch, self.next_step = report.next_epoch, report.next_step
        self._begins_at = report.next_step if report.phase == "between" else None
        goes_on = not (weights_only or report.start_of_fork)
        self.epoch_loss = EpochLoss(content.resume.get("epoch_loss") if goes_on else None)
        if weights_only:
            return report
        if goes_on:
            self._metrics = MetricsHistory(content.metrics_history)
            begun = report.phase != "between"
            self._turns.go_on(training_loaders(training.loaders), report.next_epoch, begun=begun)
        own = record.seq if record.run == self.run.id else None
        if own is not None:
            self._rules.history.go_on_from(own)
        self._rules.patience.go_on_from(report.next_step, content.early_stopping, is_own=own is not None)
        return report

    @property
    def reported_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the training reported so far, and before the checkpoint that it goes on from."""
        return self._metrics.names

    def resume(
        self,
        model: Any,
        optimizers: Any = None,
        schedulers: Any = None,
        scaler: Any = None,
        *,
        loaders: Any = None,
        strict: bool = True,
        fallback: Any = None,
    ) -> RestoreReport | None:
        """Goes on from the run's newest whole checkpoint; as long as it has none, from `fallback`, else None.

        The same lines start a training and go on with it:

            manager = CheckpointManager("runs/exp1", CheckpointConfig(save_every_n_steps=100))
            manager.resume(model, optimizer, scheduler, loaders=loader)
            for epoch in range(manager.next_epoch, epochs):

        Raises as `restore_from_checkpoint` does.
        """
        if fallback is None and not has_any(self.run.checkpoints()):
            return None
        return self.restore_from_checkpoint(
            model, optimizers, schedulers, scaler, loaders=loaders, strict=strict, fallback=fallback
        )

    # Looking

    def list_checkpoints(self, include_metrics: bool = True, only_best: bool = False) -> list[Checkpoint]:
        """The complete checkpoints, newest first; `only_best` those tagged `best-1` … `best-N`.

        Without `include_metrics` their `metrics` are empty.
        """
        found = [c for c in self.run.checkpoints() if c.state == "complete"]
        if only_best:
            found = [c for c in found if any(tag.startswith("best-") for tag in c.tags)]
        return found if include_metrics else [c.evolve(metrics={}) for c in found]

    def get_checkpoint_info(self, ref: Any = None) -> Checkpoint:
        """The record of one checkpoint, without loading it. Raises AddressError that says what exists."""
        return self.run.checkpoint(ref)
