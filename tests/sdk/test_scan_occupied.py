"""What of a checkpoint is free again when it is gone, and when it was touched last."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt import scan
from ckpt.records import Checkpoint

KB = 1 << 10


def saved(path: Path, elements: int = 25_000) -> Path:
    """A checkpoint file of about four bytes an element."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = {"layer.weight": torch.zeros(elements - 1), "layer.bias": torch.zeros(1)}
    torch.save({"model": layers, "epoch": 1, "global_step": 5}, path)
    return path


def of(directory: Path) -> dict[str, Checkpoint]:
    """The checkpoints of a run by their names."""
    return {os.path.basename(c.path): c for c in scan.read_run(directory).checkpoints}


def test_a_file_of_its_own_is_free_when_it_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = saved(run / "epoch=1.ckpt")
    view = scan.read_run(run)
    size = path.stat().st_size
    assert [(c.bytes, c.unique_bytes) for c in view.checkpoints] == [(size, size)]
    assert (view.run.bytes, view.run.unique_bytes) == (size, size)
    assert view.checkpoints[0].kinds == {"weights": 100_000}


def test_a_name_elsewhere_keeps_the_bytes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = saved(run / "epoch=1.ckpt")
    saved(run / "epoch=2.ckpt")
    (tmp_path / "elsewhere").mkdir()
    os.link(path, tmp_path / "elsewhere" / "kept.ckpt")
    found = of(run)
    assert found["epoch=1.ckpt"].unique_bytes == 0 < found["epoch=1.ckpt"].bytes
    assert found["epoch=2.ckpt"].unique_bytes == found["epoch=2.ckpt"].bytes
    assert scan.read_run(run).run.unique_bytes == found["epoch=2.ckpt"].bytes
    (tmp_path / "elsewhere" / "kept.ckpt").unlink()
    assert of(run)["epoch=1.ckpt"].unique_bytes == path.stat().st_size


def test_other_names_in_the_run_go_along(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = saved(run / "epoch=1.ckpt")
    os.link(path, run / "last.ckpt")
    (run / "best.ckpt").symlink_to("epoch=1.ckpt")
    found = of(run)
    assert list(found) == ["epoch=1.ckpt"]
    assert found["epoch=1.ckpt"].unique_bytes == path.stat().st_size


def test_a_hole_takes_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = saved(run / "epoch=1.ckpt")
    taken = path.stat().st_blocks * 512
    os.truncate(path, 1 << 40)
    found = of(run)["epoch=1.ckpt"]
    assert found.bytes == 1 << 40
    assert found.unique_bytes is not None and found.unique_bytes <= taken


def directory(path: Path, step: int) -> Path:
    path.mkdir(parents=True)
    save_file({"w": torch.zeros(1000)}, path / "model.safetensors")
    (path / "trainer_state.json").write_text(f'{{"global_step": {step}, "epoch": 1.0, "log_history": []}}')
    (path / "config.json").write_text("{}")
    return path


def test_directories_that_share_a_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    one, two = directory(run / "checkpoint-1", 1), run / "checkpoint-2"
    directory(two, 2)
    (two / "model.safetensors").unlink()
    os.link(one / "model.safetensors", two / "model.safetensors")
    shared = (one / "model.safetensors").stat().st_size
    found = of(run)
    assert {c.bytes - (c.unique_bytes or 0) for c in found.values()} == {shared}
    whole = scan.read_run(run).run
    assert whole.unique_bytes == whole.bytes == sum(c.bytes for c in found.values()) - shared


def test_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    run = tmp_path / "run"
    one = directory(run / "checkpoint-1", 1)
    (tmp_path / "base").mkdir()
    (one / "model.safetensors").rename(tmp_path / "base" / "model.safetensors")
    (one / "model.safetensors").symlink_to(tmp_path / "base" / "model.safetensors")
    found = of(run)["checkpoint-1"]
    assert found.bytes - (found.unique_bytes or 0) == (tmp_path / "base" / "model.safetensors").stat().st_size


@pytest.mark.parametrize("pointer", ["latest.pt", "best.pt"])
def test_pointers_of_own_runs_are_names_of_their_checkpoint(runs, tmp_path: Path, pointer: str) -> None:
    run = runs.run(checkpoints=2)
    path = run / "checkpoints" / "step-000020.pt"
    os.link(path, run / "checkpoints" / pointer)
    view = scan.read_run(run)
    assert [c.unique_bytes for c in view.checkpoints] == [c.bytes for c in view.checkpoints]
    assert view.run.unique_bytes == view.run.bytes
    assert view.checkpoints[0].kinds == {"weights": 64}
    os.link(path, tmp_path / "elsewhere.pt")
    assert [c.unique_bytes for c in scan.read_run(run).checkpoints] == [0, view.checkpoints[1].bytes]


def test_a_cached_record_follows_names_that_come_and_go(runs, tmp_path: Path) -> None:
    run, cache = runs.run(checkpoints=1), scan.Cache()
    path = run / "checkpoints" / "step-000010.pt"
    (first,) = scan.read_run(run, cache=cache).checkpoints
    os.link(path, tmp_path / "elsewhere.pt")
    assert scan.read_run(run, cache=cache).checkpoints[0].unique_bytes == 0
    (tmp_path / "elsewhere.pt").unlink()
    assert scan.read_run(run, cache=cache).checkpoints[0].unique_bytes == first.bytes


def test_touched_is_more_than_written(runs, tmp_path: Path) -> None:
    """A copy or a move keeps the time of writing; a minimum age must not be over because of that."""
    old = time.time() - 30 * 86400
    run = tmp_path / "run"
    path = saved(run / "epoch=1.ckpt")
    one = directory(run / "checkpoint-1", 1)
    for file in (path, *one.iterdir(), one):
        os.utime(file, (old, old))
    now = time.time()
    for checkpoint in of(run).values():
        assert checkpoint.saved_at == pytest.approx(old, abs=1) and checkpoint.touched_at == pytest.approx(now, abs=60)
    own = runs.run(checkpoints=1)
    marker = own / "checkpoints" / "step-000010.json"
    ahead = now + 5000
    os.utime(marker, (ahead, ahead))
    assert scan.read_run(own).checkpoints[0].touched_at == pytest.approx(ahead, abs=1)


def test_equal_sizes_are_one_object_however_many_checkpoints_have_them(runs) -> None:
    view = scan.read_run(runs.run(checkpoints=5), cache=scan.Cache())
    assert len({id(c.kinds) for c in view.checkpoints}) == 1
