"""Retention on what other tools wrote: what goes, what stays, and that nothing else is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.exceptions import OperationError, UsageError
from ckpt.trash import placing
from ckpt.trash.owning import Owner, owner_id
from ckptd.keeping import rechecking

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


def tree(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a directory: inode, size and modification time."""
    found = {}
    for path in sorted(directory.rglob("*")):
        info = path.lstat()
        is_directory = path.is_dir() and not path.is_symlink()
        found[str(path.relative_to(directory))] = (info.st_ino, 0, 0) if is_directory else (
            info.st_ino, info.st_size, info.st_mtime_ns
        )  # fmt: skip
    return found


def visible(directory: Path) -> dict[str, tuple[int, int, int]]:
    return {name: facts for name, facts in tree(directory).items() if not name.startswith(".ckptd")}


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def names(run: Path) -> list[str]:
    return sorted((path.name for path in run.iterdir()), key=lambda name: int("".join(filter(str.isdigit, name)) or 0))


def plan_of(world: Any, run: Path) -> dict[str, Any]:
    plan: dict[str, Any] = world.get(f"/v1/plan?run={run}")
    return plan


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], None]:
    """`between(act)` calls `act(checkpoint)` after the plan, right before the last look at each item."""
    real = rechecking.changed

    def put(act: Callable[[Any], None]) -> None:
        def late(base: Any, checkpoint: Any, *rest: Any) -> str | None:
            act(checkpoint)
            return real(base, checkpoint, *rest)

        monkeypatch.setattr(rechecking, "changed", late)

    return put


def test_directories_go_to_the_trash_of_their_root_and_come_back(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    before = tree(foreign.base)
    enforced(keep_last=2)
    sweep(world)
    assert world.scanner.counts.last_error is None
    assert names(run) == ["checkpoint-40", "checkpoint-50"]
    assert sorted(path.name for path in foreign.base.iterdir()) == [".ckptd", "sft"]
    entries = world.get("/v1/trash")["entries"]
    assert sorted(Path(entry["path"]).name for entry in entries) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]
    assert all(entry["near_misses"] and entry["plan"] for entry in entries)
    acts = world.journal.acts()
    assert [act["kind"] for act in acts] == ["remove"] * 3
    assert all(act["plan"] and act["near_misses"] and act["bytes"] and act["inode"] for act in acts)
    assert world.kinds().count("checkpoint.trashed") == 3 and "checkpoint.gone" not in world.kinds()
    of_root = world.keeper.trash_of_root(str(foreign.base))
    assert of_root["entries"] == 3 and of_root["path"] == str(foreign.base / ".ckptd" / "trash")
    undo = world.get("/v1/undo")["undo"]
    assert "3 checkpoints of sft" in undo["text"]
    world.post("/v1/undo")
    assert visible(foreign.base) == before
    sweep(world)
    assert len(names(run)) == 5, "what came back is pinned"
    pins = [c.pinned for c in world.catalog.at(str(run)).checkpoints if c.step <= 30]
    assert pins == [True] * 3


def test_files_of_lightning_where_the_root_holds_them_side_by_side(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.lightning()
    enforced(run, keep_last=2)
    sweep(world)
    assert names(run) == ["epoch=3-step=400.ckpt", "epoch=4-step=500.ckpt"]
    assert (run.parent / ".ckptd-checkpoints" / "trash").is_dir(), "never beside a checkpoint"
    world.post("/v1/undo")
    assert len(names(run)) == 5


def test_an_observed_or_unconfirmed_root_is_not_touched(world: Any, foreign: Any) -> None:
    run = foreign.transformers()
    before = tree(foreign.base)
    world.roots.add(str(foreign.base), "observe", [])
    world.roots.set_policy(str(foreign.base), {"keep_last": 2, "monitor": "none", "max_share": 1.0, "min_age": 0})
    world.scanner.full()
    sweep(world)
    first = world.get(f"/v1/plan?root={foreign.base}&enforced=1")
    assert len(first["runs"][0]["remove"]) == 3
    with pytest.raises(UsageError, match="not enforced"):
        world.post("/v1/apply", plan=first["id"])
    assert plan_of(world, run)["runs"][0]["remove"] == []
    assert tree(foreign.base) == before
    # The id that was shown holds for the confirmation, and then for its application.
    assert world.keeper.check(first["id"], str(foreign.base)).id == first["id"]
    with pytest.raises(UsageError):
        world.keeper.check("deadbeef", str(foreign.base))
    world.roots.enforce(str(foreign.base))
    world.scanner.govern()
    answer = world.post("/v1/apply", plan=first["id"])
    assert len(answer["removed"]) == 3 and answer["skipped"] == []
    assert answer["freed_now"] == 0 and answer["freed_at_purge"] > 0
    with pytest.raises(OperationError, match="carried out already") as error:
        world.post("/v1/apply", plan=first["id"])
    assert "new plan" in str(error.value.hint)


def test_a_large_share_is_asked_for_once_and_goes_when_it_is_confirmed(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=1, max_share=0.5)
    sweep(world)
    sweep(world)
    assert len(names(run)) == 5
    (ask,) = world.keeper.asks()
    assert "4 of 5" in ask["text"] and ask["run"] == world.catalog.at(str(run)).run.id
    assert world.kinds().count("plan.asks") == 1
    assert world.get(f"/v1/plan?id={ask['plan']}")["runs"][0]["ask"] == ask["text"]
    assert len(world.post("/v1/apply", plan=ask["plan"])["removed"]) == 4
    assert names(run) == ["checkpoint-50"] and world.keeper.asks() == []


def test_what_replaces_a_checkpoint_between_plan_and_move_stays(
    world: Any, foreign: Any, enforced: Any, between: Any
) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)

    def replace(checkpoint: Any) -> None:
        directory = Path(checkpoint.path)
        if checkpoint.step == 10:
            (directory / "model.safetensors").write_bytes(b"another")
        if checkpoint.step == 20:
            directory.rename(foreign.base / "aside")
            directory.symlink_to(foreign.base / "aside")

    between(replace)
    answer = world.post("/v1/apply", plan=plan_of(world, run)["id"])
    assert [Path(entry["path"]).name for entry in answer["removed"]] == ["checkpoint-30"]
    assert {item["reason"] for item in answer["skipped"]} == {"it changed since it was planned"}
    assert (run / "checkpoint-10" / "model.safetensors").read_bytes() == b"another"
    assert (foreign.base / "aside" / "model.safetensors").is_file()


