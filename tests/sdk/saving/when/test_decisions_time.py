"""When to save: the rule for minutes, what is urgent, and what a save that came to nothing leaves behind."""

from __future__ import annotations

import time

import pytest

from ckpt.config import CheckpointConfig
from ckpt.saving.when import decisions
from ckpt.saving.when.history import History, Saved
from ckpt.state import TrainingState


def state(step: int, epoch: int = 0, loss: float = 0.5) -> TrainingState:
    return TrainingState(epoch=epoch, global_step=step, learning_rate=0.1, loss=loss)


def saved(seq: int, at: float | None, *due: str, step: int | None = None) -> Saved:
    return Saved(seq=seq, step=seq if step is None else step, epoch=0.0, value=0.5, due=due, at=at)


def test_minutes_count_from_the_beginning_and_then_from_the_last_save() -> None:
    config, history = CheckpointConfig(save_every_n_minutes=2), History(began=1000.0)
    assert decisions.due(state(1), config, history, now=1119.9) == ()
    assert decisions.due(state(1), config, history, now=1120.0) == ("time",)
    history.add(saved(1, 1130.0, "time"))
    assert decisions.due(state(2), config, history, now=1249.9) == ()
    assert decisions.due(state(2), config, history, now=1250.0) == ("time",)


@pytest.mark.parametrize("minutes", [0.001, 0.5, 1.5])
def test_minutes_may_be_fractions(minutes: float) -> None:
    config, history = CheckpointConfig(save_every_n_minutes=minutes), History(began=0.0)
    assert not decisions.due(state(1), config, history, now=minutes * 59.9)
    assert decisions.due(state(1), config, history, now=minutes * 60) == ("time",)


def test_asking_for_minutes_changes_nothing_and_needs_a_clock() -> None:
    config, history = CheckpointConfig(save_every_n_minutes=1), History(began=0.0)
    for _ in range(3):
        assert decisions.due(state(1), config, history, now=60.0) == ("time",)
    assert decisions.due(state(1), config, history) == ()


def test_any_save_of_this_process_starts_the_minutes_anew() -> None:
    config, history = CheckpointConfig(save_every_n_minutes=1, save_every_n_steps=5), History(began=0.0)
    history.add(saved(5, 50.0, "step"))
    assert decisions.due(state(6), config, history, now=109.0) == ()
    assert decisions.due(state(10), config, history, now=109.0) == ("step",)
    assert decisions.due(state(10), config, history, now=110.0) == ("time", "step")
    assert decisions.due(state(11), config, history, now=110.0) == ("time",)


def test_minutes_are_silent_while_a_save_is_in_flight() -> None:
    config, history = CheckpointConfig(save_every_n_minutes=1, save_every_n_steps=5), History(began=0.0)
    assert decisions.due(state(6), config, history, now=90.0, in_flight=True) == ()
    assert decisions.due(state(5), config, history, now=90.0, in_flight=True) == ("step",)
    assert decisions.due(state(6), config, history, now=90.0) == ("time",)


def test_a_restart_counts_the_minutes_from_itself() -> None:
    """What another process saved has times of another clock."""
    history = History(saves=[saved(1, None, "time"), saved(2, None, "time")])
    config = CheckpointConfig(save_every_n_minutes=1)
    assert abs(history.saved_at - time.monotonic()) < 30
    assert decisions.due(state(3), config, history, now=history.began + 59) == ()
    assert decisions.due(state(3), config, history, now=history.began + 60) == ("time",)


def test_a_save_that_came_to_nothing_is_asked_for_again() -> None:
    config = CheckpointConfig(save_every_n_steps=5, save_on_best_metric="loss")
    history = History()
    history.add(saved(1, 10.0, "best", "step", step=5))
    assert decisions.due(state(5), config, history) == ()
    history.take_back(1)
    assert decisions.due(state(5), config, history) == ("best", "step")
    assert (history.next_seq, history.has_past, history.last_step) == (1, False, None)


