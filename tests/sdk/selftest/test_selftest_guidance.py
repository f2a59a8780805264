"""What is said of a difference, and of what was not tried."""

from __future__ import annotations

import pytest

from ckpt.selftest import guidance
from ckpt.selftest.comparing import Comparison, Difference
from ckpt.selftest.recording_file import Event, Recording, Step


def found(what: str, name: str = "x", *, after: int = 2, between: str = "resume", batches: bool = True) -> Comparison:
    difference = Difference(
        step=5,
        what=what,
        name=name,
        reference="1",
        resumed="2",
        between=between,
        after=after,  # type: ignore[arg-type]
    )
    return Comparison(compared=after + 1, difference=difference, parts=("epoch", "batch") if batches else ("epoch",))


@pytest.mark.parametrize(
    ("what", "name", "after", "says"),
    [
        ("steps", "last step", 0, "longer or shorter"),
        ("epoch", "epoch", 0, "range(hook.epoch, epochs)"),
        ("batch", "0", 0, "the loader has no position"),
        ("batch", "0", 2, "drawn from a generator that is not in the checkpoint"),
        ("random", "torch", 2, "torch's generator was drawn from more or less often"),
        ("loss", "loss", 0, "register(name, object)"),
        ("metrics", "val", 0, "another way from the same weights"),
        ("optimizer", "param_groups.0.lr", 2, "the scheduler that sets them is not in the checkpoint"),
        ("optimizer", "state.weight.exp_avg", 2, "from the same loss"),
        ("weights", "weight", 2, "from the same loss"),
        ("scheduler", "last_epoch", 2, "the state of the scheduler"),
        ("registered", "ema.weight", 2, "what is registered as ema"),
    ],
)
def test_the_likeliest_cause_comes_first(what: str, name: str, after: int, says: str) -> None:
    assert says in guidance.advice(found(what, name, after=after))[0]


@pytest.mark.parametrize(
    ("what", "name", "after"),
    [
        ("batch", "0", 0),
        ("batch", "0", 3),
        ("batch", "number of batches", 1),
        ("steps", "how often it is told of", 4),
    ],
)
def test_a_loader_that_had_its_position_back_is_not_told_to_have_none(what: str, name: str, after: int) -> None:
    first, *more = guidance.advice(found(what, name, after=after), positions=True)
    assert "the script does not read them as before" in first and "`next(iter(loader))`" in first and "zip" in first
    assert not any("ResumableLoader" in note or "no position" in note for note in (first, *more))
    assert any("ResumableLoader" in note for note in guidance.advice(found(what, name, after=after)))


def test_another_number_of_batches_is_no_matter_of_generators() -> None:
    for positions in (False, True):
        notes = guidance.advice(found("batch", "number of batches", after=1), positions=positions)
        assert not any("enerator" in note for note in notes)


@pytest.mark.parametrize(
    ("what", "name"),
    [("random", "torch"), ("optimizer", "state.w.exp_avg"), ("weights", "w"), ("scheduler", "last_epoch")],
)
def test_what_differs_at_once_may_stand_behind_the_step(what: str, name: str) -> None:
    behind = "stands behind hook.step"
    assert any(behind in note for note in guidance.advice(found(what, name, after=0)))
    assert not any(behind in note for note in guidance.advice(found(what, name, after=2)))


def test_settings_that_differ_though_the_scheduler_is_there_are_of_its_place() -> None:
    settings = found("optimizer", "param_groups.0.lr").evolve(parts=("epoch", "optimizer", "scheduler"))
    (note,) = guidance.advice(settings)
    assert "a scheduler's step" in note and "stands behind hook.step" in note


def test_a_generator_that_is_seeded_within_the_loop() -> None:
    assert "seeded again within the loop" in guidance.advice(found("random", "torch"))[0]


@pytest.mark.parametrize(
    ("saved", "tried", "says"),
    [
        ((), (3,), "saved nowhere that a step comes behind"),
        ((3, 5), (2,), "saved at step 3, 5: a resume from there was not tried; --save-at 3"),
        ((3, 4, 5), (3,), "saved at the end of an epoch, at step 4: "),
        ((3, 4, 5), (4,), None),
        ((3, 5), (5,), None),
    ],
)
def test_places_where_the_script_saves_and_none_was_tried(
    saved: tuple[int, ...], tried: tuple[int, ...], says: str | None
) -> None:
    steps = {number: Step(step=number, epoch=(number - 1) // 4, parts={}) for number in range(1, 8)}
    reference = Recording(steps=steps, events=tuple(Event(what="saved", step=number) for number in saved))
    notes = guidance.untried_saves(reference, tried)
    assert (says is None and notes == ()) or (says is not None and says in notes[0])


@pytest.mark.parametrize("what", ["random", "loss"])
def test_batches_that_were_not_seen_are_a_cause_too(what: str) -> None:
    loader = "ckpt.ResumableLoader in place of DataLoader"
    assert any(loader in note for note in guidance.advice(found(what, batches=False)))
    assert not any(loader in note for note in guidance.advice(found(what)))


def test_two_starts_that_differ_say_nothing_about_resuming() -> None:
    assert "nothing is said about resuming" in guidance.advice(found("batch", between="starts"))[0]


def test_nothing_is_said_where_nothing_is_to_be_said() -> None:
    same = Comparison(compared=3, difference=None, parts=("epoch", "weights"))
    assert guidance.advice(same) == guidance.untried([same], epoch_ended=True) == ()
    assert guidance.said(Recording(steps={}, events=()), (), ()) == ()


def test_what_was_not_compared_is_said() -> None:
    same = Comparison(
        compared=3, difference=None, parts=("epoch", "weights"), missing=("optimizer",), unseen=("registered lock",)
    )
    missing, unseen, epoch = guidance.untried([same, same], epoch_ended=False)
    assert "never gave its optimizer" in missing and "registered lock" in unseen and "no epoch ended" in epoch
    twice = Recording(steps={}, events=(Event(what="another"),))
    seeds, metrics, another = guidance.said(twice, ("numpy", "torch"), ("rate",))
    assert "numpy.random.seed(0), torch.manual_seed(0)" in seeds and "(rate)" in metrics and "more than once" in another


def test_a_save_that_the_script_would_not_make_is_told_of() -> None:
    reference = Recording(steps={}, events=(Event(what="saved", step=8), Event(what="saved", step=16)))
    (note,) = guidance.forced(found("batch"), reference, 5)
    assert "save at step 5; by itself it saved at step 8, 16: --save-at" in note
    assert (
        guidance.forced(found("batch"), reference, 8)
        == guidance.forced(found("loss", between="starts"), reference, 5)
        == ()
    )
