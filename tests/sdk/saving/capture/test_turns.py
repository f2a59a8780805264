"""What the steps of a training tell of its loaders."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ckpt.loaders import ResumableLoader
from ckpt.saving.capture.turns import Turn, Turns


def loader(batches: int = 4) -> Any:
    return ResumableLoader(list(range(batches)), batch_size=1)


def test_a_loader_that_steps_were_done_with_was_trained_on_in_that_epoch_alone() -> None:
    train, holdout = loader(), loader(2)
    turns = Turns()
    assert turns.of(train, 0) == Turn()
    for _ in train:
        list(holdout)
        turns.note([train, holdout], 0, every_step=True)
    assert turns.of(train, 0) == Turn(trained=True, first_step=1, newest_batch=4, at_newest=True)
    assert turns.of(holdout, 0) == Turn(trained=False)
    assert turns.of(train, 1).trained is False


def test_what_only_some_steps_told_is_not_known() -> None:
    train, other = loader(), loader()
    turns = Turns()
    next(batches := iter(train))
    turns.note([train, other], 0, every_step=False)
    assert (turns.of(train, 0).trained, turns.of(train, 1).trained, turns.of(other, 0).trained) == (True, None, None)
    del batches


def test_a_pass_within_another_began_behind_it() -> None:
    outer, inner = loader(3), loader(2)
    turns = Turns()
    for number, _ in enumerate(outer):
        turns.note([outer, inner], 0, every_step=True)
        if number == 1:
            for _ in inner:
                turns.note([outer, inner], 0, every_step=True)
            break
    assert (turns.of(outer, 0).first_step, turns.of(inner, 0).first_step) == (1, 3)


@pytest.mark.parametrize(
    ("per_step", "anew", "kept"), [(1, False, True), (1, True, False), (2, False, True), (2, True, False)]
)
def test_an_iterator_is_kept_over_the_epoch_or_made_anew(per_step: int, anew: bool, kept: bool) -> None:
    held, turns = loader(20), Turns()
    batches = iter(held)
    for epoch in range(2):
        if anew:
            batches = iter(held)
        for _ in range(3):
            for _ in range(per_step):
                next(batches)
            turns.note([held], epoch, every_step=True)
        assert turns.of(held, epoch).kept is (None if epoch == 0 else kept)


@pytest.mark.parametrize("batches", [3, 4])
def test_an_iterator_that_comes_to_its_end_about_an_epoch_s_says_nothing(batches: int) -> None:
    short, turns = loader(batches), Turns()
    held = iter(short)
    for epoch in range(2):
        for _ in range(3):
            try:
                next(held), next(held)
            except StopIteration:
                held = iter(short)
                next(held)
            turns.note([short], epoch, every_step=True)
    assert turns.of(short, 1).kept is not False


def test_who_had_its_turn_before_a_resume_had_it_behind_it() -> None:
    first, second = loader(), loader()
    list(first)
    first.load_state_dict({**first.state_dict(), "epoch": 0, "epoch_open": True, "exhausted": True})
    turns = Turns()
    turns.go_on([first, second], 3)
    assert list(first) == []
    turns.note([first, second], 3, every_step=True)
    assert turns.of(first, 3) == Turn(trained=True, first_step=0, newest_batch=0)
    assert turns.of(first, 4).trained is False
    assert turns.of(second, 3).trained is False


def test_loaders_that_are_made_anew_are_not_kept_alive() -> None:
    turns = Turns()
    first = loader()
    held = [iter(first)]
    next(held[0])
    turns.note([first], 0, every_step=True)
    turns.note([loader()], 0, every_step=True)
    assert turns.of(first, 0) == Turn(trained=False)


@pytest.mark.parametrize("epoch", [math.nan, math.inf, None])
def test_what_is_no_epoch_is_refused_elsewhere(epoch: Any) -> None:
    train, turns = loader(), Turns()
    held = iter(train)
    next(held)
    turns.note([train], epoch, every_step=False)
    assert turns.of(train, epoch).trained is True


def test_an_iterator_that_is_held_over_the_epoch_is_from_before_and_one_around_the_epoch_is_not() -> None:
    held, outer, turns = iter(kept := loader(20)), loader(3), Turns()
    for epoch, _ in enumerate(outer):
        for _ in range(3):
            next(held)
            turns.note([kept, outer], epoch, every_step=True)
        found = turns.of(kept, epoch)
        assert (found.from_before, found.newest_batch) == (epoch > 0, 3 * epoch + 3)
        found = turns.of(outer, epoch)
        assert (found.from_before, found.newest_batch) == (False, 3 * epoch + 1)


def test_behind_a_resume_between_two_epochs_what_is_under_way_is_from_before() -> None:
    for begun in (True, False):
        saved, held, turns = loader(9), loader(9), Turns()
        under_way = iter(saved)
        next(under_way)
        held.load_state_dict(saved.state_dict())
        turns.go_on([held], 4, begun=begun)
        batches = iter(held)
        for _ in range(2):
            next(batches)
            turns.note([held], 4, every_step=True)
        assert turns.of(held, 4).from_before is not begun


def test_a_save_within_a_holdout_s_pass_makes_it_no_training() -> None:
    train, holdout, turns = loader(), loader(), Turns()
    for _ in train:
        for _ in holdout:
            turns.note([train, holdout], 0, every_step=False)
        turns.note([train, holdout], 0, every_step=True)
        turns.note([train, holdout], 0, every_step=False)
        break
    for _ in holdout:
        turns.note([train, holdout], 1, every_step=False)
        assert turns.of(holdout, 1).trained is False
