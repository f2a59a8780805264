"""A state directory that is full or may not be written: the daemon stays up, answers, refuses and catches up."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths

Until = Callable[..., Any]
Weights = Callable[..., Path]


class Full:
    """Takes all that is left of a small file system, and gives it back."""

    def __init__(self, place: Path, what: str) -> None:
        self.place, self.what = place, what

    def fill(self) -> None:
        ballast = self.place / "ballast"
        ballast.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            for number in range(100_000):
                with open(ballast / str(number), "wb", buffering=0) as stream:
                    while self.what == "bytes":
                        stream.write(b"x" * 4096)

    def free(self) -> None:
        for path in (self.place / "ballast").iterdir():
            path.unlink()


@pytest.fixture(params=["bytes", "inodes"])
def full(request: pytest.FixtureRequest, mounts: Any, state_home: Path) -> Full:
    """A state home on a small file system of its own, with room for the start."""
    mounts.tmpfs(state_home, "size=400k" if request.param == "bytes" else "size=8m,nr_inodes=60")
    return Full(state_home, request.param)


def test_a_state_directory_that_fills_up_costs_nothing_but_patience(
    full: Full,
    start: Callable[..., Any],
    root: Path,
    runs: Any,
    weights: Weights,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    runs.run("own", checkpoints=2, base=root)
    first = weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root)
    daemon.post("/v1/marks", ref=str(first), kind="pin")
    until(lambda: len(list(StatePaths.here().catalog.glob("*.json"))) == 2)
    full.fill()
    for step in range(2, 8):
        weights(root / "foreign" / f"model-{step}.safetensors", step)
        weights(root / f"new-{step}" / "model.safetensors")
    until(lambda: daemon.runs().get("foreign") == 7 and len(daemon.runs()) == 8)
    # A change is refused in words, or kept all the same; what was answered is never lost.
    kept = {}
    for step in range(2, 8):
        ref = str(root / "foreign" / f"model-{step}.safetensors")
        try:
            daemon.post("/v1/marks", ref=ref, kind="note", text=f"note {step} " + "x" * 3000)
            kept[ref] = f"note {step} " + "x" * 3000
        except CkptError as error:
            assert "space" in error.message.lower(), error.message
            assert "Traceback" not in error.message
    if full.what == "bytes":
        assert len(kept) < 6, "a disk without room cannot keep them all"
    assert daemon.root()["state"] == "ok", "a full disk of ours says nothing about the root"
    assert daemon.process.poll() is None
    equals_scan(daemon, root)
    seq = daemon.status()["seq"]
    full.free()
    daemon.post("/v1/marks", ref=str(root / "foreign" / "model-7.safetensors"), kind="tag", name="after")
    until(lambda: len(list(StatePaths.here().catalog.glob("*.json"))) == 8)
    weights(root / "foreign" / "model-8.safetensors")
    until(lambda: daemon.runs()["foreign"] == 8)
    assert daemon.status()["seq"] > seq
    assert daemon.end() == 0
    again = start("--watch", root)
    equals_scan(again, root)
    found = {one["path"]: one for one in again.get("/v1/run", run=str(root / "foreign"))["checkpoints"]}
    assert {ref: found[ref]["note"] for ref in kept} == kept
    assert found[str(first)]["pinned"]
    assert "after" in found[str(root / "foreign" / "model-7.safetensors")]["tags"]
    assert not again.status()["problems"]
    assert not again.events("run.added"), "what was not written while the disk was full was written later"


def test_a_start_with_a_full_state_directory_works_or_says_why(
    full: Full, start: Callable[..., Any], root: Path, weights: Weights, until: Until, equals_scan: Callable[..., None]
) -> None:
    weights(root / "foreign" / "model-1.safetensors")
    full.fill()
    daemon = start("--watch", root, ready=False)
    until(lambda: daemon.process.poll() is not None or daemon.status()["ready"])
    if daemon.process.poll() is None:
        assert daemon.runs() == {"foreign": 1}
    else:
        assert daemon.process.returncode == 3
        assert "Traceback" not in daemon.said()
        assert "space" in daemon.said()
    full.free()
    if daemon.process.poll() is not None:
        daemon = start("--watch", root)
    equals_scan(daemon, root)
    assert daemon.end() == 0


def test_a_disk_that_is_full_at_the_end_ends_it_all_the_same(
    full: Full, start: Callable[..., Any], root: Path, weights: Weights, until: Until, equals_scan: Callable[..., None]
) -> None:
    weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root)
    full.fill()
    weights(root / "more" / "model-1.safetensors")
    until(lambda: len(daemon.runs()) == 2)
    assert daemon.end() == 0
    full.free()
    equals_scan(start("--watch", root), root)


@pytest.mark.usefixtures("turn")
def test_room_that_comes_and_goes_damages_no_file(
    mounts: Any,
    state_home: Path,
    start: Callable[..., Any],
    root: Path,
    weights: Weights,
    chance: random.Random,
    equals_scan: Callable[..., None],
) -> None:
    mounts.tmpfs(state_home, "size=400k")
    full = Full(state_home, "bytes")
    path = weights(root / "foreign" / "model-0.safetensors")
    daemon = start("--watch", root)
    kept = 0
    for number in range(1, 40):
        if chance.random() < 0.3:
            full.fill()
        elif chance.random() < 0.4:
            with contextlib.suppress(OSError):
                full.free()
        weights(root / f"run-{number}" / "model.safetensors")
        with contextlib.suppress(CkptError):
            daemon.post("/v1/marks", ref=str(path), kind="tag", name=f"t{number}")
            kept += 1
    with contextlib.suppress(OSError):
        full.free()
    known = daemon.get("/v1/resolve", ref=str(path))["checkpoint"]["tags"]
    assert len([tag for tag in known if tag.startswith("t")]) >= kept
    assert daemon.end() == 0
    again = start("--watch", root)
    assert again.get("/v1/resolve", ref=str(path))["checkpoint"]["tags"] == known
    assert not again.status()["problems"]
    equals_scan(again, root)


def test_a_state_directory_that_may_not_be_written_and_may_again(
    mounts: Any,
    state_home: Path,
    start: Callable[..., Any],
    root: Path,
    weights: Weights,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    path = weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root)
    daemon.post("/v1/marks", ref=str(path), kind="pin")
    mounts.mount("--bind", state_home, state_home)
    mounts.mount("-o", "remount,ro,bind", state_home)
    assert not os.access(state_home, os.W_OK)
    weights(root / "new" / "model.safetensors")
    until(lambda: daemon.runs() == {"foreign": 1, "new": 1})
    with pytest.raises(CkptError, match=r"[Rr]ead-only"):
        daemon.post("/v1/marks", ref=str(path), kind="tag", name="paper")
    assert daemon.get("/v1/resolve", ref=str(path))["checkpoint"]["pinned"]
    equals_scan(daemon, root)
    refused = start("--watch", root, ready=False)
    assert refused.process.wait(20) == 3, "a second daemon is refused here too"
    assert "Traceback" not in refused.said()
    mounts.unmount(state_home)
    daemon.post("/v1/marks", ref=str(path), kind="tag", name="paper")
    until(lambda: len(list(StatePaths.here().catalog.glob("*.json"))) == 2)
    assert daemon.end() == 0
    again = start("--watch", root)
    equals_scan(again, root)
    assert "paper" in again.get("/v1/resolve", ref=str(path))["checkpoint"]["tags"]


def test_a_start_where_nothing_may_be_written_says_why(
    mounts: Any, state_home: Path, start: Callable[..., Any], root: Path
) -> None:
    mounts.tmpfs(state_home)
    mounts.mount("-o", "remount,ro", state_home)
    daemon = start("--watch", root, ready=False)
    assert daemon.process.wait(20) == 3
    assert "Traceback" not in daemon.said()
    assert "ead-only" in daemon.said()
    assert "CKPTD_STATE_HOME" in daemon.said()


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "directory"])
def test_files_of_its_own_that_are_damaged_cost_no_mark_and_no_run(
    damage: str, start: Callable[..., Any], root: Path, runs: Any, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    """The catalog and the journal are damaged; the marks are the user's words and lie elsewhere."""
    runs.run("own", checkpoints=2, base=root)
    path = weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root)
    daemon.post("/v1/marks", ref=str(path), kind="tag", name="paper")
    seq = daemon.status()["seq"]
    assert daemon.end() == 0
    state = StatePaths.here()
    for file in (*state.catalog.glob("*.json"), state.journal):
        whole = file.read_bytes()
        if damage == "directory" and file != state.journal:
            file.unlink()
            file.mkdir()
        elif damage == "cut":
            file.write_bytes(whole[: len(whole) * 2 // 3])
        elif damage == "zeros":
            file.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
        elif file != state.journal:
            file.write_bytes(b"")
    again = start("--watch", root)
    equals_scan(again, root)
    assert "paper" in again.get("/v1/resolve", ref=str(path))["checkpoint"]["tags"]
    if damage != "cut":
        assert again.status()["seq"] >= seq or damage == "zeros"
    again.post("/v1/marks", ref=str(path), kind="tag", name="again")
    assert again.end() == 0
    third = start("--watch", root)
    equals_scan(third, root)
    assert {"paper", "again"} <= set(third.get("/v1/resolve", ref=str(path))["checkpoint"]["tags"])