def test_a_component_that_became_a_link_is_not_followed(
    world: Any, foreign: Any, enforced: Any, between: Any, tmp_path: Path
) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)

    def swap(checkpoint: Any) -> None:
        if not run.is_symlink():
            run.rename(tmp_path / "elsewhere")
            run.symlink_to(tmp_path / "elsewhere")

    between(swap)
    answer = world.post("/v1/apply", plan=plan_of(world, run)["id"])
    assert answer["removed"] == [] and len(answer["skipped"]) == 3
    assert len(names(tmp_path / "elsewhere")) == 5


def test_a_pin_between_plan_and_move_wins(world: Any, foreign: Any, enforced: Any, between: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    plan = plan_of(world, run)

    def pin(checkpoint: Any) -> None:
        if checkpoint.step == 20:
            world.post("/v1/marks", ref=checkpoint.path, kind="pin")

    between(pin)
    answer = world.post("/v1/apply", plan=plan["id"])
    assert [item["reason"] for item in answer["skipped"]] == ["it was marked meanwhile"]
    assert names(run) == ["checkpoint-20", "checkpoint-40", "checkpoint-50"]


def test_a_plan_is_refused_when_the_world_changed(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    plan = plan_of(world, run)
    foreign.transformers_step("sft", 60, best=60)
    with pytest.raises(OperationError, match="the world changed") as error:
        world.post("/v1/apply", plan=plan["id"])
    assert plan_of(world, run)["id"] != plan["id"]
    assert "new plan" in str(error.value.hint)
    assert len(names(run)) == 6


@pytest.fixture
def reader() -> Iterator[Callable[[Path], int]]:
    """Another process that has a file open."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path) -> int:
        code = "import sys; f = open(sys.argv[1], 'rb'); print('open', flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        return process.pid

    yield start
    for process in started:
        process.communicate()


def test_what_another_process_has_open_stays(world: Any, foreign: Any, enforced: Any, reader: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    pid = reader(run / "checkpoint-20" / "model.safetensors")
    plan = plan_of(world, run)
    (skip,) = plan["runs"][0]["skip"]
    assert f"(pid {pid})" in skip["reasons"][0]["text"] and skip["reasons"][0]["text"].startswith("in use by python")
    assert skip["near_misses"]
    sweep(world)
    assert names(run) == ["checkpoint-20", "checkpoint-40", "checkpoint-50"]


def test_what_is_opened_after_the_plan_is_left_alone_by_itself(
    world: Any, foreign: Any, enforced: Any, reader: Any
) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    plan = plan_of(world, run)
    reader(run / "checkpoint-20" / "model.safetensors")
    answer = world.post("/v1/apply", plan=plan["id"])
    assert len(answer["removed"]) == 2
    assert [item["reason"][:9] for item in answer["skipped"]] == ["in use by"]


def test_a_trash_entry_that_is_open_is_purged_later(
    world: Any, foreign: Any, enforced: Any, reader: Any, passes: Any
) -> None:
    foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    entry = world.keeper.entries()[0]
    reader(next(Path(entry.shelf.trash.directory, entry.entry.id).rglob("model.safetensors")))
    world.keeper.purge_due()
    passes(86401)
    world.keeper.purge_due()
    assert [item.entry.id for item in world.keeper.entries()] == [entry.entry.id]


def test_a_directory_in_the_place_of_the_root_is_not_touched(
    world: Any, foreign: Any, enforced: Any, tmp_path: Path
) -> None:
    import shutil

    foreign.transformers()
    enforced(keep_last=2)
    foreign.base.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", foreign.base)
    before = tree(foreign.base), tree(tmp_path / "moved")
    sweep(world)
    world.keeper.purge_due()
    assert (tree(foreign.base), tree(tmp_path / "moved")) == before


def test_a_root_that_is_swapped_between_plan_and_move_is_not_touched(
    world: Any, foreign: Any, enforced: Any, between: Any, tmp_path: Path
) -> None:
    import shutil

    run = foreign.transformers()
    enforced(keep_last=2)

    def swap(checkpoint: Any) -> None:
        if not (tmp_path / "moved").exists():
            foreign.base.rename(tmp_path / "moved")
            shutil.copytree(tmp_path / "moved", foreign.base)

    between(swap)
    answer = world.post("/v1/apply", plan=plan_of(world, run)["id"])
    assert answer["removed"] == []
    assert len(names(run)) == 5 and len(names(tmp_path / "moved" / "sft")) == 5


def test_two_daemons_never_remove_below_one_root(world: Any, foreign: Any, enforced: Any, passes: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    place = placing.where(foreign.base, [str(run / "checkpoint-10")])
    placing.make(place)
    files.write_json(
        place.owner,
        {"version": 1, "id": "0" * 16, "machine": "0" * 16, "host": "other", "user": "eva", "claimed_at": 1.0},
    )
    answer = world.post("/v1/apply", plan=plan_of(world, run)["id"])
    assert answer["removed"] == [] and "other" in answer["skipped"][0]["reason"]
    assert len(names(run)) == 5
    Owner(place.owner).claim(owner_id(), 2.0, take_over=True)
    assert len(world.post("/v1/apply", plan=plan_of(world, run)["id"])["removed"]) == 3
    Owner(place.owner).claim("0" * 16, 3.0, take_over=True)
    with pytest.raises(OperationError, match="is owned by"):
        world.post("/v1/trash/purge", ids=[world.keeper.entries()[0].entry.id])
    world.keeper.purge_due()
    passes(9e9)
    world.keeper.purge_due()
    assert len(world.keeper.entries()) == 3


@needs_root
def test_a_run_on_another_file_system_stays_and_says_why(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    subprocess.run(["mount", "--bind", run, run], check=True)
    try:
        enforced(keep_last=2)
        answer = world.post("/v1/apply", plan=plan_of(world, run)["id"])
        assert answer["removed"] == [] and "mounted" in answer["skipped"][0]["reason"]
        assert len(names(run)) == 5
        assert not (foreign.base / ".ckptd").exists(), "nothing is made for nothing"
    finally:
        subprocess.run(["umount", run], check=True)


@needs_root
def test_a_disk_that_is_read_only_keeps_everything(world: Any, foreign: Any, enforced: Any) -> None:
    foreign.base.rmdir()
    foreign.base.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", foreign.base], check=True)
    try:
        run = foreign.transformers()
        enforced(keep_last=2)
        plan = plan_of(world, run)
        subprocess.run(["mount", "-o", "remount,ro", foreign.base], check=True)
        answer = world.post("/v1/apply", plan=plan["id"])
        assert answer["removed"] == [] and "read-only" in answer["skipped"][0]["reason"]
        sweep(world)
        assert len(names(run)) == 5
        subprocess.run(["mount", "-o", "remount,rw", foreign.base], check=True)
        assert len(world.post("/v1/apply", plan=plan_of(world, run)["id"])["removed"]) == 3
    finally:
        subprocess.run(["umount", foreign.base], check=True)


def test_a_data_set_beside_the_runs_is_never_touched(world: Any, foreign: Any, enforced: Any) -> None:
    import torch

    run = foreign.transformers()
    torch.save(torch.zeros(100), foreign.base / "train.pt")
    torch.save({"images": torch.zeros(4)}, run / "train.pt")
    enforced(keep_last=1)
    sweep(world)
    assert names(run) == ["train.pt", "checkpoint-50"]
    assert (foreign.base / "train.pt").is_file()


def test_restore_works_for_a_run_that_is_not_known_any_more(world: Any, foreign: Any, enforced: Any) -> None:
    import shutil

    run = foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    shutil.rmtree(run)
    world.scanner.accept(world.roots.all()[0])
    world.scanner.full()
    assert world.catalog.at(str(run)) is None
    ids = [item.entry.id for item in world.keeper.entries()]
    assert len(world.post("/v1/trash/restore", ids=ids)["restored"]) == 3
    world.scanner.full()
    sweep(world)
    assert names(run) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]
    assert all(c.pinned for c in world.catalog.at(str(run)).checkpoints)


def test_the_trash_outlives_enforcement(world: Any, foreign: Any, enforced: Any, passes: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    world.roots.observe(str(foreign.base))
    world.scanner.govern()
    entries = world.keeper.entries()
    assert len(entries) == 3
    world.post("/v1/trash/restore", ids=[entries[0].entry.id])
    assert len(names(run)) == 3
    world.keeper.purge_due()
    passes(86401)
    world.keeper.purge_due()
    assert [entry["purge_at"] for entry in world.get("/v1/trash")["entries"]] == [None, None], "they stay"
    world.roots.enforce(str(foreign.base))
    world.keeper.purge_due()
    passes(86401)
    world.keeper.purge_due()
    assert world.keeper.entries() == []
