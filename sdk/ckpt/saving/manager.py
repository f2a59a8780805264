"""CheckpointManager: when to save, what to keep, and how to go on, for one run.

manager = CheckpointManager(run, CheckpointConfig(save_every_n_epochs=1, keep_last_n_checkpoints=5))
if manager.should_save_checkpoint(state):
    manager.save_checkpoint(model, state, optimizers=optimizer)
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from ckpt.config import CheckpointConfig
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, SaveError, StateError, UsageError
from ckpt.paths import checkpoint_stem
from ckpt.records import Checkpoint, checkpoint_id
from ckpt.runs import Run
from ckpt.runs.lookup import start_of
from ckpt.saving import decisions, snapshot, upkeep, writer
from ckpt.saving.callbacks import Callbacks, CheckpointCallback
from ckpt.saving.early_stopping import Patience
from ckpt.saving.envelope import Content, to_envelope
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.history import History, Saved, read_history
from ckpt.saving.loading import newest_whole, read_checkpoint
from ckpt.saving.restore import RestoreReport, restore
from ckpt.saving.snapshot import Given
from ckpt.state import TrainingState

log = logging.getLogger("ckpt.saving")


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
    model_config: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    """The run's hyper-parameters at the save."""


@dataclass
class _Pending:
    """A file that is written and not committed yet."""

    staged: writer.Staged
    marker: dict[str, Any]
    handle: SavedCheckpoint


