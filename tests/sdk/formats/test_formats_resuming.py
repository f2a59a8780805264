"""What a resume makes of a report."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt.formats.resuming import generators, resumption

ALL: dict[str, Any] = {"python": True, "numpy": True, "torch": True, "cuda": False, "ranks": 1}
FULL: dict[str, Any] = {"model": True, "optimizer": True, "rng": ALL, "data": True, "topology": {}}


@pytest.mark.parametrize(
    ("changes", "outcome", "lacking"),
    [
        ({}, "exact", ()),
        ({"scheduler": True, "scaler": True}, "exact", ()),
        ({"data": False}, "differs", ("data",)),
        ({"data": False, "epoch_finished": True}, "exact", ()),
        ({"rng": {}}, "differs", ("rng",)),
        ({"rng": {**ALL, "torch": False}}, "differs", ("rng.torch",)),
        (
            {"rng": {**ALL, "python": False, "numpy": False}, "data": False},
            "differs",
            ("rng.python", "rng.numpy", "data"),
        ),
        ({"rng": {**ALL, "ranks": 2}, "topology": {"world_size": 4}}, "differs", ("rng.ranks",)),
        ({"rng": {**ALL, "ranks": 4}, "topology": {"world_size": 4}}, "exact", ()),
        ({"optimizer": False}, "weights", ()),
        ({"optimizer": False, "rng": {}, "data": False}, "weights", ()),
        ({"model": False}, "partial", ()),
        ({"model": False, "optimizer": False, "data": False}, "partial", ()),
        ({"model": False, "optimizer": False, "data": False, "rng": {}}, "nothing", ()),
    ],
)
def test_outcomes(changes: dict[str, Any], outcome: str, lacking: tuple[str, ...]) -> None:
    found = resumption({**FULL, **changes})
    assert (found.outcome, found.lacking) == (outcome, lacking)


def test_what_the_writer_says_against_it_is_heard() -> None:
    found = resumption({**FULL, "caveats": ["train: seeded anew"]})
    assert (found.outcome, found.lacking, found.caveats) == ("differs", (), ("train: seeded anew",))


@pytest.mark.parametrize(("phase", "outcome"), [("epoch_start", "exact"), ("train_batch", "differs")])
def test_before_the_first_step_of_an_epoch_no_position_is_needed(phase: str, outcome: str) -> None:
    assert resumption({**FULL, "data": False, "phase": phase}).outcome == outcome


def test_an_empty_report_tells_of_nothing() -> None:
    assert resumption({}).outcome == "nothing"


def test_generators_in_a_fixed_order() -> None:
    assert generators({"rng": {"cuda": True, "python": True, "numpy": False, "ranks": 3}}) == ("python", "cuda")
