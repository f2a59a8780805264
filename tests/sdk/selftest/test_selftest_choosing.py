"""Where a self-test saves and kills."""

from __future__ import annotations

import random

import pytest

from ckpt.exceptions import UsageError
from ckpt.selftest.choosing import Moments, choose, choose_own
from ckpt.selftest.recording_file import Event, Recording, Step


def step(number: int, *, epoch: float = 0, batches: int = 1) -> Step:
    return Step(step=number, epoch=epoch, parts={}, batches=[{}] * batches)


def recording(*steps: Step, saved: tuple[int, ...] = (), asks: bool = True) -> Recording:
    events = [Event(what="asks", step=1)] * asks + [Event(what="saved", step=number) for number in saved]
    return Recording(steps={made.step: made for made in steps}, events=tuple(events))


REFERENCE = recording(*(step(number) for number in range(1, 9)))


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


def test_the_save_is_behind_the_first_epoch_where_that_can_be() -> None:
    reference = recording(*(step(n, epoch=(n - 1) // 4) for n in range(1, 17)))
    assert {choose(reference, None, None, random.Random(seed)).save_at for seed in range(50)} == {5, 6, 7}


AMID = Moments(save_at=6, kill_at=7)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ((4, 8, 12, 16), {8}),  # at the end of the second epoch
        ((2, 4, 6, 8, 10), {8}),
        ((4,), {4}),
        ((2, 10), {2}),
        ((16,), set()),  # nothing comes behind it
        ((), set()),
    ],
)
def test_the_second_save_is_the_training_s_own_at_the_end_of_an_epoch(
    saved: tuple[int, ...], expected: set[int]
) -> None:
    reference = recording(*(step(n, epoch=(n - 1) // 4) for n in range(1, 17)), saved=saved)
    chosen = [choose_own(reference, AMID, random.Random(seed)) for seed in range(20)]
    assert {found.save_at for found in chosen if found is not None} == expected
    assert all(found is None or (found.by_itself and found.kill_at > found.save_at) for found in chosen)


def test_epochs_in_fractions_end_where_they_are_whole() -> None:
    reference = recording(*(step(n, epoch=n / 4) for n in range(1, 17)), saved=(2, 4, 8))
    assert reference.epoch_ends() == {4, 8, 12}
    chosen = choose_own(reference, AMID, random.Random(0))
    assert chosen is not None and chosen.save_at == 8
    assert {choose(reference, None, None, random.Random(seed)).save_at for seed in range(50)} == {5, 6, 7}


def test_without_the_end_of_an_epoch_it_is_where_most_is_read_behind_the_save() -> None:
    validated = [step(n, batches=4 if n == 7 else 1) for n in range(1, 17)]
    reference = recording(*validated, saved=(3, 6, 9))
    chosen = choose_own(reference, Moments(save_at=3, kill_at=4), random.Random(0))
    assert chosen is not None and chosen.save_at == 6
    assert choose_own(reference, AMID, random.Random(0)) is None


def test_what_the_self_test_had_saved_is_no_save_of_the_training_s_own() -> None:
    reference = recording(*(step(n) for n in range(1, 9)), saved=(1, 4))
    reference = reference.evolve(events=(*reference.events, Event(what="forced", step=1)))
    assert reference.own_saves == [4]