class CheckpointManager:
    """Saves, keeps and loads the checkpoints of one run.

    `repository` is a Run, or a run's directory, in which `run.json` is made if absent. Without a config the one that
    the run was last saved with applies. `model_name` and `experiment_name` are recorded with the run. Loading and
    listing need no lock; the first save takes the run's lock, as `Run.resume` does.

    On ranks other than 0 nothing is written: saving decides alike and returns None.
    """

    def __init__(
        self,
        repository: Run | str | os.PathLike[str],
        config: CheckpointConfig | None = None,
        model_name: str | None = None,
        experiment_name: str | None = None,
        *,
        model_config: Mapping[str, Any] | None = None,
    ) -> None:
        if config is not None and not isinstance(config, CheckpointConfig):
            raise StateError(f"config is a {type(config).__name__}", hint="give a CheckpointConfig")
        self.run = repository if isinstance(repository, Run) else Run.at(repository, experiment_name=experiment_name)
        recorded = self.run.manifest.get("saving")
        self._given = config is not None
        if config is None:
            config = CheckpointConfig.from_dict(recorded) if isinstance(recorded, dict) else CheckpointConfig()
        self.config = config
        self._names = {"model_name": model_name, "experiment_name": experiment_name}
        self._model_config = model_config
        self._monitor, self._mode = self._followed()
        self._callbacks = Callbacks()
        self._pending: list[_Pending] = []
        self._known_history: History | None = None
        if self.run.silent:
            # Read before rank 0 saves anything, so that all ranks decide from the same past.
            self._known_history = self._history
        self._patience = Patience(self.run, config, self._monitor, self._mode)
        self._upkeep = upkeep.Upkeep(self.run)
        self._described = False
        if self.run.training:
            self._describe()

    def _followed(self) -> tuple[str, Literal["min", "max"]]:
        """The metric that decides what is best: the config's, else the run's own, else the loss."""
        own = self.run.manifest.get("monitor")
        if self.config.save_on_best_metric is None and isinstance(own, str):
            return own, "max" if self.run.manifest.get("mode") == "max" else "min"
        return self.config.monitor, self.config.mode

    def _describe(self) -> None:
        """Writes into run.json by what rules the run is saved and kept, so that the daemon keeps it alike."""
        if self._described:
            return
        fields: dict[str, Any] = {name: value for name, value in self._names.items() if value is not None}
        if self._given:
            policy = self.config.to_policy()
            fields.update(saving=self.config.to_dict(), monitor=self._monitor, mode=self._mode)
            # A policy that the run was made with stays when the config says nothing of what to keep.
            fresh = "saving" not in self.run.manifest and not self.run.forked
            if policy.has_rules or not (fresh and self.run.manifest.get("policy")):
                fields["policy"] = policy.to_json()
        if fields:
            self.run.update(**fields)
        self._described = True

    @property
    def _history(self) -> History:
        if self._known_history is None:
            attempt = self.run.attempt if self.run.training else None
            self._known_history = read_history(self.run.checkpoints(), self._monitor, self._mode, attempt=attempt)
        return self._known_history

    # Saving

    def should_save_checkpoint(self, state: TrainingState, *, at_epoch_end: bool | None = None) -> bool:
        """Whether a rule of the config asks for a checkpoint of this state. Asking changes nothing.

        `at_epoch_end` tells where the training is; None is a loop that asks at every step, where the rule for epochs
        takes the first state of an epoch.
        """
        return bool(decisions.due(state, self.config, self._history, at_epoch_end))

    def save_checkpoint(
        self,
        weights: Any,
        state: TrainingState,
        *,
        optimizers: Any = None,
        schedulers: Any = None,
        scaler: Any = None,
        loaders: Any = None,
        at_epoch_end: bool | None = None,
    ) -> SavedCheckpoint | None:
        """Saves a checkpoint and returns its handle; None on ranks that write nothing.

        It saves whenever it is called: `should_save_checkpoint` is what decides by the config's rules. `weights` is a
        module, a mapping of named modules, or a mapping of names to tensors or arrays. Optimizers, schedulers and
        loaders are one or several objects with `state_dict()`, or such states; without them those held in `state` are
        saved. It is durable when this returns. Then pointers and tags move, the run's policy is applied, and callbacks
        are called.

        Raises StateError for what cannot be stored and SaveError when the write failed: nothing is listed then,
        earlier checkpoints are untouched, and the next save works. Raises LockedError when another process trains.
        """
        if not isinstance(state, TrainingState):
            raise StateError(f"state is a {type(state).__name__}", hint="give a TrainingState")
        rules = decisions.due(state, self.config, self._history, at_epoch_end)
        self._warn_of_a_forgotten_past()
        given = Given(weights, optimizers, schedulers, scaler, loaders, at_epoch_end)
        callbacks_state, state = state, dataclasses.replace(state)
        value = decisions.monitored(state, self._monitor)
        saved = Saved(self._history.next_seq, state.global_step, float(state.epoch), value, rules)
        if self.run.silent:
            self._history.add(saved)
            return None
        try:
            self.run.begin()
            self._describe()
        except OSError as error:
            raise SaveError(f"run '{printable(self.run.name)}' cannot be written: {error.strerror}") from error
        content = snapshot.content(given, state, self.config, self._model_config, self.run.config)
        envelope = to_envelope(content)
        stem = checkpoint_stem(state.global_step, float(state.epoch))
        staged = writer.stage(self.run.paths.checkpoints, stem, envelope)
        try:
            marker = snapshot.marker(
                self.run, state, saved, staged, is_best=self._history.is_better(value), message=self._message(state)
            )
            pending = _Pending(staged, marker, SavedCheckpoint(staged.path))
            if self.config.auto_commit:
                self._commit(pending)
        except BaseException:
            writer.discard(staged.path)
            raise
        if pending.handle.staged:
            self._pending.append(pending)
        self._history.add(saved)
        self._callbacks.fire(callbacks_state, None if pending.handle.staged else str(pending.handle))
        return pending.handle

    def _warn_of_a_forgotten_past(self) -> None:
        history = self._history
        if history.saves and not history.has_past:
            log.warning(
                "run %s has checkpoints up to number %d, and this training went on from none of them; "
                "TrainingHook.resume() or restore_from_checkpoint() goes on where it stopped",
                printable(self.run.name),
                history.next_seq - 1,
            )

    def _message(self, state: TrainingState) -> str:
        names = {name: given if given is not None else getattr(state, name) for name, given in self._names.items()}
        return self.config.message({**state.metrics, **vars(state), "step": state.global_step, **names})

    def _commit(self, pending: _Pending) -> None:
        """Lists a staged checkpoint; then pointers, retention, trash."""
        run = self.run
        marker = pending.marker

        def marker_for(path: Path) -> dict[str, Any]:
            found = checkpoint_id(run.id, path.name, pending.staged.fingerprint)
            return {"format": 1, "id": found, "file": path.name, **marker}

        path = writer.commit(pending.staged, upkeep.taken_names(run), marker_for)
        record = snapshot.record(path, marker_for(path))
        try:
            view = self._upkeep.after_save()
            record = next((c for c in view.checkpoints if c.path == str(path)), record)
        except OSError as error:
            log.warning("run %s could not be looked at after a save: %s", printable(run.name), error)
        pending.handle.committed(record)
        run.flush()

    def commit(self) -> list[SavedCheckpoint]:
        """Lists the staged checkpoints, oldest first, and returns their handles.

        Raises SaveError when one cannot be listed; those before it are.
        """
        done: list[SavedCheckpoint] = []
        while self._pending:
            pending = self._pending.pop(0)
            self._commit(pending)
            done.append(pending.handle)
        return done

    def discard(self) -> int:
        """Drops the staged checkpoints and returns how many there were."""
        count = len(self._pending)
        for pending in self._pending:
            writer.discard(pending.staged.path)
        self._pending.clear()
        return count

    # Loading

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

        `ref` (also under the name `commit_hash`) is a path, id, selector such as `best` or `step:40`, record or
        handle; without it the newest, or with `load_best` the best. Where that one is damaged, the newest (next best)
        whole one is loaded and a warning says so; a damaged `ref` raises CorruptError. `verify` compares the file's
        hash first. Raises AddressError when there is nothing to load, IncompleteError, FormatError.
        """
        record, content = self._read(ref, load_best, commit_hash, map_location, verify)
        if record.run == self.run.id and record.seq is not None and not self._history.has_past:
            # Who loads before the first save goes on from there, in a way of their own.
            self._history.go_on_from(record.seq)
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
            model_config=content.model_config,
            config=content.config_snapshot,
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
            if not isinstance(wanted, str | os.PathLike) or not os.path.isfile(wanted):
                raise
            record = start_of(wanted, Path.cwd(), None)[1]
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
    ) -> RestoreReport:
        """Puts a checkpoint into the training's objects and random generators, and reports what it did.

        Which one is chosen as by `load_checkpoint`. With `strict` anything that does not fit raises CheckpointError
        and nothing is changed; without, what fits is restored, and optimizers and the rest only when all weights did.
        The training goes on from there: rules for steps and epochs and the count of early stopping follow.
        """
        record, content = self._read(ref, load_best, None, map_location, verify)
        report = restore(
            content,
            checkpoint=record,
            model=model,
            optimizers=optimizers,
            schedulers=schedulers,
            scaler=scaler,
            loaders=loaders,
            strict=strict,
            random=random,
        )
        if record.run == self.run.id and record.seq is not None:
            self._history.go_on_from(record.seq)
            self._patience.return_to(report.next_step)
        return report

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

    # Callbacks

    def register_checkpoint_callback(self, callback: CheckpointCallback) -> None:
        """Has `callback(state, path)` called after each save; the path is None while the checkpoint is staged.

        An error in a callback is logged and warned of, and reaches neither the others nor the training.
        """
        self._callbacks.register(callback)

    def unregister_checkpoint_callback(self, callback: CheckpointCallback) -> bool:
        """Takes a callback away; False when it was not registered."""
        return self._callbacks.unregister(callback)

    def clear_callbacks(self) -> int:
        """Takes all callbacks away and returns how many there were."""
        return self._callbacks.clear()

    def list_callbacks(self) -> list[str]:
        """The names of the callbacks, in the order in which they are called."""
        return self._callbacks.names()

    # Early stopping

    def check_early_stopping(self, state: TrainingState) -> bool:
        """Looks at the monitored metric once more and says whether to stop.

        To be called once an evaluation. A state without the metric is passed over; one that is NaN or infinite counts
        as no improvement. Without `early_stopping_patience` the answer is always False.
        """
        return self._patience.check(state)

    @property
    def should_stop_early(self) -> bool:
        """Whether patience is at its end."""
        return self._patience.now.stop

    @property
    def no_improvement_count(self) -> int:
        """Looks in a row without improvement."""
        return self._patience.now.count
