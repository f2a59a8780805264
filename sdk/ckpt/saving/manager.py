"""CheckpointManager: when to save, what to keep, and how to go on, for one run.

with CheckpointManager(run, CheckpointConfig(save_every_n_epochs=1, keep_last_n_checkpoints=5)) as manager:
    if manager.should_save_checkpoint(state):
        manager.save_checkpoint(model, state, optimizers=optimizer)
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from ckpt.config import CheckpointConfig
from ckpt.encoding import printable
from ckpt.exceptions import SaveError, StateError
from ckpt.paths import CHECKPOINT_SUFFIX, checkpoint_stem
from ckpt.retention.quantities import size_text
from ckpt.runs import Run
from ckpt.saving import decisions, governing, snapshot
from ckpt.saving.callbacks import Callbacks, CheckpointCallback
from ckpt.saving.capture.ranks import gather_random
from ckpt.saving.capture.registry import Registry
from ckpt.saving.early_stopping import Patience
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.history import History, Saved, read_history
from ckpt.saving.metrics_history import MetricsHistory
from ckpt.saving.queue import Save
from ckpt.saving.reading import Reading
from ckpt.saving.sender import Sender
from ckpt.saving.snapshot import Given
from ckpt.saving.staged import StagedSaves
from ckpt.saving.telling import tell
from ckpt.state import TrainingState

log = logging.getLogger("ckpt.saving")


@dataclass
class _Sent:
    """What is to be known of a save when it has ended."""

    saved: Saved
    state: TrainingState
    blocked_s: float = 0.0
    """How long the training waited."""


class CheckpointManager(Reading):
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
        self._given = config
        self.config = config or governing.recorded(self.run)
        self._names = {"model_name": model_name, "experiment_name": experiment_name}
        self._model_config = model_config
        self._monitor, self._mode = governing.followed(self.run, self.config)
        self._callbacks = Callbacks()
        self._registry = Registry()
        self._metrics = MetricsHistory()
        self._sender = Sender(self.run, self.config)
        self._staged = StagedSaves(self._take_back)
        self._known_history: History | None = None
        if self.run.silent:
            # Read before rank 0 saves anything, so that all ranks decide from the same past.
            self._known_history = self._history
        self._patience = Patience(self.run, self.config, self._monitor, self._mode)
        self._described = False
        if self.run.training:
            self._describe()

    def _describe(self) -> None:
        if not self._described:
            governing.describe(self.run, self._given, self._names)
            self._described = True

    @property
    def _history(self) -> History:
        if self._known_history is None:
            attempt = self.run.attempt if self.run.training else None
            self._known_history = read_history(self.run.checkpoints(), self._monitor, self._mode, attempt=attempt)
        return self._known_history

    # Saving

    def register(self, name: str, item: Any) -> None:
        """Has the state of one more object in every checkpoint, and back with every restore.

        Anything with `state_dict()` and `load_state_dict()` will do, and random generators. The same name again
        replaces it. Raises StateError for a name that means a part of every training, and for what has no state.
        """
        self._registry.add(name, item)

    def note_metrics(self, state: TrainingState) -> None:
        """Takes a state that was emitted into the history of metrics that goes into each checkpoint."""
        self._metrics.add(state)

    def should_save_checkpoint(self, state: TrainingState, *, at_epoch_end: bool | None = None) -> bool:
        """Whether a rule of the config asks for a checkpoint of this state. Asking changes nothing.

        `at_epoch_end` tells where the training is; None is a loop that asks at every step, where the rule for epochs
        takes the first state of an epoch.
        """
        self._settle()
        return bool(self._due(state, at_epoch_end))

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
        urgent: Literal["exception", "signal"] | None = None,
    ) -> SavedCheckpoint | None:
        """Saves a checkpoint beside the training and returns its handle; None on ranks that write nothing.

        It saves whenever it is called: `should_save_checkpoint` is what decides by the config's rules. `weights` is a
        module, a mapping of named modules, or a mapping of names to tensors or arrays. Optimizers, schedulers and
        loaders are one or several objects with `state_dict()`, or such states; without them those held in `state` are
        saved. `urgent` says that the training is about to end.

        All of it is copied when this returns, and may change. The handle's `result()` waits until the checkpoint is
        durable; by then pointers and tags have moved and the run's policy is applied. With `background=False` that is
        so when this returns. While an earlier save is written, this one waits, is left out, or waits in line, as
        `when_busy` says.

        Raises StateError for what cannot be stored, and LockedError when another process trains. Raises SaveError when
        the run cannot be written, and for an earlier save that failed if nobody was told of it: nothing of that one is
        listed, earlier checkpoints are untouched, and the next save works.
        """
        began = time.perf_counter()
        if not isinstance(state, TrainingState):
            raise StateError(f"state is a {type(state).__name__}", hint="give a TrainingState")
        self._hear_of_failures(urgent)
        self._warn_of_a_forgotten_past()
        self._metrics.add(state)
        gathers = self.config.gather_random_states and self.config.save_random_state
        given = Given(
            weights,
            optimizers,
            schedulers,
            scaler,
            loaders,
            at_epoch_end,
            self._registry.objects,
            gather_random() if gathers else None,
            self._metrics.to_plain(),
        )
        # The loop may change its own while this one is saved.
        state = dataclasses.replace(state, metrics=dict(state.metrics))
        if self.run.silent:
            rules = self._due(state, at_epoch_end, urgent)
            self._history.add(self._saved(state, rules, self._history.next_seq))
            return None
        try:
            self.run.begin()
            self._describe()
        except OSError as error:
            raise SaveError(f"run '{printable(self.run.name)}' cannot be written: {error.strerror}") from error
        return self._save(given, state, urgent, began)

    def _save(
        self, given: Given, state: TrainingState, urgent: Literal["exception", "signal"] | None, began: float
    ) -> SavedCheckpoint:
        stem = checkpoint_stem(state.global_step, float(state.epoch))
        packed = self._sender.pack(
            snapshot.content(given, state, self.config, self._model_config, self.run.config)
        )
        sure = decisions.waits(self._due(state, given.at_epoch_end, urgent))
        if not self._sender.admit(packed, sure=sure):
            return self._left_out(stem)
        self._hear_of_failures(urgent)
        rules = self._due(state, given.at_epoch_end, urgent)
        saved = self._saved(state, rules, self._sender.outbox.next_seq(self._history.next_seq))
        is_best = self._history.is_better(saved.value)
        marker = snapshot.marker(self.run, state, saved, is_best=is_best, message=self._message(state))
        sent = _Sent(saved, state)
        self._history.add(saved)
        try:
            handle = self._sender.send(packed, stem, marker, partial(self._settled, sent), sure=sure)
        except BaseException:
            self._take_back(saved.seq)
            raise
        sent.blocked_s = time.perf_counter() - began
        return handle

    def _due(
        self,
        state: TrainingState,
        at_epoch_end: bool | None,
        urgent: Literal["exception", "signal"] | None = None,
    ) -> tuple[str, ...]:
        busy = not self.run.silent and self._sender.outbox.queue.busy
        return decisions.due(
            state, self.config, self._history, at_epoch_end, now=time.monotonic(), in_flight=busy, urgent=urgent
        )

    def _saved(self, state: TrainingState, rules: tuple[str, ...], seq: int) -> Saved:
        value = decisions.monitored(state, self._monitor)
        return Saved(seq, state.global_step, float(state.epoch), value, rules, time.monotonic())

    def _left_out(self, stem: str) -> SavedCheckpoint:
        path = self.run.paths.checkpoints / f"{stem}{CHECKPOINT_SUFFIX}"
        handle = SavedCheckpoint(path)
        reason = f"{printable(path.name)} was left out: the save before it is still being written"
        handle.came_to_nothing("skipped", reason, "when_busy='block' would wait for that one")
        log.info("%s", reason)
        return handle

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

    # After a save

    def _settle(self) -> None:
        """Learns what has come of saves since the last look."""
        if not self.run.silent:
            self._sender.outbox.queue.settle()

    def _hear_of_failures(self, urgent: str | None) -> None:
        """Raises what nobody was told of; a training that is about to end only logs it."""
        if self.run.silent:
            return
        try:
            self._sender.outbox.queue.raise_untold()
        except SaveError as error:
            if urgent is None:
                raise
            log.error("%s", error)

    def _settled(self, sent: _Sent, save: Save) -> None:
        """What follows a save, in the training's own thread."""
        handle, outcome = save.handle, save.outcome
        for problem in () if outcome is None else outcome.told:
            tell(problem)
        if handle.status == "staged" and outcome is not None and outcome.staged is not None:
            self._staged.add(handle, save.job, outcome.staged, sent.saved.seq)
        elif handle.status != "saved":
            self._take_back(sent.saved.seq)
            if handle.status == "skipped":
                tell(handle.error().message)
            return
        log.info(
            "saved %s: %s, %.1f ms of the training, written in %.2f s",
            printable(handle.path.name),
            size_text(save.image.layout.size),
            sent.blocked_s * 1000,
            0.0 if outcome is None else outcome.written_s,
        )
        self.run.flush()
        self._callbacks.fire(sent.state, None if handle.staged else str(handle.path))

    def _take_back(self, seq: int) -> None:
        self._history.take_back(seq)

    def commit(self) -> list[SavedCheckpoint]:
        """Waits for what is being written, lists the staged checkpoints, oldest first, and returns their handles.

        Raises SaveError when one cannot be listed; those before it are.
        """
        if self.run.silent:
            return []
        self._sender.outbox.wait()
        done = self._staged.commit()
        self.run.flush()
        self._hear_of_failures(None)
        return done

    def discard(self) -> int:
        """Waits for what is being written, drops the staged checkpoints and returns how many there were."""
        if self.run.silent:
            return 0
        self._sender.outbox.wait()
        return self._staged.discard()

    def close(self) -> None:
        """Waits for what is being written, and gives memory, threads and processes back; may be called twice.

        The run goes on, and a save after it begins anew. Raises SaveError for a save that failed if nobody was told.
        """
        if not self.run.silent:
            self._sender.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except SaveError as failure:
            if error is None:
                raise
            log.error("%s", failure)

    # Callbacks

    def register_checkpoint_callback(self, callback: CheckpointCallback) -> None:
        """Has `callback(state, path)` called after each save; the path is None while the checkpoint is staged.

        It is called in the training's own thread, at the first call of manager, hook or handle after the checkpoint was
        committed. An error in a callback is logged and warned of, and reaches neither the others nor the training.
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
