"""Room made of the run's own trash: oldest first, no more than is missing, and told once; on real full disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import CheckpointConfig, SaveError, TrainingHook
from ckpt.paths import RunPaths
from ckpt.trash import Trash, TrashEntry
from ckpt.writing.making_room import enough
from ckpt.writing.upkeep import Upkeep

torch.set_num_threads(1)

MB = 1_000_000


def entry(number: int, size: int, **more: Any) -> TrashEntry:
    at = float(number)
    return TrashEntry(id=f"{number:015x}", run="r", path="", bytes=size, trashed_at=at, purge_at=at, plan="", **more)


@pytest.mark.parametrize(
    ("missing", "chosen"),
    [(1, [1]), (10, [1]), (11, [1, 3]), (30, [1, 3, 4]), (31, []), (None, [1])],
)
def test_the_oldest_go_as_far_as_they_are_needed_and_only_where_that_is_enough(
    missing: int | None, chosen: list[int]
) -> None:
    shared = entry(2, 10, checkpoint={"unique_bytes": 0})
    lying = [entry(4, 10), entry(3, 10), shared, entry(1, 10)]
    assert [int(e.id, 16) for e in enough(lying, missing)] == chosen
    assert enough([shared], None) == ()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 10 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("this machine does not let us mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def trained(place: Path, **config: Any) -> TrainingHook:
    """A training whose checkpoints take 3 MB each."""
    torch.manual_seed(0)
    model = torch.nn.Linear(750, 1000, bias=False)
    return TrainingHook(model, place / "run", CheckpointConfig(save_every_n_steps=1, **config))


def names(hook: TrainingHook) -> list[str]:
    return sorted(Path(c.path).name for c in hook.run.checkpoints())


def trashed(hook: TrainingHook) -> list[str]:
    return sorted(Path(e.path).name for e in Trash(hook.run.paths.trash).entries())


@pytest.mark.parametrize("background", ["thread", "process", False])
def test_a_training_goes_on_where_its_own_trash_has_the_room(disk: Path, background: Any) -> None:
    with (
        pytest.warns(RuntimeWarning, match="run run purged 1 removed checkpoint early: the disk is full") as told,
        trained(disk, keep_last_n_checkpoints=1, background=background) as hook,
    ):
        for _ in range(6):
            saved = hook.step(loss=0.5)
            assert saved is not None
            saved.result()
        assert names(hook) == ["step-000006.pt"]
        assert trashed(hook) == ["step-000004.pt", "step-000005.pt"]
    assert len(told) == 1


@pytest.mark.parametrize("when", ["raise", "skip"])
def test_nothing_is_purged_where_all_of_it_would_not_do(disk: Path, when: Any) -> None:
    with trained(disk, keep_last_n_checkpoints=1, when_disk_full=when) as hook:
        for _ in range(2):
            hook.save()
        (disk / "ballast").write_bytes(bytes(4 * MB))
        hook.model = torch.nn.Linear(2000, 1000, bias=False)  # 8 MB
        warned = pytest.warns(RuntimeWarning, match="was skipped") if when == "skip" else nullcontext()
        with pytest.raises(SaveError, match="No space left on device; it needs 8"), warned:
            hook.save().result()  # type: ignore[union-attr]
        assert names(hook) == ["step-000000-2.pt"] and trashed(hook) == ["step-000000.pt"]


def test_what_the_policy_leaves_over_by_now_is_removed_first_and_nothing_else(disk: Path) -> None:
    with trained(disk, keep_last_n_checkpoints=3) as hook:
        for _ in range(3):
            hook.step(loss=0.5)
        with pytest.raises(SaveError, match="No space left"):
            hook.step(loss=0.5).result()  # type: ignore[union-attr]
        assert len(names(hook)) == 3
        policy = {**hook.run.manifest["policy"], "keep_last": 1}
        hook.run.update(policy=policy)
        with pytest.warns(RuntimeWarning, match="early: the disk is full"):
            hook.step(loss=0.5).result()  # type: ignore[union-attr]
        assert names(hook) == ["step-000005.pt"]


def test_a_quota_has_one_after_the_other_go(tmp_path: Path) -> None:
    with trained(tmp_path, keep_last_n_checkpoints=1, background=False) as hook:
        for _ in range(3):
            hook.step(loss=0.5)
        keeping = Upkeep(RunPaths(tmp_path / "run"))
        made = [keeping.make_room(None) for _ in range(3)]
        assert [m.purged for m in made] == [1, 1, 0]
        assert [len(m.told) for m in made] == [1, 0, 0]
        assert trashed(hook) == [] and names(hook) == ["step-000003.pt"]


def test_a_trash_that_cannot_be_purged_makes_no_room_and_is_told(tmp_path: Path) -> None:
    with trained(tmp_path, keep_last_n_checkpoints=1, background=False) as hook:
        for _ in range(2):
            hook.step(loss=0.5)
    journal = hook.run.paths.trash / "journal.jsonl"
    journal.unlink()
    journal.mkdir()
    made = Upkeep(RunPaths(tmp_path / "run")).make_room(10)
    assert made.purged == 0 and "run run could not make room" in made.told[0] and "\n" not in made.told[0]
