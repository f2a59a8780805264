"""A Lightning training goes on, rotates and is resumed while a daemon removes what its policy does not keep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

POLICY = "keep_last=1 keep_best=1 min_age=0 max_share=1"


def test_a_training_with_top_k_is_never_surprised(box: Any, tmp_path: Path) -> None:
    root = tmp_path / "experiments"
    run = root / "vit"
    place = run / "checkpoints"
    root.mkdir()
    box.enforce(root, POLICY)

    training = box.train("lightning", run, 6)
    seen = {}
    # Validation is 5, 4, 6, 3, 7, 8: the trainer's best two, its last one, and one file of each epoch.
    best = {0: {0}, 1: {0, 1}, 2: {0, 1}, 3: {1, 3}, 4: {1, 3}, 5: {1, 3}}
    while (epoch := training.saved()) is not None:
        there = {f"top-epoch={n}.ckpt" for n in best[epoch]} | {"last.ckpt", f"each-epoch={epoch}.ckpt"}
        there |= best_of_each(epoch)
        box.becomes(place, there)
        assert set(os.listdir(run)) == {"checkpoints"}
        training.go_on()
    seen.update(training.seen)
    assert training.end is not None and training.end["began"] == 0 and training.end["ended"] == 12
    assert training.end["best"] == str(place / "top-epoch=3.ckpt") and training.end["best_value"] == 3.0

    # `ckpt_path="last"` takes last.ckpt, which Lightning wrote with its newest best.
    again = box.train("lightning", run, 8, resume=True)
    while again.saved() is not None:
        again.go_on()
    seen.update(again.seen)
    assert again.end is not None and again.end["began"] == 8 and again.end["ended"] == 16
    assert again.end["best"] == training.end["best"] and again.end["kept"] == training.end["kept"]
    box.becomes(place, {"top-epoch=1.ckpt", "top-epoch=3.ckpt", "last.ckpt", "each-epoch=7.ckpt"} | best_of_each(7))

    assert set(os.listdir(root)) == {"vit", ".ckptd"} and set(os.listdir(run)) == {"checkpoints"}
    entries = box.trash()
    assert entries and all("each-epoch=" in entry["path"] for entry in entries)


def best_of_each(epoch: int) -> set[str]:
    """The best by the metric among the files of each epoch, as the floor keeps it."""
    return {"each-epoch=3.ckpt"} if epoch >= 3 else set()
