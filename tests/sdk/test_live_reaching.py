"""How far a training came, told by whichever of its files was written to last."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt.scan.live import Reached, reached


def write(path: Path, text: str, at: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def test_a_directory_without_metrics_tells_nothing(tmp_path: Path) -> None:
    assert reached(tmp_path) is None
    assert reached(tmp_path / "missing") is None
    write(tmp_path / "metrics.csv", "step,loss\n", 1.0)
    assert reached(tmp_path) is None


def test_the_file_that_was_written_to_last_tells_it(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "epoch,step,loss\n3,300,0.5\n", 1000.0)
    write(tmp_path / "metrics.json", '{"iteration": 100, "loss": 0.9}\n', 2000.0)
    assert reached(tmp_path) == Reached(step=100, loss=0.9, at=2000.0)
    write(tmp_path / "metrics.csv", "epoch,step,loss\n3,300,0.5\n", 3000.0)
    assert reached(tmp_path) == Reached(epoch=3, step=300, loss=0.5, at=3000.0)


def test_a_file_without_states_leaves_it_to_the_one_before(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "epoch,step,loss\n3,300,0.5\n", 1000.0)
    write(tmp_path / "results.csv", "epoch,loss\n", 2000.0)
    assert reached(tmp_path) == Reached(epoch=3, step=300, loss=0.5, at=1000.0)


def test_the_loss_is_the_last_that_was_told(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "step,train_loss,val_loss\n1,0.5,\n2,0.4,\n2,,0.7\n", 1.0)
    assert reached(tmp_path) == Reached(step=2, loss=0.4, at=1.0)


def test_a_training_that_went_back_is_where_it_is_now(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "step,loss\n" + "".join(f"{n},1\n" for n in (1, 2, 3, 4, 2)), 1.0)
    assert reached(tmp_path) == Reached(step=2, loss=1.0, at=1.0)


def test_epochs_that_are_no_numbers_are_none(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "epoch,step,loss\nnan,7,1\n", 1.0)
    assert reached(tmp_path) == Reached(step=7, loss=1.0, at=1.0)
    write(tmp_path / "metrics.csv", "epoch,step,loss\n1.5,7,1\n", 1.0)
    assert reached(tmp_path) == Reached(epoch=1.5, step=7, loss=1.0, at=1.0)
