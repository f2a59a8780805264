"""What a trainer needs is not known: nothing of its run goes, until it is known again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import marks, scan
from ckpt.records import foreign_run_id
from ckpt.retention import Situation, merge
from ckpt.scan import RunView, pointers

SNAPSHOT = "checkpoint_manager_snapshot.json"
KEEP_ONE = {"keep_last": 1, "min_age": 0, "max_share": 1, "unmonitored": True}
ENFORCED = Situation(own=False, enforced=True, own_policy=False)


def save(path: Path, step: int, age_s: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"global_step": step, "model": {"w": torch.full((4,), float(step))}}
    torch.save({**content, "optimizer": {"state": {0: {"m": torch.zeros(4)}}, "param_groups": []}}, path)
    os.utime(path, (time.time() - (10_000 - step if age_s is None else age_s),) * 2)
    return path


def series(directory: Path) -> Path:
    """Four saves, of which the second is no newest by anything but a pointer."""
    for step in (10, 20, 30, 40):
        save(directory / f"global_step{step}.pt", step)
    return directory


def trainer(directory: Path, step: int, best: int, **state: Any) -> Path:
    directory.mkdir(parents=True)
    save_file({"w": torch.full((64,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    told = {"global_step": step, "epoch": 1.0, "log_history": [], **state}
    told["best_model_checkpoint"] = str(directory.parent / f"checkpoint-{best}")
    (directory / "trainer_state.json").write_text(json.dumps(told))
    for path in directory.iterdir():
        os.utime(path, (time.time() - 10_000 + step,) * 2)
    return directory


def enforced(view: RunView) -> RunView:
    """The run under a policy that leaves it one checkpoint, some time from now."""
    return scan.governed(view, merge([("root", KEEP_ONE)]), ENFORCED, time.time() + 1000)


def removed(view: RunView) -> set[int | None]:
    return {decision.checkpoint.step for decision in enforced(view).plan.remove}


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        write(b""),
        write(b"\n"),
        write(b"global_step20.pt\nglobal_step10.pt"),
        write(b"x" * 5000),
        write(b"global_ste"),
        write(b"global_step20.pt\0"),
        lambda path: os.truncate(path, 1 << 40) if path.write_bytes(b"g") else None,
    ],
)
@pytest.mark.parametrize("name", ["latest", "last_checkpoint", "latest_checkpointed_iteration.txt"])
def test_a_pointer_that_says_nothing_keeps_everything(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    series(tmp_path)
    (tmp_path / name).write_text("global_step20.pt")
    assert removed(scan.read_run(tmp_path)) == {10, 30}
    make(tmp_path / name)
    view = scan.read_run(tmp_path)
    assert removed(view) == set() and view.wishes.doubt is not None
    assert view.wishes.doubt.endswith("so what its trainer goes on from is not known")
    stays = {reason.text for d in enforced(view).plan.skip for reason in d.verdict.reasons}
    assert stays == {f"not removed now: {view.wishes.doubt}"}
    (tmp_path / name).write_text("global_step20.pt\n")
    assert removed(scan.read_run(tmp_path)) == {10, 30}


def test_a_pointer_without_permission_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path)
    (tmp_path / "latest").write_text("global_step20.pt")

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(pointers, "Source", refuse)
    view = scan.read_run(tmp_path)
    assert removed(view) == set()
    assert view.run.problems == ("latest cannot be read: Permission denied",)


def test_a_pointer_that_changes_while_it_is_read_keeps_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read may be the beginning of the new name, which is another checkpoint's."""
    series(tmp_path)
    pointer = tmp_path / "latest"
    pointer.write_text("global_step30.pt")
    real = pointers.Source

    class Rewritten(real):  # type: ignore[misc, valid-type]
        def read(self, offset: int, length: int) -> bytes:
            pointer.write_text("global_step30.pt.moved")
            return super().read(offset, length)

    with monkeypatch.context() as patch:
        patch.setattr(pointers, "Source", Rewritten)
        view = scan.read_run(tmp_path)
    assert removed(view) == set()
    assert view.run.problems == ("latest cannot be read: it changes",)


def test_a_pointer_that_vanishes_while_it_is_read_keeps_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path)
    pointer = tmp_path / "latest"
    pointer.write_text("global_step20.pt")
    real = pointers.Source

    def vanish(path: str) -> Any:
        pointer.unlink()
        return real(path)

    monkeypatch.setattr(pointers, "Source", vanish)
    assert removed(scan.read_run(tmp_path)) == set()
    assert removed(scan.read_run(tmp_path)) == {10, 20, 30}


