"""The real feeds: a directory on disk, and a daemon on its socket."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import marks
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt_tui.dashboard.acts import Act
from ckpt_tui.dashboard.app import run_dashboard
from ckpt_tui.dashboard.feed import Feed, Standing
from ckpt_tui.dashboard.feeds.daemon import DaemonFeed
from ckpt_tui.dashboard.feeds.directory import DirectoryFeed


def listen(feed: Feed) -> list[Any]:
    """What a feed tells, as it tells it; ends with the feed."""
    heard: list[Any] = []

    def collect() -> None:
        for change in feed.changes():
            heard.append(change)

    threading.Thread(target=collect, daemon=True).start()
    return heard


def act(feed: Feed, run_id: str, kind: Any, text: str = "", **fields: Any) -> str:
    detail = feed.run(run_id)
    checkpoint = detail.checkpoints[0]
    address = feed.address(detail.run, checkpoint, detail.checkpoints)
    return feed.perform(Act(kind=kind, run=detail.run, checkpoint=checkpoint, address=address, text=text, **fields))


def test_a_directory_is_read_marked_restored_and_forked(runs: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=3)
    feed = DirectoryFeed(tmp_path / "runs")
    (run,) = feed.runs()
    detail = feed.run(run.id)
    assert [c.step for c in detail.checkpoints] == [30, 20, 10]
    assert set(detail.verdicts) == {c.id for c in detail.checkpoints}
    assert feed.curves(run.id)["loss"] == [(10, 0.9), (20, 0.8), (30, 0.7)]
    assert [len(feed.plan(run.id)["runs"][0][part]) for part in ("keep", "remove", "skip")] == [3, 0, 0]

    act(feed, run.id, "tag", "paper")
    act(feed, run.id, "pin")
    act(feed, run.id, "note", "good")
    marked = feed.run(run.id).checkpoints[0]
    assert "paper" in marked.tags and marked.pinned and marked.note == "good"
    act(feed, run.id, "untag", "paper")
    assert "paper" not in feed.run(run.id).checkpoints[0].tags
    with pytest.raises(UsageError):
        act(feed, run.id, "tag", "latest")

    act(feed, run.id, "restore", str(tmp_path / "out.pt"))
    assert (tmp_path / "out.pt").read_bytes() == (directory / "checkpoints/step-000030.pt").read_bytes()
    act(feed, run.id, "fork", "child", at=str(tmp_path / "runs"))
    assert {r.name for r in feed.runs()} == {"exp1", "child"}
    difference = feed.diff(detail.checkpoints[0], detail.checkpoints[2])
    assert not difference["same"] and difference["tensors"]["changed"][0]["name"].endswith("fc.weight")


def test_a_directory_alone_knows_of_no_daemon(tmp_path: Path) -> None:
    assert DirectoryFeed(tmp_path).standing() == Standing()


def test_a_directory_tells_what_changed_and_ends(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr("ckpt_tui.dashboard.feeds.directory.LOOK_S", 0.05)
    directory = runs.run("exp1", checkpoints=1)
    feed = DirectoryFeed(tmp_path)
    (run,) = feed.runs()
    heard = listen(feed)
    runs.checkpoint(directory, step=20, loss=0.5)
    eventually(lambda: frozenset({run.id}) in heard)
    eventually(lambda: len(feed.run(run.id).checkpoints) == 2)
    feed.close()


def test_what_a_resume_finds_is_read_from_the_files(runs: Any, tmp_path: Path) -> None:
    runs.run("own", checkpoints=1)
    theirs = tmp_path / "runs" / "theirs"
    whole = theirs / "checkpoint-10"
    whole.mkdir(parents=True)
    torch.save({"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}, whole / "optimizer.pt")
    save_file({"w": torch.ones(2)}, whole / "model.safetensors")
    (whole / "trainer_state.json").write_text('{"global_step": 10, "epoch": 1.0, "log_history": []}')
    for name in ("model_3.pt", "optimizer_3.pt"):
        (theirs / "epoch_3").mkdir(exist_ok=True)
        torch.save({"w": torch.ones(2)}, theirs / "epoch_3" / name)
    torch.save({"w": torch.ones(2)}, theirs / "weights.pt")
    (theirs / "broken.pt").write_bytes(b"PK\3\4")
    feed = DirectoryFeed(tmp_path / "runs")
    found = {Path(c.path).name: feed.resume(c) for run in feed.runs() for c in feed.run(run.id).checkpoints}
    parts = {name: None if told is None else (told["model"], told["optimizer"]) for name, told in found.items()}
    assert parts == {
        "step-000010.pt": (True, False),
        "checkpoint-10": (True, True),
        "model_3.pt": None,
        "weights.pt": (True, False),
        "broken.pt": None,
    }


def test_the_trash_of_a_directory_comes_back_pinned(runs: Any, tmp_path: Path) -> None:
    from ckpt.trash import Trash

    directory = runs.run("exp1", checkpoints=2)
    feed = DirectoryFeed(tmp_path)
    (run,) = feed.runs()
    gone = feed.run(run.id).checkpoints[1]
    Trash(RunPaths(directory).trash).remove(
        [Path(p) for p in gone.files],
        run=run.id,
        checkpoint={"id": gone.id},
        plan="p",
        reasons=(),
        keep_for_s=3600,
    )
    (entry,) = feed.trash(None)
    assert len(feed.run(run.id).checkpoints) == 1
    assert "step-000010.pt" in feed.perform(Act(kind="trash restore", entries=(entry["id"],)))
    back = feed.run(run.id).checkpoints[1]
    assert back.id == gone.id and back.pinned
    assert marks.read(RunPaths(directory).marks).pins == {gone.id: "restored"}
    with pytest.raises(AddressError):
        feed.perform(Act(kind="trash restore", entries=(entry["id"],)))


def test_what_a_directory_cannot_do_says_what_would(tmp_path: Path, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    feed = DirectoryFeed(tmp_path)
    (run,) = feed.runs()
    assert "ckptd start" in str(feed.cannot("undo", run))
    assert feed.cannot("pin", run) is None
    foreign = run.evolve(own=False)
    assert "ckpt watch add" in str(feed.cannot("pin", foreign))
    assert feed.cannot("restore", foreign) is None
    with pytest.raises(UsageError):
        feed.perform(Act(kind="undo"))


def test_a_daemon_is_read_and_asked(
    runs: Any, tmp_path: Path, daemon: subprocess.Popen[bytes], eventually: Callable[..., Any]
) -> None:
    directory = runs.run("exp1", checkpoints=2)
    runs.checkpoint(directory, step=30, loss=math.nan, metrics={"val": math.inf})
    feed = DaemonFeed(autostart=False)
    assert feed.open() is None
    heard = listen(feed)
    eventually(lambda: [r.checkpoints for r in feed.runs()] == [3])
    (run,) = feed.runs()
    newest = feed.run(run.id).checkpoints[0]
    assert newest.step == 30 and newest.loss is not None and math.isnan(newest.loss)
    assert feed.curves(run.id)["loss"][:2] == [(10, 0.9), (20, 0.8)]
    assert feed.plan(run.id)["runs"][0]["run"]

    assert "tagged paper" in act(feed, run.id, "tag", "paper")
    assert "paper" in feed.run(run.id).checkpoints[0].tags
    eventually(lambda: frozenset({run.id}) in heard)
    undo = feed.undoable()
    assert undo is not None and "tag paper" in undo.text
    assert "pinned" in act(feed, run.id, "pin")
    assert "took back: tag paper" in feed.perform(undo), "what was shown, although a pin came after it"
    with pytest.raises(UsageError, match="cannot be taken back any more"):
        feed.perform(undo)
    assert "took back: pin" in feed.perform(feed.undoable() or undo)
    assert feed.undoable() is None
    assert "paper" not in feed.run(run.id).checkpoints[0].tags
    act(feed, run.id, "fork", "child")
    eventually(lambda: {r.name for r in feed.runs()} == {"exp1", "child"})
    assert feed.trash(None) == []
    assert feed.ping()
    feed.close()


def test_what_a_daemon_enforces_and_asks_is_known(
    ckpt: Any, tmp_path: Path, daemon: subprocess.Popen[bytes], eventually: Callable[..., Any]
) -> None:
    for name in ("acted", "watched"):
        for step in range(1, 5):
            place = tmp_path / name / "run" / f"checkpoint-{step}"
            place.mkdir(parents=True)
            save_file({"w": torch.ones(8)}, place / "model.safetensors")
            torch.save({"state": {}, "param_groups": []}, place / "optimizer.pt")
            (place / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
    acted, watched = tmp_path / "acted", tmp_path / "watched"
    ckpt("watch", "add", watched)
    ckpt("watch", "add", acted, "--enforce", "--policy", "keep_last=1", "--yes")
    feed = DaemonFeed(autostart=False)
    assert feed.open() is None
    eventually(lambda: feed.standing().enforced == frozenset({str(acted)}))
    assert {r.root for r in feed.runs()} >= {str(acted), str(watched)}
    feed.close()


def test_without_a_daemon_it_says_so_and_reads_the_disk(own_places: Path) -> None:
    feed = DaemonFeed(autostart=False)
    assert "ckptd start" in str(feed.open())
    assert feed.runs() == []
    assert "ckptd start" in str(feed.cannot("pin", None))
    feed.close()


def test_the_dashboard_needs_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="terminal"):
        run_dashboard(str(tmp_path))


def test_the_dashboard_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, ckpt_tui.dashboard.app;"
        "from ckpt_tui.dashboard.feeds import daemon, directory, scripted;"
        "print([m for m in ('torch', 'numpy', 'starlette', 'watchdog') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_checkpoints_that_are_directories(
    produced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr("ckpt_tui.dashboard.feeds.directory.LOOK_S", 0.05)
    source = produced("transformers") / "best" / "checkpoint-2"
    shutil.copytree(source, tmp_path / "theirs" / "out" / "checkpoint-2")
    feed = DirectoryFeed(tmp_path / "theirs")
    (run,) = feed.runs()
    (one,) = feed.run(run.id).checkpoints
    assert one.step == 2 and one.framework == "transformers"
    heard = listen(feed)
    shutil.copytree(source.with_name("checkpoint-6"), tmp_path / "theirs" / "out" / "checkpoint-6")
    eventually(lambda: frozenset({run.id}) in heard)
    eventually(lambda: [c.step for c in feed.run(run.id).checkpoints if c.state == "complete"] == [6, 2])
    # What is rewritten inside of a directory is seen too.
    state = tmp_path / "theirs" / "out" / "checkpoint-6" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    eventually(lambda: feed.run(run.id).checkpoints[0].state != "complete")
    feed.close()


def test_a_pin_on_another_tools_checkpoint_says_what_it_cannot_do(
    tmp_path: Path, daemon: subprocess.Popen[bytes], eventually: Callable[..., Any]
) -> None:
    directory = tmp_path / "runs" / "cnn"
    directory.mkdir(parents=True)
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 1}, directory / "last.pt")
    feed = DaemonFeed(autostart=False)
    assert feed.open() is None
    eventually(lambda: [r.checkpoints for r in feed.runs()] == [1])
    (run,) = feed.runs()
    assert act(feed, run.id, "pin").startswith("pinned cnn last.pt; the tool that wrote it may still delete")
    assert "may still" not in act(feed, run.id, "unpin")
    feed.close()


def test_what_stays_in_the_trash_is_told(
    runs: Any, daemon: subprocess.Popen[bytes], eventually: Callable[..., Any]
) -> None:
    directory = runs.run("exp1", checkpoints=3, policy={"keep_last": 1})
    feed = DaemonFeed(autostart=False)
    assert feed.open() is None
    entries = eventually(lambda: len(found := feed.trash(None)) == 2 and found)
    taken = directory / "checkpoints" / "step-000010.pt"
    taken.mkdir()
    ids = {Path(entry["path"]).name: str(entry["id"]) for entry in entries}
    with pytest.raises(OperationError, match="nothing came back"):
        feed.perform(Act(kind="trash restore", entries=(ids["step-000010.pt"],)))
    told = feed.perform(Act(kind="trash restore", entries=tuple(ids.values())))
    assert told.startswith("restored 1 checkpoint: step-000020.pt; 1 stayed in the trash, step-000010.pt: ")
    feed.close()
