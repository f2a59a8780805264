"""Loaders in the format: those of the training and those of the validation, and the phase."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ckpt.saving.envelope import Content, from_envelope, places, to_envelope
from ckpt.saving.envelope.content import Phase
from ckpt.state import TrainingState

SCHEDULE = {"schedule_position": 3, "loader_states": [{"batch_idx": 2}, {"batch_idx": 1}], "strategy": "round_robin"}


def written(**fields: Any) -> dict[str, Any]:
    state = TrainingState(epoch=1, global_step=2, learning_rate=0.1, loss=0.5)
    return to_envelope(Content(weights={"w": torch.ones(2)}, state=state, **fields))


def test_loaders_of_the_validation_stand_apart_and_come_back_by_name() -> None:
    states = [{"batch_idx": 7}, {"batch_idx": 1}, {"batch_idx": 2}]
    envelope = written(loaders=states, names={"loaders": ["val_a", "train", "Test"]})
    manager = envelope["dataloader_manager_state"]
    assert manager["train_iterator_state"]["loader_states"] == [{"batch_idx": 1}]
    assert manager["val_iterator_state"]["loader_states"] == [{"batch_idx": 7}, {"batch_idx": 2}]
    content = from_envelope(envelope, "x")
    assert dict(zip(content.names["loaders"], content.loaders or (), strict=True)) == {
        "train": {"batch_idx": 1},
        "val_a": {"batch_idx": 7},
        "Test": {"batch_idx": 2},
    }


def test_loaders_without_names_are_those_of_the_training() -> None:
    envelope = written(loaders=[{"batch_idx": 7}, {"batch_idx": 1}])
    assert envelope["dataloader_manager_state"]["val_iterator_state"] is None
    assert from_envelope(envelope, "x").loaders == [{"batch_idx": 7}, {"batch_idx": 1}]


def test_a_validation_alone_has_no_iterator_of_the_training() -> None:
    envelope = written(loaders=[{"batch_idx": 7}], names={"loaders": ["val"]})
    assert envelope["dataloader_manager_state"]["train_iterator_state"] is None
    assert from_envelope(envelope, "x").loaders == [{"batch_idx": 7}]


def test_a_schedule_is_the_iterator_state_itself() -> None:
    envelope = written(loaders=[SCHEDULE, {"batch_idx": 9}], names={"loaders": ["train", "val"]})
    manager = envelope["dataloader_manager_state"]
    assert manager["train_iterator_state"]["schedule_position"] == 3
    assert len(manager["train_iterator_state"]["loader_states"]) == 2
    content = from_envelope(envelope, "x")
    assert content.loader_manager is None
    assert [state.get("schedule_position") for state in content.loaders or ()] == [3, None]


@pytest.mark.parametrize(
    ("phase", "finished", "word"),
    [
        ("training", False, "train_batch"),
        ("validation", False, "val_batch"),
        ("between", True, "epoch_end"),
        ("between", False, "epoch_start"),
        (None, None, None),
    ],
)
def test_the_phase_is_written_and_read(phase: Phase | None, finished: bool | None, word: str | None) -> None:
    envelope = written(phase=phase, epoch_finished=finished)
    assert envelope["resume_state"]["phase"] == word
    content = from_envelope(envelope, "x")
    assert (content.phase, content.epoch_finished) == (phase, finished)


@pytest.mark.parametrize(
    ("word", "phase"),
    [("TRAIN_BATCH_END", "training"), ("val_batch_start", "validation"), ("epoch_end", "between"), ("init", None)],
)
def test_phases_of_the_first_writer_are_understood(word: str, phase: Phase | None) -> None:
    envelope = written()
    envelope["resume_state"] = {"phase": word}
    assert from_envelope(envelope, "x").phase == phase


def test_the_environment_comes_back() -> None:
    assert from_envelope(written(environment={"torch": "2", "threads": 4}), "x").environment == {
        "torch": "2",
        "threads": 4,
    }


_VALIDATION = "val Val VALID validation test eval evaluation val_a val-a val2 test.b testLoader valset"


@pytest.mark.parametrize("name", [*_VALIDATION.split(), "val 2"])
def test_names_of_the_validation(name: str) -> None:
    assert places.is_validation(name)


@pytest.mark.parametrize("name", ["value", "Valencia", "testing_ground", "evaluated", "train", "my_val", "", None])
def test_names_that_only_begin_alike(name: str | None) -> None:
    assert not places.is_validation(name)
