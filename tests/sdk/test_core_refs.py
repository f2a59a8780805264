"""The address grammar over records."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ckpt import refs
from ckpt.exceptions import AddressError
from ckpt.records import Checkpoint, Run


def run(path: str, **fields: Any) -> Run:
    name = path.rsplit("/", 1)[-1]
    given = {"id": (name.encode().hex() + "0" * 32)[:32], "name": name, "root": "/", "own": True, **fields}
    return Run(path=path, **given)


def checkpoint(number: int, **fields: Any) -> Checkpoint:
    given: dict[str, Any] = {"step": number * 100, "epoch": number, "seq": number, "saved_at": float(number), **fields}
    return Checkpoint(id=f"{number:06x}abcdef", run="r", path=f"/x/{number}", **given)


RUNS = [run("/data/runs/exp1"), run("/data/runs/exp2"), run("/old/runs/exp2", id="e" * 32), run("/solo")]


@pytest.mark.parametrize(
    ("text", "name", "selector"),
    [
        ("exp3", "exp3", None),
        ("exp3@best", "exp3", "best"),
        ("runs/exp3/", "runs/exp3", None),
        ("a@b@step:3", "a@b", "step:3"),
        ("/", "/", None),
    ],
)
def test_an_address_has_a_run_and_perhaps_a_selector(text: str, name: str, selector: str | None) -> None:
    address = refs.parse(text)
    assert (address.run, address.selector) == (name, selector)
    assert refs.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "@best", "exp3@"])
def test_an_address_with_an_empty_part_is_none(text: str) -> None:
    with pytest.raises(AddressError, match="is no address"):
        refs.parse(text)


def test_short_names_are_the_shortest_that_name_one_run() -> None:
    assert list(refs.short_names(RUNS).values()) == ["exp1", "data/runs/exp2", "old/runs/exp2", "solo"]
    nested = [run("/a/x"), run("/b/a/x", id="d" * 32)]
    names = refs.short_names(nested)
    assert names["d" * 32] == "b/a/x" and names[nested[0].id] == nested[0].id[:12]
    for each in nested:
        assert refs.find_run(names[each.id], nested) == each


@pytest.mark.parametrize(
    "name", ["exp1", "runs/exp1", "/data/runs/exp1", "data/runs/exp1/", RUNS[0].id, RUNS[0].id[:8]]
)
def test_a_run_is_found_by_suffix_path_and_id(name: str) -> None:
    assert refs.find_run(name, RUNS) is RUNS[0]


def test_an_ambiguous_run_names_its_candidates() -> None:
    with pytest.raises(AddressError, match="names 2 runs") as caught:
        refs.find_run("exp2", RUNS)
    assert caught.value.candidates == ("data/runs/exp2", "old/runs/exp2")
    assert caught.value.exit_code == 2


def test_an_unknown_run_names_the_nearest() -> None:
    with pytest.raises(AddressError, match="did you mean exp1") as caught:
        refs.find_run("exq1", RUNS)
    assert "exp1" in caught.value.candidates
    with pytest.raises(AddressError, match="no run is known yet"):
        refs.find_run("x", [])
    with pytest.raises(AddressError, match="known: exp1"):
        refs.find_run("zzzzzzzz", RUNS)


def test_newest_goes_by_save_then_time_then_step() -> None:
    own = [checkpoint(1, step=9900), checkpoint(3, step=500), checkpoint(2, step=10000)]
    assert [c.seq for c in refs.newest_first(own)] == [3, 2, 1]
    foreign = [
        checkpoint(1, seq=None, saved_at=5.0, step=9900),
        checkpoint(2, seq=None, saved_at=5.0, step=10000),
        checkpoint(3, seq=None, saved_at=2.0, step=None),
    ]
    assert [c.step for c in refs.newest_first(foreign)] == [10000, 9900, None]


def test_what_the_trainer_points_to_is_newer_than_what_was_written_later() -> None:
    foreign = [
        checkpoint(1, seq=None, saved_at=900.0, label="export", pointed=True),
        checkpoint(2, seq=None, saved_at=100.0, pointed=True),
        checkpoint(3, seq=None, saved_at=500.0),
    ]
    assert [c.step for c in refs.newest_first(foreign)] == [200, 300, 100]


@pytest.mark.parametrize(
    ("steps", "epochs", "order"),
    [
        ([300, 100, 200], [None, None, None], [0, 2, 1]),
        ([None, None, None], [1.0, 3.0, 2.0], [1, 2, 0]),
        ([300, None, 200], [1.0, 2.0, 1.0], [1, 0, 2]),
        ([300, None, 200], [None, 2.0, 1.0], [2, 1, 0]),
    ],
)
def test_copies_without_times_go_by_what_all_of_them_know(
    steps: list[int | None], epochs: list[float | None], order: list[int]
) -> None:
    copied = [
        checkpoint(number, seq=None, step=step, epoch=epoch, saved_at=5.0 + number / 10)
        for number, (step, epoch) in enumerate(zip(steps, epochs, strict=True))
    ]
    assert [c.saved_at for c in refs.newest_first(copied)] == [copied[place].saved_at for place in order]


def test_copies_of_one_epoch_go_by_the_numbers_in_their_names() -> None:
    copied = [
        checkpoint(1, seq=None, step=None, epoch=0, saved_at=5.0).evolve(id=f"{seed}" * 12, path=f"/x/ckpt_{number}.pt")
        for seed, number in enumerate(("10", "9", "100"))
    ]
    assert [c.path for c in refs.newest_first(copied)] == ["/x/ckpt_100.pt", "/x/ckpt_10.pt", "/x/ckpt_9.pt"]


def test_what_is_being_written_is_ahead_before_it_knows_its_step() -> None:
    known = [checkpoint(number, seq=None, saved_at=5.0) for number in (1, 2)]
    begun = checkpoint(3, seq=None, saved_at=5.0, step=None, epoch=None, state="writing")
    broken = begun.evolve(id="0" * 12, state="incomplete")
    assert refs.newest_first([broken, *known, begun]) == [begun, known[1], known[0], broken]


def test_best_ranks_finite_values_of_complete_checkpoints() -> None:
    world = [
        checkpoint(1, metrics={"m": 0.5}),
        checkpoint(2, metrics={"m": math.nan}),
        checkpoint(3, metrics={"m": 0.1}, state="corrupt"),
        checkpoint(4, metrics={"m": 0.5}),
        checkpoint(5, metrics={"m": -math.inf}),
        checkpoint(6),
        checkpoint(7, metrics={"m": 0.2}),
    ]
    assert [c.seq for c in refs.best_first(world, "m", "min")] == [7, 4, 1]
    assert [c.seq for c in refs.best_first(world, "m", "max")] == [4, 1, 7]


def test_ranking_gives_places_of_equals_in_their_order() -> None:
    assert refs.ranking([2.0, None, 1.0, math.nan, 2.0, 0.0, -0.0], "min") == [5, 6, 2, 0, 4]
    assert refs.ranking([2.0, None, 1.0, math.inf, 2.0], "max") == [0, 4, 2]
    assert refs.ranking([], "min") == []


WORLD = [
    checkpoint(1, metrics={"val_loss": 0.3, "acc": 0.9}, tags=("paper",)),
    checkpoint(2, metrics={"val_loss": 0.1, "acc": 0.5}, tags=("best-model",)),
    checkpoint(3, metrics={"val_loss": 0.2, "acc": 0.7}),
    checkpoint(4, state="writing", step=400),
]
RUN = run("/data/runs/exp1", monitor="val_loss", mode="min")


@pytest.mark.parametrize(
    ("selector", "number"),
    [
        (None, 3),
        ("latest", 3),
        ("last", 3),
        ("~0", 3),
        ("~", 2),
        ("~2", 1),
        ("best", 2),
        ("best-1", 2),
        ("best-3", 1),
        ("best:acc", 1),
        ("best:val_loss", 2),
        ("step:200", 2),
        ("step:400", 4),
        ("epoch:3", 3),
        ("paper", 1),
        ("best-model", 2),
        (f"{2:06x}ab", 2),
    ],
)
def test_a_selector_finds_its_checkpoint(selector: str | None, number: int) -> None:
    assert refs.select(selector, WORLD, RUN).seq == number


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("~3", "has 3 complete checkpoints"),
        ("~x", "needs a number"),
        ("~1.5", "needs a number"),
        ("~-1", "needs a number"),
        ("best-0", "has 3 checkpoints with 'val_loss'"),
        ("best-4", "has 3 checkpoints with 'val_loss'"),
        ("best:ac", "did you mean acc?"),
        ("best-modle", "did you mean best-model"),
        ("step:250", "nearest: 100, 200, 300, 400"),
        ("step:nan", "needs a number"),
        ("epoch:", "needs a number"),
        ("papr", "did you mean paper?"),
        ("\x1b[31m", "nothing at '\\x1b[31m'"),
    ],
)
def test_a_selector_that_fits_nothing_says_what_exists(selector: str, text: str) -> None:
    with pytest.raises(AddressError) as caught:
        refs.select(selector, WORLD, RUN)
    assert text in str(caught.value)


def test_a_run_without_checkpoints_says_so() -> None:
    with pytest.raises(AddressError, match="has no checkpoints"):
        refs.select("latest", [], RUN)
    with pytest.raises(AddressError, match="has no complete checkpoint"):
        refs.select(None, WORLD[3:], RUN)
    with pytest.raises(AddressError, match="no metric is recorded"):
        refs.select("best", [checkpoint(1)], run("/r"))


def test_a_step_saved_twice_means_the_newest_whole_one() -> None:
    world = [checkpoint(1, step=7), checkpoint(2, step=7), checkpoint(3, step=7, state="corrupt")]
    assert refs.select("step:7", world, RUN).seq == 2


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("valloss", "min"),
        ("eval/WER", "min"),
        ("test_error_rate", "min"),
        ("accuracy", "max"),
        ("power", "max"),
        ("f1", "max"),
        ("lossless", "max"),
    ],
)
def test_a_metric_has_a_direction_by_its_name(metric: str, mode: str) -> None:
    assert refs.mode_for(metric) == mode


def test_a_copy_that_is_called_like_its_original_does_not_take_its_name() -> None:
    original, copy = run("/data/runs/exp1"), run("/data/runs/copy", name="exp1", id="c" * 32)
    assert refs.find_run("exp1", [original, copy]) is original
    assert refs.find_run("exp1", [copy]) is copy
