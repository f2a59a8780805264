"""Parts of a live daemon that break: the beat notices, the watcher is started anew, and nothing is missed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Until = Callable[..., Any]
Weights = Callable[..., Path]
QUICK = {"CKPTD_BEAT_S": "0.3", "CKPTD_BEAT_WAIT_S": "0.5"}


@pytest.fixture
def broken(start: Callable[..., Any], root: Path, tmp_path: Path, weights: Weights) -> Callable[..., Any]:
    """A daemon that has a part which breaks when `trigger` is touched."""
    weights(root / "foreign" / "model-1.safetensors")

    def make(part: str, **environment: str) -> Any:
        script = str(Path(__file__).with_name("broken_daemon.py"))
        command = (sys.executable, script, part, str(tmp_path / "trigger"))
        daemon = start("--watch", root, command=command, **{**QUICK, **environment})
        assert daemon.runs() == {"foreign": 1}
        return daemon

    return make


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="breaks inotify")
@pytest.mark.parametrize("part", ["deaf", "threads"])
def test_a_watcher_that_dies_is_started_anew_and_nothing_is_missed(
    broken: Callable[..., Any],
    part: str,
    root: Path,
    tmp_path: Path,
    weights: Weights,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    daemon = broken(part)
    assert daemon.status()["watcher"]["restarts"] == 0
    for turn in (1, 2):
        (tmp_path / "trigger").touch()
        until(lambda: not (tmp_path / "trigger").exists())
        # The periodic look is an hour away.
        weights(root / "foreign" / f"while-dead-{turn}.safetensors")
        weights(root / f"dir-while-dead-{turn}" / "a" / "b" / "model.safetensors")
        until(lambda turn=turn: daemon.runs()["foreign"] == 1 + turn)
        until(lambda turn=turn: daemon.status()["watcher"]["restarts"] >= turn)
        until(lambda: daemon.status()["watcher"]["state"] == "watching")
        until(lambda: daemon.root()["state"] == "ok")
    daemon.look()
    restarts = daemon.status()["watcher"]["restarts"]
    weights(root / f"dir-while-dead-{turn}" / "a" / "b" / "after.safetensors")
    ref = str(root / f"dir-while-dead-{turn}" / "a" / "b" / "after.safetensors")
    until(lambda: daemon.get("/v1/resolve", ref=ref))
    assert daemon.status()["watcher"]["restarts"] == restarts, "events come again"
    equals_scan(daemon, root)
    assert daemon.end() == 0


def test_a_look_that_fails_is_counted_and_made_up_for(
    broken: Callable[..., Any],
    root: Path,
    tmp_path: Path,
    weights: Weights,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    daemon = broken("looks")
    (tmp_path / "trigger").touch()
    weights(root / "foreign" / "model-2.safetensors")
    weights(root / "new" / "model.safetensors")
    until(lambda: daemon.status()["errors"] >= 1)
    assert "broken on purpose" in daemon.status()["last_error"]
    (tmp_path / "trigger").unlink()
    # No event tells of these again, and the periodic look is an hour away.
    until(lambda: daemon.runs() == {"foreign": 2, "new": 1})
    equals_scan(daemon, root)


def test_a_full_look_that_fails_is_repeated(
    broken: Callable[..., Any], root: Path, tmp_path: Path, weights: Weights, until: Until
) -> None:
    daemon = broken("full", CKPTD_RESCAN_S="0.3")
    (tmp_path / "trigger").touch()
    until(lambda: daemon.status()["errors"] >= 2)
    weights(root / "foreign" / "model-2.safetensors")
    until(lambda: daemon.runs() == {"foreign": 2})
    (tmp_path / "trigger").unlink()
    looks = daemon.status()["looks"]["full"]
    until(lambda: daemon.status()["looks"]["full"] > looks)
    assert daemon.end() == 0


def test_a_beat_that_cannot_be_written_is_no_dead_watcher(
    mounts: Any, state_home: Path, start: Callable[..., Any], root: Path, weights: Weights, until: Until
) -> None:
    daemon = start("--watch", root, **QUICK)
    mounts.mount("--bind", state_home, state_home)
    mounts.mount("-o", "remount,ro,bind", state_home)
    for number in range(8):
        weights(root / f"run-{number}" / "model.safetensors")
        until(lambda number=number: f"run-{number}" in daemon.runs())
    assert daemon.status()["watcher"]["restarts"] == 0
    mounts.unmount(state_home)
