"""What differs first in two recordings, where to save and kill, and what to say: decisions over plain records."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ckpt.exceptions import UsageError
from ckpt.selftest.choosing import choose
from ckpt.selftest.comparing import Comparison, compare, moving, unseeded
from ckpt.selftest.guidance import advice, seeding
from ckpt.selftest.recording_file import Digests, Event, Recording, Step, encode, read


def step(number: int, *, epoch: float = 0, batches: list[Digests] | None = None, **parts: Digests) -> Step:
    alike: dict[str, Digests] = {
        "random": {"python": "p", "torch": f"t{number}"},
        "loss": {"loss": f"{1 / number}"},
        "optimizer": {"state.0.step": str(number), "param_groups.0.lr": "0.1"},
        "weights": {"a": f"a{number}", "b": f"b{number}"},
    }
    return Step(step=number, epoch=epoch, parts={**alike, **parts}, batches=batches or [{"0": f"x{number}"}])


def recording(*steps: Step, saved: tuple[int, ...] = (), asks: bool = True) -> Recording:
    events = [Event(what="asks", step=1)] * asks + [Event(what="saved", step=number) for number in saved]
    return Recording(steps={made.step: made for made in steps}, events=tuple(events))


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
    assert unseeded(REFERENCE, other) == ("python",)
    assert moving(REFERENCE, ("python", "torch")) == ("torch",)
    assert compare(REFERENCE, other, between="starts", unseeded=("python",)).difference is None
    assert compare(REFERENCE, other, between="starts").difference is not None
    assert seeding(()) is None
    told = seeding(("python",))
    assert told is not None and "random.seed(0)" in told


def test_a_script_that_does_not_repeat_itself_is_told_apart_from_one_that_does_not_resume() -> None:
    found = compare(REFERENCE, recording(step(1, loss={"loss": "9"})), between="starts")
    assert "nothing is said about resuming" in advice(found)[0]


def test_unseen_batches_are_named_as_a_cause() -> None:
    blind = recording(Step(step=5, epoch=0, parts={**step(5).parts, "loss": {"loss": "9"}}))
    reference = recording(Step(step=5, epoch=0, parts=step(5).parts))
    found = compare(reference, blind, between="resume")
    assert not found.batches_seen and "ResumableLoader" in advice(found)[0]


def test_a_recording_that_a_kill_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    lines = [Event(what="began"), Event(what="read", step=3), step(4), Event(what="saved", step=4), step(5)]
    path.write_bytes(b"".join(map(encode, lines)) + b'{"kind":"step","st')
    found = read(path)
    assert list(found.steps) == [4, 5] and found.steps[4] == step(4)
    assert (found.went_on_from, found.of("saved"), found.last, found.has("killed")) == (3, [4], 5, False)
    assert read(tmp_path / "nothing").last is None


# Where to save and kill


def test_the_save_is_in_the_first_half_and_within_an_epoch_and_the_kill_before_the_next_save() -> None:
    reference = recording(*(step(n, epoch=(n - 1) // 4) for n in range(1, 17)), saved=(4, 8, 12, 16))
    for seed in range(50):
        chosen = choose(reference, None, None, random.Random(seed))
        assert chosen.save_at <= 8 and chosen.save_at % 4 != 0
        assert chosen.save_at < chosen.kill_at <= 4 * (1 + chosen.save_at // 4)


def test_a_loop_that_never_asks_is_saved_where_it_saves_itself() -> None:
    reference = recording(*(step(n) for n in range(1, 11)), saved=(4, 8), asks=False)
    assert choose(reference, None, None, random.Random(0)).save_at == 4
    with pytest.raises(UsageError, match="saved no checkpoint"):
        choose(recording(step(1), step(2), asks=False), None, None, random.Random(0))


@pytest.mark.parametrize(
    ("save_at", "kill_at", "why"),
    [(9, None, "--save-at is 9"), (None, 99, "--kill-at is 99"), (5, 5, "behind the save"), (8, None, "last step")],
)
def test_steps_that_cannot_be(save_at: int | None, kill_at: int | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        choose(REFERENCE, save_at, kill_at, random.Random(0))


def test_what_was_asked_for_is_taken() -> None:
    chosen = choose(REFERENCE, 2, 7, random.Random(0))
    assert (chosen.save_at, chosen.kill_at) == (2, 7)
    assert choose(REFERENCE, None, 2, random.Random(0)).save_at == 1
