"""What differs first in two recordings, and what that is told to mean: decisions over plain records."""

from __future__ import annotations

import pytest

from ckpt.selftest.comparing import (
    Comparison,
    Passed,
    began_anew,
    compare,
    ends_an_epoch,
    moving,
    passed_over,
    with_length,
)
from ckpt.selftest.guidance import advice, seeding
from ckpt.selftest.recording_file import Digests, Recording, Step


def step(number: int, *, epoch: float = 0, batches: list[Digests] | None = None, **parts: Digests) -> Step:
    alike: dict[str, Digests] = {
        "random": {"python": "p", "torch": f"t{number}"},
        "loss": {"loss": f"{1 / number}"},
        "optimizer": {"state.0.step": str(number), "param_groups.0.lr": "0.1"},
        "weights": {"a": f"a{number}", "b": f"b{number}"},
    }
    return Step(step=number, epoch=epoch, parts={**alike, **parts}, batches=batches or [{"0": f"x{number}"}])


def recording(*steps: Step) -> Recording:
    return Recording(steps={made.step: made for made in steps}, events=())


REFERENCE = recording(*(step(number) for number in range(1, 9)))


def differing(*steps: Step) -> Comparison:
    return compare(REFERENCE, recording(*steps), between="resume")


def test_the_same_is_the_same() -> None:
    found = differing(step(4), step(5))
    assert (found.compared, found.difference, found.batches_seen) == (2, None, True)
    assert advice(found) == ()


@pytest.mark.parametrize(
    ("changed", "what", "name"),
    [
        ({"batches": [{"0": "other"}]}, "batch", "0"),
        ({"random": {"python": "p", "torch": "other"}}, "random", "torch"),
        ({"loss": {"loss": "9.0"}}, "loss", "loss"),
        ({"optimizer": {"state.0.step": "5", "param_groups.0.lr": "0.2"}}, "optimizer", "param_groups.0.lr"),
        ({"weights": {"a": "a5", "b": "other"}}, "weights", "b"),
        ({"weights": {"a": "a5"}}, "weights", "b"),
    ],
)
def test_the_part_and_the_tensor_are_named(changed: dict[str, object], what: str, name: str) -> None:
    found = differing(step(4), step(5, **changed))  # type: ignore[arg-type]
    assert found.difference is not None
    assert (found.difference.step, found.difference.what, found.difference.name) == (5, what, name)
    assert found.difference.after == 1 and advice(found)


def test_what_comes_first_in_time_is_named_first() -> None:
    everything: dict[str, Digests] = {"loss": {"loss": "9"}, "weights": {"a": "?"}, "random": {"torch": "?"}}
    found = differing(step(5, batches=[{"0": "other"}], **everything))
    assert found.difference is not None and found.difference.what == "batch"
    found = differing(step(5, loss={"loss": "9"}, weights={"a": "?"}))
    assert found.difference is not None and found.difference.what == "loss"


def test_settings_of_an_optimizer_come_before_the_state_that_they_change() -> None:
    found = differing(step(5, optimizer={"state.0.step": "9", "param_groups.0.lr": "9"}))
    assert found.difference is not None and found.difference.name == "param_groups.0.lr"


def test_an_earlier_step_comes_before_an_earlier_part() -> None:
    found = differing(step(4, weights={"a": "?", "b": "b4"}), step(5, batches=[{"0": "other"}]))
    assert found.difference is not None and (found.difference.step, found.difference.what) == (4, "weights")


def test_batches_that_were_given_before_the_kill_are_not_missed_in_the_first_step_only() -> None:
    validated = recording(
        step(1), step(2, batches=[{"0": "val"}, {"0": "x2"}]), step(3, batches=[{"0": "v"}, {"0": "x3"}])
    )
    assert compare(validated, recording(step(2), validated.steps[3]), between="resume").difference is None
    found = compare(validated, recording(step(2), step(3)), between="resume").difference
    assert found is not None and (found.step, found.name, found.reference, found.resumed) == (
        3,
        "number of batches",
        "2",
        "1",
    )


def test_parts_that_one_side_did_not_know_yet_are_passed_over() -> None:
    known = step(5)
    unknown = Step(step=5, epoch=0, parts={"loss": known.parts["loss"]}, batches=known.batches)
    assert differing(unknown).difference is None


def test_generators_that_nobody_seeds_say_nothing() -> None:
    other = recording(*(step(n, random={"python": "q", "torch": f"t{n}"}) for n in (1, 2)))
    assert passed_over(REFERENCE, other).generators == ("python",)
    assert moving(REFERENCE, ("python", "torch")) == ("torch",)
    assert compare(REFERENCE, other, between="starts", passed=Passed(generators=("python",))).difference is None
    assert compare(REFERENCE, other, between="starts").difference is not None
    assert "random.seed(0)" in seeding(("python",))


