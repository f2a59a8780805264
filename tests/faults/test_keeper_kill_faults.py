"""SIGKILL of the daemon in the middle of the removals of a foreign run: nothing is lost, and the next one goes on."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.paths import StatePaths
from ckptd import parts

STEPS = range(10, 80, 10)
HOUR = 3600


@pytest.fixture
def two_hours_on(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose wall clock stands two hours ahead: what was written just now has settled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library, clock = tmp_path / "clock.so", tmp_path / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    clock.write_bytes(struct.pack("=q", 2 * HOUR))
    return {"LD_PRELOAD": str(library), "CKPTD_FAULT_CLOCK": str(clock)}


@pytest.fixture
def run(root: Path) -> Path:
    """A run of Hugging Face's Trainer, as its files are."""
    import torch
    from safetensors.torch import save_file

    for step in STEPS:
        directory = root / "sft" / f"checkpoint-{step}"
        directory.mkdir(parents=True)
        save_file({"w": torch.full((8, 8), float(step))}, directory / "model.safetensors", metadata={"format": "pt"})
        torch.save({"state": {0: {"exp_avg": torch.zeros(8)}}, "param_groups": []}, directory / "optimizer.pt")
        (directory / "trainer_state.json").write_text(json.dumps({"global_step": step, "epoch": 1, "log_history": []}))
    return root / "sft"


def contents(root: Path) -> dict[str, dict[str, bytes]]:
    """Every checkpoint that lies somewhere below the root, by its name: its files. Raises where one lies twice."""
    found: dict[str, dict[str, bytes]] = {}
    for directory in root.rglob("checkpoint-*"):
        assert directory.name not in found, f"{directory.name} lies in two places"
        found[directory.name] = {path.name: path.read_bytes() for path in directory.iterdir()}
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
@pytest.mark.parametrize("call", ["renameat2", "mkdir", "mkdirat"])
@pytest.mark.parametrize("when", [2, 5])
def test_a_daemon_killed_between_removals_loses_nothing(
    call: str,
    when: int,
    start: Callable[..., Any],
    until: Callable[..., Any],
    root: Path,
    run: Path,
    two_hours_on: dict[str, str],
    tmp_path: Path,
) -> None:
    before = contents(root)
    state = StatePaths.here()
    state.directory.mkdir(parents=True, exist_ok=True)
    prepared = parts.writing(state)
    prepared.roots.add(str(root), "observe", [])
    prepared.roots.set_policy(str(root), {"keep_last": 2, "monitor": "none", "max_share": 1.0, "min_age": 0})
    prepared.roots.enforce(str(root))
    prepared.journal.close()

    wrap = ("strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    first = start(ready=False, wrap=wrap, **two_hours_on)
    wait_for_end(first)
    if call == "renameat2":
        assert first.process.returncode == -9, "it was killed in the middle"
    assert contents(root) == before, "each checkpoint lies whole in one place"

    second = start(**two_hours_on)
    kept = sorted(f"checkpoint-{step}" for step in STEPS[-2:])
    until(lambda: sorted(path.name for path in run.iterdir()) == kept)
    until(lambda: len(second.get("/v1/trash")["entries"]) == len(STEPS) - 2)
    assert contents(root) == before
    ids = [entry["id"] for entry in second.get("/v1/trash")["entries"]]
    second.post("/v1/trash/restore", ids=ids)
    assert sorted(path.name for path in run.iterdir()) == sorted(before)
    assert contents(root) == before
    told = [json.loads(line) for line in state.journal.read_text().splitlines()]
    removed = {line["checkpoint"] for line in told if line["kind"] == "remove"}
    assert len(removed) == len(STEPS) - 2, "every removal was journaled before it happened"


def wait_for_end(daemon: Any) -> None:
    """Waits until a daemon was killed; what it was to be killed at may not have come."""
    try:
        daemon.process.wait(20.0)
    except subprocess.TimeoutExpired:
        daemon.end()
