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
from functools import partial
from typing import Any

from ckpt.config import CheckpointConfig
from ckpt.encoding import printable
from ckpt.exceptions import OperationError, SaveError, StateError
from ckpt.paths import checkpoint_stem
from ckpt.runs import Run
from ckpt.saving.after.callbacks import Callbacks, HasCallbacks
from ckpt.saving.after.following import Following, Sent
from ckpt.saving.capture import observing
from ckpt.saving.capture.arguments import refuse_wrong_states, telling_loaders
from ckpt.saving.capture.epoch_loss import EpochLoss
from ckpt.saving.capture.gradients import capture_gradients
from ckpt.saving.capture.loaders import positions_of, training_loaders
from ckpt.saving.capture.metrics_history import MetricsHistory
from ckpt.saving.capture.ranks import agree, gather
from ckpt.saving.capture.registry import Registry
from ckpt.saving.capture.stepping import watch
from ckpt.saving.capture.taking import Training, own_states
from ckpt.saving.capture.turns import Turns
from ckpt.saving.ending import Ending
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.reading import Reading
from ckpt.saving.sending import snapshot
from ckpt.saving.sending.sender import Sender
from ckpt.saving.sending.snapshot import Given
from ckpt.saving.when import decisions, governing
from ckpt.saving.when.decisions import Urgent
from ckpt.saving.when.rules import Rules
from ckpt.saving.when.signals import SignalWatch
from ckpt.state import TrainingState

log = logging.getLogger("ckpt.saving")


