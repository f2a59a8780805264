"""A Lightning training goes on, rotates and is resumed while a daemon removes what its policy does not keep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

POLICY = {"keep_last": 1, "keep_best": 1, "min_age": 0, "max_share": 1, "missing_metric": "ignore"}
TOP = {0: {0}, 1: {0, 1}, 2: {0, 1}, 3: {1, 3}}
"""Epoch to the trainer's best two, by a validation of 5, 4, 6, 3, 7, 8."""
BEST = {0: 0, 1: 1, 2: 1}


def test_a_training_with_top_k_is_never_surprised(box: Any, tmp_path: Path) -> None:
    """It writes its best two, its last, and a file each epoch, of which the daemon leaves the newest and the best."""
    root = tmp_path / "experiments"
    run = root / "vit"
    place = run / "checkpoints"
    root.mkdir()
    box.enforce(root, POLICY)

    training = box.train("lightning", run, 6, 8)
    while (epoch := training.saved()) is not None:
        there = {f"top-epoch={n}.ckpt" for n in TOP.get(epoch, {1, 3})}
        there |= {"last.ckpt", f"each-epoch={epoch}.ckpt", f"each-epoch={BEST.get(epoch, 3)}.ckpt"}
        box.becomes(place, there)
        assert set(os.listdir(run)) == {"checkpoints"}
        training.go_on()
    first = training.end
    assert (first["began"], first["ended"]) == (0, 12)
    assert (first["best"], first["best_value"]) == (str(place / "top-epoch=3.ckpt"), 3.0)

    # `ckpt_path="last"` takes last.ckpt, which Lightning wrote with its newest best.
    while training.saved() is not None:
        training.go_on()
    training.finish()
    assert (training.end["began"], training.end["ended"]) == (8, 16)
    assert (training.end["best"], training.end["kept"]) == (first["best"], first["kept"])
    # What Lightning wrote beside a file of the same name is a series of its own, of which nothing else is there.
    left = {"top-epoch=1.ckpt", "top-epoch=3.ckpt", "last.ckpt"}
    left |= {"each-epoch=3.ckpt", "each-epoch=5-v1.ckpt", "each-epoch=7.ckpt"}
    box.becomes(place, left)

    # Nothing lies beside what the trainer wrote, and what was removed comes back as it was.
    assert set(os.listdir(root)) == {"vit", ".ckptd"} and set(os.listdir(run)) == {"checkpoints"}
    back = box.brought_back(run, training.seen)
    assert {os.path.basename(name) for name in back} >= {f"each-epoch={n}.ckpt" for n in (0, 1, 2, 4, 5, 6)}
    assert all("each-epoch=" in name for name in back)


def test_a_training_that_saves_all_by_a_metric_is_thinned_and_goes_on(box: Any, tmp_path: Path) -> None:
    """With `save_top_k=-1` its state names every file; it needs the best and the last of them."""
    root = tmp_path / "experiments"
    run = root / "vit"
    place = run / "checkpoints"
    root.mkdir()
    box.enforce(root, POLICY)

    training = box.train("lightning-all", run, 6, 8)
    while (epoch := training.saved()) is not None:
        box.becomes(place, {"last.ckpt", f"all-epoch={epoch}.ckpt", f"all-epoch={BEST.get(epoch, 3)}.ckpt"})
        training.go_on()
    best = str(place / "all-epoch=3.ckpt")
    assert (training.end["began"], training.end["ended"]) == (0, 12)
    assert (training.end["best"], training.end["best_value"]) == (best, 3.0)
    # What it validated with was the state of its best.
    assert training.end["kept"] == [str(place / f"all-epoch={n}.ckpt") for n in range(4)]

    # Both `ckpt_path="last"` and, at its end, "best" find what they name.
    while training.saved() is not None:
        training.go_on()
    training.finish()
    assert (training.end["began"], training.end["ended"], training.end["best"]) == (12, 16, best)
    box.becomes(place, {"last.ckpt", "all-epoch=3.ckpt", "all-epoch=7.ckpt"})
    back = box.brought_back(run, training.seen)
    assert {os.path.basename(name) for name in back} == {f"all-epoch={n}.ckpt" for n in (0, 1, 2, 4, 5, 6)}