def test_one_of_two_saves_in_flight_can_be_taken_back() -> None:
    history = History()
    history.add(saved(1, 10.0, "step", step=5))
    history.add(saved(2, 20.0, "step", step=10))
    history.take_back(1)
    assert (history.next_seq, history.last_step, history.saved_at) == (3, 10, 20.0)
    assert not history.asked("step", step=5) and history.asked("step", step=10)


def test_a_full_disk_is_not_tried_at_every_step() -> None:
    config, history = CheckpointConfig(save_every_n_minutes=30), History(began=0.0)
    history.add(saved(1, 1800.0, "time"))
    history.take_back(1)
    assert decisions.due(state(2), config, history, now=1801.0) == ()
    assert decisions.due(state(2), config, history, now=1800.0 + decisions.RETRY_S) == ("time",)
    history.take_back(1)
    assert decisions.due(state(2), config, history, now=1800.0 + decisions.RETRY_S) == ("time",)


def test_a_short_interval_is_its_own_pause_after_a_failure() -> None:
    config, history = CheckpointConfig(save_every_n_minutes=0.1), History(began=0.0)
    history.add(saved(1, 100.0, "time"))
    history.take_back(1)
    assert decisions.due(state(2), config, history, now=105.9) == ()
    assert decisions.due(state(2), config, history, now=106.0) == ("time",)


def test_what_is_urgent_comes_first_and_takes_no_rule_away() -> None:
    config, history = CheckpointConfig(save_every_n_steps=5, save_on_best_metric="loss"), History()
    assert decisions.due(state(3, loss=float("nan")), config, history, urgent="signal") == ("signal",)
    assert decisions.due(state(5), config, history, urgent="signal") == ("signal", "best", "step")
    assert decisions.due(state(5), CheckpointConfig(), history, urgent="exception") == ("exception",)


@pytest.mark.parametrize(
    ("rules", "waits"),
    [
        ((), False),
        (("step", "epoch", "time"), False),
        (("best", "step"), True),
        (("signal",), True),
        (("exception",), True),
    ],
)
def test_what_is_worth_waiting_for(rules: tuple[str, ...], waits: bool) -> None:
    assert decisions.waits(rules) is waits


@pytest.mark.parametrize(
    ("gather", "random", "meets"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_ranks_meet_at_every_save_or_at_none(gather: bool, random: bool, meets: bool) -> None:
    config = CheckpointConfig(gather_random_states=gather, save_random_state=random, save_on_best_metric="loss")
    assert decisions.meets_on_all_ranks(config) is meets


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (None, False),
        (ValueError("x"), True),
        (KeyboardInterrupt(), True),
        (MemoryError(), True),
        (SystemExit(), False),
        (SystemExit(0), False),
        (SystemExit(1), True),
        (SystemExit("no data"), True),
        (GeneratorExit(), False),
    ],
)
def test_which_exceptions_ask_for_a_save(error: BaseException | None, wanted: bool) -> None:
    config, history = CheckpointConfig(save_on_exception=True), History()
    assert decisions.after_exception(error, config, history, 3) is wanted
    assert not decisions.after_exception(error, CheckpointConfig(), history, 3)


def test_an_exception_without_a_step_since_the_last_save_asks_for_nothing() -> None:
    config, history = CheckpointConfig(save_on_exception=True), History()
    assert not decisions.after_exception(ValueError(), config, history, 0)
    history.add(saved(1, 0.0, "step", step=5))
    assert not decisions.after_exception(ValueError(), config, history, 5)
    assert decisions.after_exception(ValueError(), config, history, 6)
    history.take_back(1)
    assert decisions.after_exception(ValueError(), config, history, 5)


def test_what_another_training_saved_at_this_step_does_not_stand_in() -> None:
    config = CheckpointConfig(save_on_exception=True)
    history = History(saves=[saved(0, None, step=4), saved(1, None, step=5)])
    assert decisions.after_exception(ValueError(), config, history, 5)
    history.go_on_from(1)
    assert not decisions.after_exception(ValueError(), config, history, 5)
    history.go_on_from(0)
    assert decisions.after_exception(ValueError(), config, history, 4)