class CheckpointManager(Reading, Ending, HasCallbacks):
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
        self._registry = Registry()
        self._metrics = MetricsHistory()
        self.epoch_loss = EpochLoss()
        """The losses of the epoch that is under way, as a loop's hook adds them up."""
        self._sender = Sender(self.run, self.config)
        self._rules = Rules(self.run, self.config)
        self._callbacks = Callbacks()
        self._following = Following(self.run, lambda: self._rules.history, self._callbacks)
        self._signals = SignalWatch(
            self.config.save_on_signals, float(self.config.signal_save_within), silent=self.run.silent
        )
        self.run.under_way.afterwards(self._signals.close)
        self._described = False
        self._told_of_loaders = False
        self._stepped_at: tuple[Any, ...] | None = None
        self._turns = Turns()
        self.observed = observing.here()
        """What a self-test is told of this training."""
        self.observed.follow(self.run)
        if self.run.training:
            self._describe()
        if self.run.training or self.run.silent:
            self._signals.start()

    def _describe(self) -> None:
        if not self._described:
            governing.describe(self.run, self._given, self._names)
            self._described = True

    # Saving

    def register(self, name: str, item: Any) -> None:
        """Has the state of one more object in every checkpoint, and back with every restore.

        Anything with `state_dict()` and `load_state_dict()` will do, and random generators. The same name again
        replaces it. Raises StateError for a name that means a part of every training, and for what has no state.
        """
        self._registry.add(name, item)

    @property
    def registered(self) -> Mapping[str, Any]:
        """The registered objects by name."""
        return self._registry.objects

    def watch_optimizers(self, optimizers: Any) -> None:
        """Watches the steps of one or several optimizers from now on, so that each save knows which gradients count.

        The first save with an optimizer does it too, and a restore; but only from then on it is known.
        """
        watch(optimizers)

    def leave_out(self, loaders: Any) -> tuple[Any, dict[str, str]]:
        """The loaders that can be saved, and why the others are left out; the log says that once.

        Raises StateError for what is no loader.
        """
        kept, left_out = telling_loaders(loaders)
        if left_out and not self._told_of_loaders and not self.run.silent:
            self._told_of_loaders = True
            told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            log.warning("checkpoints are saved without a position in the data: %s", told)
        return kept, left_out

    def note_step(self, loaders: Any, epoch: int) -> None:
        """A step was made with the batches that these loaders gave last, as is told of each step or of none: an
        exception from here on interrupts none.
        """
        self._stepped_at = positions_of(loaders)
        self._turns.note(training_loaders(loaders), epoch, every_step=True)

    def note_metrics(self, state: TrainingState) -> None:
        """Takes a state that was emitted into the history of metrics that goes into each checkpoint."""
        self._metrics.add(state)

    def should_save_checkpoint(self, state: TrainingState, *, at_epoch_end: bool | None = None) -> bool:
        """Whether a rule of the config asks for a checkpoint of this state. Asking changes nothing.

        `at_epoch_end` tells where the training is; None is a loop that asks at every step, where the rule for epochs
        takes the first state of an epoch. With `gather_random_states` all ranks have to ask together, and have rank 0's
        answer.
        """
        if not self.run.silent:
            self._sender.outbox.queue.learn()
        self._signals.start()
        due = bool(self._due(state, at_epoch_end, "signal" if self._signals.pending else None))
        due = self.observed.asked(state) or due
        if decisions.meets_on_all_ranks(self.config):
            due = agree(due)
        # What is told may raise, and ranks must not wait for one that did.
        self._settle()
        return due

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
        epoch_begun: bool | None = None,
        after: BaseException | None = None,
        gradients: bool | None = None,
    ) -> SavedCheckpoint | None:
        """Saves a checkpoint beside the training and returns its handle; None on ranks that write nothing.

        It saves whenever it is called: `should_save_checkpoint` is what decides by the config's rules. `weights` is a
        module, a mapping of named modules, or a mapping of names to tensors or arrays. Optimizers, schedulers and
        loaders are one or several objects with `state_dict()`, or such states; without them those held in `state` are
        saved. `after` is the exception that ends the training. A save for which a signal waits is durable when this
        returns, if that takes no longer than `signal_save_within`; then the signal is handed on.

        Where in its epoch the training stands is what the loaders tell: in its training, in its validation (loaders
        called val, test or eval, such as `val_a`), or between two. `at_epoch_end` says it for loops without such
        loaders, and `epoch_begun=False` that no step of the state's epoch was done yet.

        In the midst of an accumulation the gradients are saved too: those that were added since their optimizer's last
        step. `gradients` True saves all that there are, False none.

        All of it is copied when this returns, and may change. The handle's `result()` waits until the checkpoint is
        durable; by then pointers and tags have moved and the run's policy is applied. With `background=False` that is
        so when this returns. While an earlier save is written, this one waits, is left out, or waits in line, as
        `when_busy` says. Threads that save in one run do so one after the other.

        With `gather_random_states` every rank has to call it at the same moments, but after an exception: the ranks
        wait for each other.

        Raises StateError for what cannot be stored, and LockedError when another process trains. Raises SaveError when
        the run cannot be written, when a signal handler calls it in the midst of a save of its own thread, and for an
        earlier save that failed if nobody was told of it: this one is on its way by then and listed when it is done;
        nothing of that one is listed, and earlier checkpoints are untouched.
        """
        began = time.perf_counter()
        signalled = self._signals.pending
        cause = signalled if after is None else type(after).__name__
        urgent: Urgent = "exception" if after is not None else "signal" if signalled else None
        if not isinstance(state, TrainingState):
            raise StateError(f"state is a {type(state).__name__}", hint="give a TrainingState")
        if epoch_begun is None and state.global_step == self._begins_at:
            epoch_begun = False
        refuse_wrong_states(optimizers, schedulers, scaler)
        kept, left_out = self.leave_out(loaders)
        if not self.run.silent:
            self._sender.outbox.queue.turns.refuse_within()
        # Before anything that may fail on one rank alone, for which the others would wait for ever.
        meets = after is None and decisions.meets_on_all_ranks(self.config)
        if not at_epoch_end:
            self._turns.note(training_loaders(kept), state.epoch, every_step=False)
        turn_of = partial(self._turns.of, epoch=state.epoch)
        by_rank = gather(partial(own_states, kept, at_epoch_end, epoch_begun, turn_of)) if meets else None
        self._metrics.add(state)
        # The loop may change its own while this one is saved.
        state = dataclasses.replace(state, metrics=dict(state.metrics))
        if self.run.silent:
            rules = self._due(state, at_epoch_end, urgent)
            self._rules.history.add(self._rules.saved(state, rules, self._rules.history.next_seq))
            self._signals.hand_on()
            return None
        registered = self._registry.objects
        found = capture_gradients(weights, registered, optimizers, wanted=gradients)
        left_out = {**left_out, **found.left_out}
        training = Training(weights, optimizers, schedulers, scaler, kept, registered, left_out, found.tensors)
        has_stepped = self._stepped_at is not None and self._stepped_at == positions_of(loaders)
        given = Given(
            training,
            at_epoch_end,
            epoch_begun,
            interrupted=None if after is None or has_stepped else type(after).__name__,
            by_rank=by_rank,
            metrics_history=self._metrics.to_plain(),
            early_stopping=self._rules.patience.state,
            epoch_loss=self.epoch_loss.to_plain(),
            turn_of=turn_of,
        )
        self.observed.knows(training)
        self.observed.step(state)
        try:
            save = partial(self._save, given, state, urgent, cause, began)
            handle = self._sender.outbox.queue.in_turn(save)
            if signalled:
                self._wait_within_limit(handle)
        finally:
            if signalled:
                self._signals.hand_on()
        self._hear_of_failures(urgent, but=handle)
        self.observed.saved(state, handle)
        return handle

    def _begin(self) -> None:
        """Takes the run's lock, if this training does not have it yet."""
        try:
            self.run.begin()
            self._describe()
        except OperationError as error:
            raise SaveError(error.message, hint=error.hint) from error

    def _wait_within_limit(self, handle: SavedCheckpoint) -> None:
        """Waits until a save that a signal asked for is durable; what is in the way of that is logged."""
        try:
            handle.result(self._signals.remaining_s)
        except (SaveError, TimeoutError) as error:
            if not handle.staged:
                log.error("%s", error)

    def _save(
        self, given: Given, state: TrainingState, urgent: Urgent, cause: str | None, began: float
    ) -> SavedCheckpoint:
        self._begin()
        self._sender.outbox.queue.learn()
        self._warn_of_a_forgotten_past()
        stem = checkpoint_stem(state.global_step, float(state.epoch))
        sure = decisions.waits(self._due(state, given.at_epoch_end, urgent))
        if self._sender.is_left_out(sure=sure):
            return self._sender.left_out(stem)
        packed = self._sender.pack(snapshot.content(given, state, self.config, self._model_config, self.run.config))
        if not self._sender.admit(packed, sure=sure):
            return self._sender.left_out(stem)
        # What was waited for may have failed, and then the rules ask as if it had not been tried.
        self._sender.outbox.queue.learn()
        rules = self._due(state, given.at_epoch_end, urgent)
        saved = self._rules.saved(state, rules, self._sender.outbox.next_seq(self._rules.history.next_seq))
        is_best = self._rules.history.is_better(saved.value)
        marker = snapshot.marker(
            self.run,
            state,
            saved,
            is_best=is_best,
            message=snapshot.message(state, self.config, self._names),
            cause=cause,
        )
        sent = Sent(saved, state, began)
        self._rules.history.add(saved)
        try:
            handle = self._sender.send(
                packed,
                stem,
                marker,
                learned=partial(self._following.learned, sent),
                told=partial(self._following.tell, sent),
                sure=sure,
            )
        except BaseException:
            self._rules.history.take_back(saved.seq)
            raise
        sent.blocked_s = time.perf_counter() - began
        return handle

    def _due(self, state: TrainingState, at_epoch_end: bool | None, urgent: Urgent = None) -> tuple[str, ...]:
        busy = not self.run.silent and self._sender.outbox.queue.busy
        return self._rules.due(state, at_epoch_end, urgent, in_flight=busy)

    def _warn_of_a_forgotten_past(self) -> None:
        history = self._rules.history
        if history.saves and not history.has_past:
            log.warning(
                "run %s has checkpoints up to number %d, and this training went on from none of them; "
                "TrainingHook.resume() or restore_from_checkpoint() goes on where it stopped",
                printable(self.run.name),
                history.next_seq - 1,
            )

    # Early stopping

    def check_early_stopping(self, state: TrainingState) -> bool:
        """Looks at the monitored metric once more and says whether to stop.

        To be called once an evaluation. A state without the metric is passed over; one that is NaN or infinite counts
        as no improvement. Without `early_stopping_patience` the answer is always False.
        """
        return self._rules.patience.check(state)

    @property
    def should_stop_early(self) -> bool:
        """Whether patience is at its end."""
        return self._rules.patience.now.stop

    @property
    def no_improvement_count(self) -> int:
        """Looks in a row without improvement."""
        return self._rules.patience.now.count
