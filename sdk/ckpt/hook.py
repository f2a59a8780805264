"""TrainingHook: the few lines that an existing training loop needs.

hook = TrainingHook(model, "runs/exp1", CheckpointConfig(save_every_n_epochs=1), optimizer, scheduler)
hook.resume()
for epoch in range(hook.epoch, epochs):
    for batch in loader:
        …
        hook.step(loss)
    hook.epoch_end(epoch, val_loss=val_loss)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Never, Self

from ckpt.config import CheckpointConfig
from ckpt.exceptions import StateError, UsageError
from ckpt.retention.spelling import nearest
from ckpt.runs import Run
from ckpt.saving import CheckpointManager, RestoreReport, SavedCheckpoint
from ckpt.saving.capture.arguments import (
    a,
    refuse_stateless,
    refuse_wrong_model,
    refuse_wrong_states,
    telling_loaders,
)
from ckpt.saving.capture.protocol import learning_rate_of
from ckpt.saving.capture.taking import Training
from ckpt.saving.restore.loading import has_any
from ckpt.saving.when.last_save import save_last
from ckpt.saving.when.missing_metric import MissingMetric
from ckpt.state import TrainingState, real, whole

log = logging.getLogger("ckpt.saving")


class TrainingHook:
    """Counts, emits and saves for a loop that is somebody else's.

    `run` is a Run, a run's directory (made if absent), or None for a new `runs/expN`. Without a config every epoch is
    saved and everything kept. `model` is a module or a mapping of named modules; optimizers, schedulers and loaders are
    one or several. The hook steps none of them: call `epoch_end` behind the scheduler's own step, so that the scheduler
    is saved as the next epoch needs it. A loader that does not tell its position is left out, which the log says.

    A `ckpt.ResumableLoader` goes on at the very next batch. Loaders called val, test or eval (`val_a`) are those
    of the validation: `loaders={"train": train, "val": val}`. A training that stops in its validation does that one
    again, and what stands between the training's loop and the validation too: step a scheduler behind both.

    Raises StateError, before anything is made, for an argument that is of another kind than its place, and UsageError
    for one that there is not.
    """

    def __init__(
        self,
        model: Any,
        run: Run | str | os.PathLike[str] | None = None,
        config: CheckpointConfig | None = None,
        optimizer: Any = None,
        scheduler: Any = None,
        *,
        scaler: Any = None,
        loaders: Any = None,
        model_name: str | None = None,
        experiment_name: str | None = None,
        batch_size: int | None = None,
        max_epochs: int | None = None,
        start_epoch: int = 0,
        **unknown: Never,
    ) -> None:
        _refuse_unknown(unknown)
        _refuse_wrong_places(model, run, config)
        refuse_wrong_model(model)
        refuse_wrong_states(optimizer, scheduler, scaler)
        refuse_stateless(optimizer=optimizer, scheduler=scheduler, scaler=scaler)
        telling_loaders(loaders)
        start_epoch = _epoch(start_epoch, "start_epoch")
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scaler = scaler
        self.loaders = loaders
        if run is None:
            self.run = Run.create(model_name=model_name, experiment_name=experiment_name)
        else:
            self.run = run if isinstance(run, Run) else Run.at(run, experiment_name=experiment_name)
            self.run.begin()
        config = config or CheckpointConfig(save_every_n_epochs=1)
        self._missing = MissingMetric(config.save_on_best_metric)
        self._closed = False
        # Before the manager's, which may end the process.
        self.run.under_way.afterwards(self._ended)
        self.manager = CheckpointManager(self.run, config, model_name, experiment_name)
        self.manager.leave_out(loaders)
        self.manager.watch_optimizers(optimizer)
        self.manager.observed.knows(Training(model, optimizer, scheduler, scaler, registered=self.manager.registered))
        self.epoch = start_epoch
        """The epoch that is being trained, or is next."""
        self.global_step = 0
        """How many steps are done."""
        self._facts: dict[str, Any] = {
            "batch_size": batch_size,
            "max_epochs": max_epochs,
            "model_name": model_name,
            "experiment_name": experiment_name,
        }
        self._epoch_begun = False

    def step(self, loss: Any, **metrics: Any) -> SavedCheckpoint | None:
        """One optimizer step is done: counts it, emits its state, and saves when a rule asks. Returns what was saved.

        `loss` is a number or a tensor of one element, and so are the metrics. It stands last in the loop's body: a
        resume goes on with the next batch, and leaves out what stands behind it (a scheduler, a moving average).
        """
        self._refuse_closed()
        _refuse_nested(metrics, "step(loss, **metrics)")
        value = real(loss, "loss")
        self.global_step += 1
        self._epoch_begun = True
        self.manager.epoch_loss.add(value)
        self.manager.note_step(self.loaders, self.epoch)
        return self._take(self._state(value, metrics), at_epoch_end=False)

    def epoch_end(self, epoch: int | None = None, *, loss: Any = None, **metrics: Any) -> SavedCheckpoint | None:
        """An epoch is done: emits its state, looks at early stopping, and saves when a rule asks.

        The state's loss is the mean over the epoch's steps unless one is given. Without `epoch` it is the one that the
        hook counts. Returns what was saved.
        """
        self._refuse_closed()
        _refuse_nested(metrics, "epoch_end(epoch, **metrics)")
        if epoch is not None:
            self.epoch = _epoch(epoch, "epoch")
        value = self.manager.epoch_loss.mean if loss is None else real(loss, "loss")
        self.manager.epoch_loss.clear()
        state = self._state(value, metrics)
        self.manager.check_early_stopping(state)
        saved = self._take(state, at_epoch_end=True)
        self._tell(self._missing.after_epoch())
        self.epoch += 1
        self._epoch_begun = False
        return saved

    def save(self, *, gradients: bool | None = None, **metrics: Any) -> SavedCheckpoint | None:
        """Saves now, inside an epoch or between two, whatever the rules say. Raises SaveError.

        `gradients` is as `CheckpointManager.save_checkpoint` has it.
        """
        self._refuse_closed()
        _refuse_nested(metrics, "save(**metrics)")
        return self._save(self._state(self.manager.epoch_loss.last, metrics), at_epoch_end=False, gradients=gradients)

    def register(self, name: str, item: Any) -> None:
        """Has one more object in every checkpoint, as `CheckpointManager.register` does; before `resume()`."""
        self.manager.register(name, item)

    @property
    def should_stop(self) -> bool:
        """Whether early stopping is out of patience; ask at the top of an epoch, so that it holds after a start too."""
        return self.manager.should_stop_early

    def load_checkpoint(
        self,
        ref: Any = None,
        load_best: bool = False,
        *,
        strict: bool = True,
        map_location: Any = "cpu",
        weights_only: bool = False,
        fallback: Any = None,
    ) -> RestoreReport:
        """Puts a checkpoint into model, optimizer, scheduler and random generators, and counts on from it.

        At the start of a fork, and with `weights_only`, the counts begin at 0. Raises as
        `CheckpointManager.restore_from_checkpoint` does.
        """
        config = self.manager.config
        report = self.manager.restore_from_checkpoint(
            self.model,
            self.optimizer if config.save_optimizer_state else None,
            self.scheduler if config.save_scheduler_state else None,
            self.scaler,
            loaders=self.loaders,
            strict=strict,
            ref=ref,
            load_best=load_best,
            map_location=map_location,
            weights_only=weights_only,
            fallback=fallback,
        )
        self.epoch, self.global_step = report.next_epoch, report.next_step
        goes_on = not (report.start_of_fork or report.warm_start)
        if goes_on:
            self._missing.look(self.manager.reported_metrics)
        self._epoch_begun = goes_on and report.phase in ("training", "validation")
        return report

    def resume(self, *, strict: bool = True, fallback: Any = None) -> RestoreReport | None:
        """Goes on from the run's newest whole checkpoint; as long as it has none, from `fallback`, else None."""
        if fallback is None and not has_any(self.run.checkpoints()):
            return None
        return self.load_checkpoint(strict=strict, fallback=fallback)

    def close(self) -> None:
        """Ends the run as finished; a run that the process leaves open is ended at exit.

        Nothing more can be done with the hook then but to load.
        """
        self.run.close()

    def _ended(self) -> None:
        """The attempt is over, whoever ended it."""
        if not self._closed:
            self._closed = True
            self._tell(self._missing.at_close())

    def _tell(self, problem: str | None) -> None:
        if problem is not None and not self.run.silent:
            log.warning("%s", problem)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UsageError("the hook is closed", hint="make a new TrainingHook; its resume() goes on with the run")

    def _state(self, loss: float, metrics: dict[str, Any]) -> TrainingState:
        return TrainingState(
            epoch=self.epoch,
            global_step=self.global_step,
            learning_rate=learning_rate_of(self.optimizer),
            loss=loss,
            metrics=metrics,
            **self._facts,
        )

    def _take(self, state: TrainingState, *, at_epoch_end: bool) -> SavedCheckpoint | None:
        self.run.emit(state)
        self._missing.look(state.metrics)
        self.manager.note_metrics(state)
        if not self.manager.should_save_checkpoint(state, at_epoch_end=at_epoch_end):
            return None
        return self._save(state, at_epoch_end=at_epoch_end)

    def _save(
        self,
        state: TrainingState,
        *,
        at_epoch_end: bool,
        after: BaseException | None = None,
        gradients: bool | None = None,
    ) -> SavedCheckpoint | None:
        return self.manager.save_checkpoint(
            self.model,
            state,
            optimizers=self.optimizer,
            schedulers=self.scheduler,
            scaler=self.scaler,
            loaders=self.loaders,
            at_epoch_end=at_epoch_end,
            epoch_begun=at_epoch_end or self._epoch_begun,
            after=after,
            gradients=gradients,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Not in a process that was forked from the training.
            if error is not None and (self.run.training or self.run.silent):
                within_s = float(self.manager.config.signal_save_within)
                save_last(error, lambda: self._save_after(error), within_s)
        finally:
            self.run.__exit__(kind, error, trace)

    def _save_after(self, error: BaseException) -> SavedCheckpoint | None:
        """Saves what an exception ends, if that is worth it."""
        if not self.manager.is_worth_saving(error, self.global_step):
            return None
        return self._save(self._state(self.manager.epoch_loss.last, {}), at_epoch_end=False, after=error)


def _refuse_unknown(arguments: Mapping[str, Any]) -> None:
    known = [name for name in TrainingHook.__init__.__annotations__ if name not in ("unknown", "return")]
    for name in arguments:
        raise UsageError(
            f"TrainingHook has no argument '{name}'", hint=nearest(name, known, f"arguments: {', '.join(known)}")
        )


def _refuse_wrong_places(model: Any, run: Any, config: Any) -> None:
    if run is not None and not isinstance(run, Run | str | os.PathLike):
        swapped = isinstance(model, Run | str | os.PathLike)
        raise StateError(
            f"run is {a(run)}" + (f", and model is {a(model)}" if swapped else ""),
            hint='the model comes first: TrainingHook(model, "runs/exp1")'
            if swapped
            else 'give a Run or a directory: TrainingHook(model, "runs/exp1", config, optimizer, scheduler)',
        )
    if config is not None and not isinstance(config, CheckpointConfig):
        raise StateError(f"config is {a(config)}", hint="give a CheckpointConfig; an optimizer is given as optimizer")


def _refuse_nested(metrics: Mapping[str, Any], call: str) -> None:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            raise StateError(f"{name} is {a(value)}, and a metric is one number", hint=f"unfold it: {call}")


def _epoch(value: Any, where: str) -> int:
    epoch = whole(value, where)
    if epoch < 0:
        raise StateError(f"{where} is {epoch}, and has to be 0 or more")
    return epoch
