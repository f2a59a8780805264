"""Where in an epoch a training is saved, decided from its loaders' states and from what the caller said."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt.saving.capture.phases import Moment, SeenLoader, moment_of
from ckpt.saving.capture.turns import Turn


def under_way(epoch: int = 1, batch: int = 2, *, exhausted: bool = False) -> dict[str, Any]:
    told = {"batch_idx": batch, "epoch": epoch, "epoch_open": True, "exhausted": exhausted, "prefetched": 3}
    return {**told, "at_start": beginning(epoch)}


def beginning(epoch: int) -> dict[str, Any]:
    return {**FRESH, "epoch": epoch}


def over(epoch: int = 1) -> dict[str, Any]:
    """A loader that gave all of an epoch: it tells the next one."""
    told = {"batch_idx": 0, "epoch": epoch + 1, "epoch_open": False, "exhausted": True, "prefetched": 0}
    return {**told, "at_start": beginning(epoch)}


FRESH = {"batch_idx": 0, "epoch": 0, "epoch_open": False, "exhausted": False, "prefetched": 0}
OTHER = {"_snapshot": 3}


def seen(**states: Any) -> list[SeenLoader]:
    return [SeenLoader(state, name, f"start of {name}", f"end of {name}") for name, state in states.items()]


@pytest.mark.parametrize(
    ("loaders", "at_epoch_end", "epoch_begun", "phase", "finished"),
    [
        ({"train": under_way()}, False, True, "training", False),
        ({"train": under_way()}, None, None, "training", False),
        ({"train": under_way(exhausted=True)}, False, True, "training", False),
        ({"train": under_way(), "val": over()}, None, None, "training", False),
        ({"train": over(), "val": under_way()}, False, True, "validation", False),
        ({"train": over(), "val": under_way()}, None, None, "validation", False),
        ({"train": FRESH, "val": under_way()}, False, False, "validation", False),
        ({"train": under_way(), "Validation": under_way()}, False, True, "validation", False),
        ({"train": over()}, False, True, "validation", False),
        ({"train": over()}, False, False, "between", False),
        ({"train": over()}, False, None, "validation", False),
        ({"train": over()}, None, None, "between", True),
        ({"train": over()}, None, False, "between", False),
        ({"train": over(), "val": over()}, True, True, "between", True),
        ({"train": over(), "val": over()}, None, None, "between", True),
        ({"train": over(1), "val": over(0)}, None, None, "validation", False),
        ({"train": over(3), "val": over(0)}, None, None, "between", True),
        ({"train": over(0), "val": FRESH}, None, None, "validation", False),
        ({"train": over(1), "val": over(0)}, True, None, "between", True),
        ({"train": under_way()}, True, True, "between", True),
        ({"train": FRESH}, None, None, None, None),
        ({"train": FRESH}, False, False, "between", False),
        ({}, False, True, "training", False),
        ({}, None, None, None, None),
        ({"train": OTHER}, False, True, "training", False),
        ({"train": OTHER}, None, None, None, None),
        ({"train": OTHER}, True, True, "between", True),
        ({"train": over(), "more": OTHER}, None, None, None, None),
    ],
)
def test_phases(
    loaders: dict[str, Any], at_epoch_end: bool | None, epoch_begun: bool | None, phase: str | None, finished: Any
) -> None:
    found = moment_of(seen(**loaders), at_epoch_end, epoch_begun)
    assert (found.phase, found.epoch_finished) == (phase, finished)


def states(loaders: list[SeenLoader], moment: Moment) -> dict[str | None, Any]:
    return {loader.name: state for loader, state in zip(loaders, moment.states, strict=True)}


def test_a_validation_begins_anew_behind_a_training_that_gives_nothing() -> None:
    loaders = seen(train=over(4), val=under_way(4, 7))
    moment = moment_of(loaders, False, True)
    found = states(loaders, moment)
    assert {key: found["train"][key] for key in ("epoch", "epoch_open", "exhausted")} == {
        "epoch": 4,
        "epoch_open": True,
        "exhausted": True,
    }
    assert {key: found["val"][key] for key in ("epoch", "batch_idx", "exhausted", "prefetched")} == {
        "epoch": 4,
        "batch_idx": 0,
        "exhausted": False,
        "prefetched": 0,
    }
    assert (moment.random, moment.caveats) == ("end of train", ())


def test_a_loader_that_tells_its_beginning_has_it_back() -> None:
    beginning = {"epoch": 4, "schedule_position": 0}
    loaders = seen(train=over(4), val={**under_way(4, 7), "at_start": beginning})
    assert states(loaders, moment_of(loaders, False, True))["val"] == beginning


def test_parts_of_the_validation_that_are_over_begin_anew_too() -> None:
    loaders = seen(train=over(4), val_a=over(4), val_b=under_way(4), val_c=over(3))
    found = states(loaders, moment_of(loaders, False, True))
    assert (found["val_a"]["epoch"], found["val_a"]["exhausted"]) == (4, False)
    assert found["val_b"]["batch_idx"] == 0
    assert found["val_c"] == over(3)


def test_a_validation_that_is_over_is_done_again_as_long_as_its_epoch_is_not() -> None:
    loaders = seen(train=over(4), val=over(4))
    assert states(loaders, moment_of(loaders, False, True))["val"] == beginning(4)


def test_a_validation_that_seems_to_be_yet_to_come_is_told_of() -> None:
    loaders = seen(train=over(4), val=over(3))
    moment = moment_of(loaders)
    assert states(loaders, moment)["val"] == over(3)
    assert "at_epoch_end" in moment.caveats[0]
    assert moment_of(loaders, False).caveats == ()


def test_random_numbers_of_the_validation_come_from_its_loader_where_the_training_tells_none() -> None:
    loaders = [SeenLoader(FRESH, "train"), SeenLoader(under_way(), "val", "start of val")]
    assert moment_of(loaders, False, True).random == "start of val"
    blind = moment_of([SeenLoader(over(), "train"), SeenLoader(under_way(), "val")], False, True)
    assert blind.random is None
    assert "other random numbers" in blind.caveats[0]


def test_a_validation_within_the_training_is_not_repeated() -> None:
    loaders = seen(train=under_way(4, 20), val=under_way(9))
    moment = moment_of(loaders, False, True)
    found = states(loaders, moment)
    assert found["train"] == under_way(4, 20)
    assert (found["val"]["epoch"], found["val"]["epoch_open"]) == (10, False)
    assert moment.random == "start of val"
    assert "not repeated" in moment.caveats[0]


TRAINED = Turn(trained=True, first_step=5)


@pytest.mark.parametrize(
    ("first", "second", "gives_nothing", "is_told"),
    [
        (TRAINED, Turn(trained=True, first_step=6), True, False),
        (TRAINED, Turn(), True, False),
        (TRAINED, Turn(trained=True, first_step=5), True, False),
        (TRAINED, Turn(trained=True, first_step=4), False, False),
        (Turn(trained=False), Turn(trained=True, first_step=4), False, False),
        (Turn(trained=False, first_step=1), Turn(trained=True, first_step=4), False, False),
        (Turn(), Turn(trained=True, first_step=4), False, True),
        (Turn(trained=True), Turn(trained=True, first_step=4), False, True),
    ],
)
def test_a_training_loader_that_had_its_turn_gives_nothing_beside_one_under_way(
    first: Turn, second: Turn, gives_nothing: bool, is_told: bool
) -> None:
    loaders = [
        SeenLoader(over(4), "first", turn=first, called="first"),
        SeenLoader(under_way(4), "second", turn=second),
    ]
    moment = moment_of(loaders, False, True)
    found = states(loaders, moment)
    assert (found["first"] == over(4)) is not gives_nothing
    assert (found["first"]["epoch"], found["first"]["epoch_open"]) == ((4, True) if gives_nothing else (5, False))
    assert found["second"] == under_way(4)
    assert [caveat.startswith("first: it came to its end within the epoch") for caveat in moment.caveats] == (
        [True] if is_told else []
    )


def test_beside_two_under_way_that_tell_otherwise_the_next_epoch_is_given_and_told_of() -> None:
    before, behind = Turn(trained=True, first_step=2), Turn(trained=True, first_step=8)
    loaders = [
        SeenLoader(over(4), "first", turn=TRAINED),
        SeenLoader(under_way(4), "a", turn=before),
        SeenLoader(under_way(1), "b", turn=behind),
    ]
    moment = moment_of(loaders, False, True)
    assert states(loaders, moment)["first"] == over(4)
    assert len(moment.caveats) == 1


def test_between_two_loaders_of_an_epoch_the_first_gives_nothing() -> None:
    loaders = [SeenLoader(over(4), "first", turn=TRAINED), SeenLoader(FRESH, "second")]
    moment = moment_of(loaders, False, True)
    assert (moment.phase, states(loaders, moment)["first"]["epoch_open"]) == ("training", True)
    assert states(loaders, moment_of(loaders, False, False))["first"] == over(4)


def test_a_validation_within_the_training_changes_nothing_in_who_had_its_turn() -> None:
    loaders = [
        SeenLoader(over(4), "first", turn=TRAINED),
        SeenLoader(under_way(4), "second"),
        SeenLoader(under_way(9), "val", "start of val"),
    ]
    assert states(loaders, moment_of(loaders, False, True))["first"]["epoch_open"] is True


def test_what_no_step_saw_is_no_training_behind_one_that_is_over() -> None:
    loaders = [SeenLoader(over(4), "train", turn=TRAINED), SeenLoader(over(9), "holdout", turn=Turn(trained=False))]
    found = states(loaders, moment_of(loaders, False, True))
    assert (found["train"]["epoch_open"], found["holdout"]) == (True, over(9))


def test_at_the_end_of_an_epoch_an_iterator_goes_on_only_if_it_has_more() -> None:
    loaders = seen(held=under_way(4), done=under_way(4, exhausted=True))
    found = states(loaders, moment_of(loaders, True))
    assert found["held"]["epoch_open"] is True
    assert (found["done"]["epoch_open"], found["done"]["epoch"]) == (False, 5)


@pytest.mark.parametrize(
    ("state", "kept", "is_open", "is_told"),
    [
        (under_way(4), None, True, True),
        (under_way(4), True, True, False),
        (under_way(4), False, False, False),
        ({**under_way(4), "epoch_length": "infinite", "loader_states": []}, None, True, False),
        ({**under_way(4), "epoch_length": 20, "loader_states": [{}]}, False, True, True),
        ({**under_way(4), "sampler_state": {"held": 3}}, False, True, True),
    ],
)
def test_whether_an_iterator_outlives_the_epoch_is_told_where_nobody_knows(
    state: dict[str, Any], kept: bool | None, is_open: bool, is_told: bool
) -> None:
    loaders = [SeenLoader(state, "labelled", turn=Turn(kept=kept), called="labelled")]
    moment = moment_of(loaders, True)
    assert moment.states[0]["epoch_open"] is is_open
    assert ["its iterator is kept" in caveat for caveat in moment.caveats] == ([True] if is_told else [])


def test_a_schedule_is_as_any_other_loader() -> None:
    schedule = {**over(4), "strategy": "weighted", "loader_states": [{}]}
    loaders = seen(train=schedule, val=under_way(4))
    found = states(loaders, moment_of(loaders, False, True))["train"]
    assert (found["epoch"], found["epoch_open"]) == (4, True)


def test_states_of_other_kinds_are_stored_as_they_are() -> None:
    loaders = seen(train=OTHER, val={"batch_idx": 3})
    assert moment_of(loaders, True).states == (OTHER, {"batch_idx": 3})


@pytest.mark.parametrize(
    "held",
    [
        Turn(trained=True, first_step=1, from_before=True, newest_batch=9, at_newest=True),
        Turn(trained=True, first_step=1, newest_batch=9, at_newest=True),
    ],
)
def test_a_held_iterator_has_no_loop_that_a_training_is_within(held: Turn) -> None:
    ended = Turn(trained=True, first_step=5, newest_batch=9, at_newest=True)
    loaders = [
        SeenLoader(over(4), "train", random_at_end="end of train", turn=ended),
        SeenLoader(under_way(1), "held", turn=held),
    ]
    moment = moment_of(loaders, False, True)
    found = states(loaders, moment)
    assert (found["train"]["epoch_open"], found["train"]["exhausted"], found["held"]) == (True, True, under_way(1))
    # That the training is over is known where the iterator is one that outlives the epoch.
    known = ("validation", "end of train") if held.from_before else ("training", None)
    assert (moment.phase, moment.random, moment.caveats) == (*known, ())


def test_a_validation_beside_a_held_iterator_begins_anew() -> None:
    loaders = [
        SeenLoader(over(4), "train", random_at_end="end", turn=Turn(trained=True, first_step=5, at_newest=True)),
        SeenLoader(under_way(1), "held", turn=Turn(trained=True, first_step=1, from_before=True)),
        SeenLoader(under_way(4, 7), "val", "start of val"),
    ]
    moment = moment_of(loaders, False, True)
    assert (states(loaders, moment)["val"], moment.random, moment.caveats) == (beginning(4), "end", ())
    assert any("at_epoch_end" in caveat for caveat in moment_of(loaders).caveats)


def test_a_validation_begins_with_the_random_numbers_behind_the_training_s_last_loop() -> None:
    loaders = [
        SeenLoader(over(4), name, random_at_end=f"end of {name}", turn=Turn(trained=True, first_step=first))
        for name, first in (("second", 8), ("first", 1))
    ]
    assert moment_of(loaders, False, True).random == "end of second"


@pytest.mark.parametrize(
    ("more", "is_told"),
    [
        ({}, False),
        ({"epoch_length": 20, "loader_states": [{}]}, False),
        ({"epoch_length": "longest", "loader_states": [{}]}, True),
        ({"sampler_state": {"at_start": {"held": {}, "carried": {}}}}, False),
        ({"sampler_state": {"at_start": {"held": {"1.generator": 3}, "carried": {}}}}, True),
        ({"sampler_state": {"at_start": {}, "state": {"at": 3}}}, True),
    ],
)
def test_an_iterator_at_its_last_batch_is_told_of_where_its_end_changes_more(
    more: dict[str, Any], is_told: bool
) -> None:
    loaders = [SeenLoader({**under_way(4, exhausted=True), **more}, "labelled", called="labelled")]
    moment = moment_of(loaders, True)
    assert moment.states[0]["epoch_open"] is False
    assert ["behind its end" in caveat for caveat in moment.caveats] == ([True] if is_told else [])


def test_a_manager_that_does_not_say_where_the_epoch_ends_is_told_so() -> None:
    (caveat,) = moment_of([SeenLoader(over(4), "first"), SeenLoader(FRESH, "second")]).caveats
    assert "at_epoch_end" in caveat
    assert moment_of([SeenLoader(FRESH, "first"), SeenLoader(FRESH, "second")]).caveats == ()