def test_a_name_in_a_pointer_that_is_of_no_known_kind_keeps_everything(tmp_path: Path) -> None:
    """Which of them `20-b` is, only its trainer knows; what is there and no checkpoint of this run is nobody's loss."""
    series(tmp_path)
    (tmp_path / "latest").write_text("20-b")
    assert removed(scan.read_run(tmp_path)) == set()
    (tmp_path / "20-b").mkdir()
    assert removed(scan.read_run(tmp_path)) == {10, 20, 30}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"checkpoint_results": [{"checkpoint_dir_na',
        b"[1, 2]",
        b"{}",
        b'{"checkpoint_results": [{"path": "checkpoint_000001"}]}',
        b'{"checkpoint_results": [], "latest_checkpoint_result": {"checkpoint_dir_name": 7}}',
        json.dumps({"checkpoint_results": [{"checkpoint_dir_name": f"c{n}"} for n in range(1001)]}).encode(),
    ],
)
def test_a_list_of_what_ray_keeps_that_is_not_understood_keeps_everything(tmp_path: Path, content: bytes) -> None:
    for number in range(4):
        save(tmp_path / f"checkpoint_00000{number}" / "model.pt", number)
    results = [{"checkpoint_dir_name": "checkpoint_000001", "metrics": {}}]
    whole = {"checkpoint_results": results, "latest_checkpoint_result": results[0]}
    (tmp_path / SNAPSHOT).write_text(json.dumps(whole))
    assert scan.read_run(tmp_path).wishes.doubt is None
    (tmp_path / SNAPSHOT).write_bytes(content)
    view = scan.read_run(tmp_path)
    assert view.wishes.doubt is not None and not enforced(view).plan.remove


def test_a_state_that_is_too_large_to_be_read_keeps_everything(tmp_path: Path) -> None:
    """The logs in a Trainer's state grow with its steps; which checkpoint it calls its best is not seen any more."""
    history = [{"loss": 1.0, "step": step} for step in range(250_000)]
    for step, best, log in ((100, 100, []), (200, 200, []), (300, 200, history), (400, 300, history)):
        trainer(tmp_path / f"checkpoint-{step}", step, best, log_history=log)
    view = scan.read_run(tmp_path)
    assert removed(view) == set()
    assert view.wishes.doubt is not None and "checkpoint-400" in view.wishes.doubt
    trainer(tmp_path / "checkpoint-500", 500, 300)
    view = scan.read_run(tmp_path)
    assert view.wishes.doubt is None and removed(view) == {100, 200, 400}


@pytest.mark.parametrize("damage", [b"", b'{"global_step": 5', None])
@pytest.mark.parametrize("step", [100, 300])
def test_a_damaged_checkpoint_does_not_stop_its_run_for_ever(tmp_path: Path, step: int, damage: bytes | None) -> None:
    """It stays itself, and what it named besides itself the one before it names too."""
    for number, best in ((100, 100), (200, 200), (250, 200), (300, 200)):
        trainer(tmp_path / f"checkpoint-{number}", number, best)
    state = tmp_path / f"checkpoint-{step}" / "trainer_state.json"
    if damage is None:
        state.unlink()
    else:
        state.write_bytes(damage)
        os.utime(state, (time.time() - 5000,) * 2)
    view = scan.read_run(tmp_path)
    assert view.wishes.doubt is None
    assert removed(view) == ({250} if step == 100 else {100})


def test_while_the_newest_state_is_written_over_everything_stays(tmp_path: Path) -> None:
    """What `last.ckpt` named a moment ago may be named by nothing else."""
    series(tmp_path)
    last = save(tmp_path / "last.ckpt", 41)
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    view = scan.read_run(tmp_path)
    assert view.wishes.doubt is not None and removed(view) == set()
    # The daemon reads the run again when it does not count as training any more.
    os.utime(last, (time.time() - 700,) * 2)
    view = scan.read_run(tmp_path)
    assert view.wishes.doubt is None and removed(view) == {10, 20, 30}
    last.write_bytes(whole)
    assert scan.read_run(tmp_path).wishes.doubt is None


def test_a_policy_by_command_that_is_not_understood_keeps_everything(tmp_path: Path) -> None:
    run = series(tmp_path / "run")
    said = tmp_path / "marks"
    file = said / f"{foreign_run_id(str(tmp_path), 'run')}.jsonl"
    marks.append(file, "policy", None, policy={"keep_last": 2})
    assert scan.read_run(run, root=tmp_path, foreign_marks=said).wishes.said == {"keep_last": 2}
    marks.append(file, "policy", None, policy={"keep_last": 2, "keep_until_the_moon_is_full": True})
    view = scan.read_run(run, root=tmp_path, foreign_marks=said)
    assert view.wishes.said == {} and removed(view) == set()
    assert view.wishes.doubt is not None and view.wishes.doubt.startswith("its policy cannot be used: ")
    assert view.run.problems == (f"{view.wishes.doubt}, so everything is kept",)
    marks.append(file, "policy", None, policy={"keep_last": 2})
    assert scan.read_run(run, root=tmp_path, foreign_marks=said).wishes.doubt is None


def test_marks_that_cannot_be_read_keep_everything(tmp_path: Path) -> None:
    run = series(tmp_path / "run")
    said = tmp_path / "marks"
    (said / f"{foreign_run_id(str(tmp_path), 'run')}.jsonl").mkdir(parents=True)
    view = scan.read_run(run, root=tmp_path, foreign_marks=said)
    assert removed(view) == set() and len(view.checkpoints) == 4


@pytest.mark.parametrize("name", ["deepspeed", "fvcore", "mmengine", "lightning", "transformers"])
def test_of_real_trainers_nothing_is_in_doubt(produced: Any, name: str) -> None:
    base = produced(name)
    views = [scan.read_run(path) for path in scan.find_runs(base)]
    assert views and [view.wishes.doubt for view in views] == [None] * len(views)