def test_a_script_that_does_not_repeat_itself_is_told_apart_from_one_that_does_not_resume() -> None:
    found = compare(REFERENCE, recording(step(1, loss={"loss": "9"})), between="starts")
    assert "nothing is said about resuming" in advice(found)[0]


@pytest.mark.parametrize(("ours", "name", "values"), [((4, 6), "step", ("made", "not made")), ((3, 4), None, None)])
def test_steps_that_one_side_did_not_make_are_found(
    ours: tuple[int, ...], name: str | None, values: tuple[str, str] | None
) -> None:
    found = compare(REFERENCE, recording(*map(step, ours)), between="resume", behind=3).difference
    assert (found and found.name) == name
    if found is not None:
        assert (found.step, found.what, (found.reference, found.resumed)) == (5, "steps", values)


def test_the_first_step_behind_the_save_is_not_to_be_left_out() -> None:
    found = compare(REFERENCE, recording(step(5)), between="resume", behind=3).difference
    assert found is not None and (found.step, found.what) == (4, "steps")


def test_a_training_that_is_shorter_is_not_the_same() -> None:
    other = recording(step(7))
    found = with_length(compare(REFERENCE, other, between="resume", behind=6), REFERENCE, other).difference
    assert found is not None and (found.step, found.what, found.reference, found.resumed) == (8, "steps", "8", "7")


def test_an_epoch_that_is_counted_from_another_place_is_found() -> None:
    found = compare(REFERENCE, recording(step(4, epoch=1)), between="resume")
    assert found.difference is not None and found.difference.what == "epoch"
    assert "range(hook.epoch, epochs)" in advice(found)[0]


def ending(made: Step, **metrics: str) -> Step:
    return Step(step=made.step, epoch=made.epoch, parts={**made.parts, "metrics": metrics})


def test_what_is_told_at_the_end_of_an_epoch_is_compared() -> None:
    steps = {number: step(number) for number in (4, 5, 6)}
    reference = Recording(steps=steps, events=(), later={5: (ending(steps[5], val="1"),)})
    same = Recording(steps={5: ending(steps[5], val="1"), 6: steps[6]}, events=(), went_on_from=5)
    assert compare(reference, same, between="resume", behind=5).difference is None
    assert not began_anew(reference, same)
    other = Recording(steps={5: ending(steps[5], val="2"), 6: steps[6]}, events=())
    found = compare(reference, other, between="resume", behind=5)
    assert found.difference is not None and (found.difference.what, found.difference.name) == ("metrics", "val")
    assert "another way from the same weights" in advice(found)[0]
    silent = compare(reference, recording(steps[5], steps[6]), between="resume", behind=4).difference
    assert silent is not None and (silent.name, silent.reference, silent.resumed) == (
        "how often it is told of",
        "2",
        "1",
    )
    assert ends_an_epoch(reference) and not ends_an_epoch(REFERENCE)


@pytest.mark.parametrize(
    ("first", "went_on_from", "anew"), [(1, 3, True), (1, 1, True), (4, 3, False), (2, None, False)]
)
def test_a_training_that_reads_a_checkpoint_and_begins_anew(first: int, went_on_from: int | None, anew: bool) -> None:
    other = Recording(steps={n: step(n) for n in range(first, 9)}, events=(), went_on_from=went_on_from)
    assert began_anew(REFERENCE, other) == anew


def test_metrics_that_are_never_the_same_are_passed_over() -> None:
    def told(**metrics: str) -> Recording:
        return recording(step(4, metrics=metrics))

    passed = passed_over(told(noise="1", acc="1"), told(noise="2", acc="1"))
    assert passed.metrics == ("noise",)
    reference = told(noise="1", acc="1", epoch_time="1", samples_per_sec="2")
    same = compare(
        reference, told(noise="3", acc="1", epoch_time="2", samples_per_sec="3"), between="resume", passed=passed
    )
    assert same.difference is None
    other = compare(
        reference, told(noise="1", acc="2", epoch_time="1", samples_per_sec="2"), between="resume", passed=passed
    )
    assert other.difference is not None and other.difference.name == "acc"


def test_parts_that_were_compared_and_those_that_the_resumed_training_never_gave() -> None:
    whole = step(5)
    blind = Step(step=5, epoch=0, parts={name: part for name, part in whole.parts.items() if name != "optimizer"})
    found = compare(REFERENCE, recording(blind), between="resume")
    assert found.parts == ("epoch", "random", "loss", "weights") and found.missing == ("optimizer",)


def test_unseen_batches_are_named_as_a_cause() -> None:
    blind = recording(Step(step=5, epoch=0, parts={**step(5).parts, "loss": {"loss": "9"}}))
    reference = recording(Step(step=5, epoch=0, parts=step(5).parts))
    found = compare(reference, blind, between="resume")
    assert not found.batches_seen and "ResumableLoader" in advice(found)[0]
