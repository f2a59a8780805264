"""Where a self-test saves and kills."""

from __future__ import annotations

import random

import pytest

from ckpt.exceptions import UsageError
from ckpt.selftest.choosing import choose
from ckpt.selftest.recording_file import Event, Recording, Step


def step(number: int, *, epoch: float = 0) -> Step:
    return Step(step=number, epoch=epoch, parts={})


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
