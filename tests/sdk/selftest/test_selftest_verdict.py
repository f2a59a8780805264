"""What several trials come to."""

from __future__ import annotations

import pytest

from ckpt.selftest.choosing import Moments
from ckpt.selftest.comparing import Passed, compare
from ckpt.selftest.recording_file import Event, Recording, Step
from ckpt.selftest.verdict import Tried, verdict_of


def recording(steps: range, *events: Event, batch: str = "x", went_on_from: int | None = None) -> Recording:
    made = {
        number: Step(
            step=number,
            epoch=(number - 1) // 4,
            parts={"weights": {"w": f"{number}"}},
            batches=[{"0": f"{batch}{number}"}],
        )
        for number in steps
    }
    return Recording(steps=made, events=events, went_on_from=went_on_from)


REFERENCE = recording(range(1, 13), Event(what="saved", step=4), Event(what="saved", step=8))


def tried(
    saved_at: int, *, batch: str = "x", saved: bool = True, read: bool = True, **passed: tuple[str, ...]
) -> Tried:
    killed = recording(range(1, saved_at + 2), Event(what="saved", step=saved_at, positions=saved))
    back = Event(what="read", step=saved_at, positions=read)
    resumed = recording(range(saved_at + 1, 13), back, batch=batch, went_on_from=saved_at)
    return Tried(
        moments=Moments(save_at=saved_at, kill_at=saved_at + 1),
        found=compare(REFERENCE, resumed, between="resume", behind=saved_at),
        passed=Passed(**passed),
        killed=killed,
        resumed=resumed,
    )


def test_two_trials_that_are_exact() -> None:
    found = verdict_of(REFERENCE, [tried(6, metrics=("a",)), tried(8, metrics=("a", "b"))])
    assert found.exact and found.first_difference is None
    assert [(trial.saved_at_step, trial.compared_steps) for trial in found.trials] == [(6, 6), (8, 4)]
    assert [(trial.own_save, trial.epoch_end) for trial in found.trials] == [(False, False), (True, True)]
    (note,) = found.notes
    assert "(a, b)" in note


def test_the_steps_in_json_are_those_of_the_trial_that_differs() -> None:
    told = verdict_of(REFERENCE, [tried(6), tried(8, batch="other")]).to_json()
    assert (told["exact"], told["saved_at_step"], told["killed_at_step"], told["compared_steps"]) == (False, 8, 9, 1)
    assert told["trials"][0] == {
        "saved_at_step": 6,
        "killed_at_step": 7,
        "compared_steps": 6,
        "own_save": False,
        "epoch_end": False,
    }


@pytest.mark.parametrize(("saved", "read"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_position_that_was_saved_and_given_back_is_not_missed(saved: bool, read: bool) -> None:
    first = verdict_of(REFERENCE, [tried(6, batch="other", saved=saved, read=read)]).notes[0]
    assert ("had their positions back" in first) == (saved and read)
    assert ("no position in the checkpoint" in first) == (not (saved and read))
