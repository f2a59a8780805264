"""`ckpt du`, by paths and by the daemon."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.client import Client
from ckpt.files import FileLock, read_json, write_json
from ckpt.paths import RunPaths
from ckpt_tui.output import Paint
from ckpt_tui.render.events import event_line
from ckpt_tui.render.space import usage_lines
from ckpt_tui.render.words import full_in


def training(path: Path, step: int, elements: int = 5000) -> Path:
    """A file with weights and twice as much of an optimizer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {0: {"exp_avg": torch.zeros(elements), "exp_avg_sq": torch.zeros(elements)}}
    torch.save(
        {
            "model": {"w": torch.zeros(elements)},
            "optimizer": {"state": state, "param_groups": []},
            "epoch": step,
            "global_step": step,
        },
        path,
    )
    return path


def test_the_contract_by_path(ckpt, tmp_path: Path) -> None:
    paths = [training(tmp_path / "runs" / "a" / f"epoch={n}.ckpt", n) for n in (1, 2)]
    small = training(tmp_path / "runs" / "b" / "epoch=1.ckpt", 1, elements=10)
    answer = ckpt("du", tmp_path / "runs", "--json").json
    assert [run["name"] for run in answer["runs"]] == ["a", "b"]
    run = answer["runs"][0]
    size = sum(path.stat().st_size for path in paths)
    assert run["bytes"] == run["unique_bytes"] == size and run["checkpoints"] == 2
    assert run["by_kind"]["weights"] == 40_000 and run["by_kind"]["optimizer"] == 80_000
    assert sum(run["by_kind"].values()) == size and run["shared_bytes"] == 0
    assert answer["bytes"] == size + small.stat().st_size == sum(answer["by_kind"].values())
    assert answer["trash_bytes"] == 0
    (disk,) = answer["disks"]
    assert 0 < disk["free_bytes"] < disk["total_bytes"] and disk["full_in_s"] is None
    listed = ckpt("ls", tmp_path / "runs", "--json").json["runs"]
    assert {r["id"]: (r["bytes"], r["unique_bytes"]) for r in listed} == {
        r["run"]: (r["bytes"], r["unique_bytes"]) for r in answer["runs"]
    }


def test_hard_links_between_runs_count_once_and_are_shared(ckpt, tmp_path: Path) -> None:
    path = training(tmp_path / "runs" / "a" / "epoch=1.ckpt", 1)
    (tmp_path / "runs" / "b").mkdir()
    os.link(path, tmp_path / "runs" / "b" / "epoch=1.ckpt")
    size = path.stat().st_size
    answer = ckpt("du", tmp_path / "runs", "--json").json
    assert [(r["bytes"], r["unique_bytes"], r["shared_bytes"]) for r in answer["runs"]] == [(size, 0, size)] * 2
    assert (answer["bytes"], answer["unique_bytes"], answer["shared_bytes"]) == (size, size, 0)
    assert sum(answer["by_kind"].values()) == size
    os.link(path, tmp_path / "elsewhere.ckpt")
    answer = ckpt("du", tmp_path / "runs", "--json").json
    assert (answer["unique_bytes"], answer["shared_bytes"]) == (0, size)
    assert "have other names elsewhere" in ckpt("du", tmp_path / "runs").out


def test_links_and_holes(ckpt, tmp_path: Path) -> None:
    path = training(tmp_path / "runs" / "a" / "epoch=1.ckpt", 1)
    (path.parent / "last.ckpt").symlink_to(path.name)
    before = ckpt("du", tmp_path / "runs", "--json").json
    assert (before["unique_bytes"], before["shared_bytes"]) == (path.stat().st_size, 0)
    os.truncate(path, 1 << 40)
    after = ckpt("du", tmp_path / "runs", "--json").json
    assert after["bytes"] == 1 << 40 and after["unique_bytes"] < 1 << 20 and after["shared_bytes"] == 0


def test_the_trash_is_counted(ckpt, runs, daemon, eventually: Callable[[Callable[[], Any]], Any]) -> None:
    run = runs.run(checkpoints=4, policy={"keep_last": 1, "keep_best": 1})
    with Client.connect(autostart=False) as client:
        client.post("/v1/rescan", {})
        eventually(lambda: client.get("/v1/trash")["entries"])
        told = client.get("/v1/du")
        entries = client.get("/v1/trash")["entries"]
    assert told["trash_bytes"] == sum(entry["bytes"] for entry in entries) > 0
    assert [r["trash_bytes"] for r in told["runs"]] == [told["trash_bytes"]]
    assert [r["checkpoints"] for r in told["runs"]] == [1]
    by_name, by_path = ckpt("du", run.name, "--json").json, ckpt("du", run, "--json").json
    assert by_name["runs"] == by_path["runs"] == told["runs"]
    assert "lie in the trash" in ckpt("du", run).out


def test_what_does_not_exist_is_told(ckpt, tmp_path: Path, daemon) -> None:
    assert ckpt("du", tmp_path / "nowhere").code == 2
    assert ckpt("du", "no-such-run", "--json").error["kind"] == "AddressError"
    (tmp_path / "empty").mkdir()
    answer = ckpt("du", tmp_path / "empty", "--json")
    assert answer.code == 0 and answer.json["runs"] == [] and answer.json["bytes"] == 0


def test_the_table_for_people(ckpt, tmp_path: Path) -> None:
    for n in (1, 2):
        training(tmp_path / "runs" / "small" / f"epoch={n}.ckpt", n, elements=100)
        training(tmp_path / "runs" / "large" / f"epoch={n}.ckpt", n)
    out = ckpt("du", tmp_path / "runs").out
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["RUN", "CHECKPOINTS", "SIZE"]
    assert [line.split()[0] for line in lines[1:3]] == ["large", "small"] and lines[3].startswith("2 runs")
    assert "free" in out and "are optimizer states" in out


def test_a_forecast_is_said_in_two_units() -> None:
    spoken = {0: "less than a minute", 2400: "40 min", 12_000: "3 h 20 m", 7200: "2 h", 190_800: "2 d 5 h"}
    assert {seconds: full_in(seconds) for seconds in spoken} == spoken
    assert full_in(9 * 86400 + 5) == "9 d"
    event = {"kind": "disk.filling", "at": 0.0, "path": "/data", "full_in_s": 12_000.0, "free_bytes": 5_000_000_000}
    line = event_line(event, {}, {}, paint=Paint(False))
    assert "disk fills" in line and "full in 3 h 20 m" in line and "5.0 GB free" in line
    kinds = {"weights": 1, "optimizer": 0, "other": 0}
    run = {"run": "r", "name": "r", "path": "/data/r", "checkpoints": 1, "bytes": 1, "by_kind": kinds}
    run |= {"unique_bytes": 1, "shared_bytes": 0, "trash_bytes": 0}
    disk = {"path": "/data", "free_bytes": 5, "total_bytes": 10, "full_in_s": 12_000.0, "filling": True}
    text = "\n".join(usage_lines({**run, "runs": [run], "disks": [disk]}, paint=Paint(False), width=None))
    assert "full in 3 h 20 m at this pace" in text


def test_a_daemon_foresees_a_full_disk_and_says_so_once(
    ckpt, runs, daemon, tmp_path: Path, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    """A training that has saved every ten minutes, on a disk that has room for some hours more."""
    place = tmp_path / "runs" / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted")
    try:
        run = runs.run(base=place, checkpoints=5)
        manifest = RunPaths(run).manifest
        write_json(manifest, {**read_json(manifest), "created": time.time() - 3600})
        for number, marker in enumerate(sorted((run / "checkpoints").glob("*.json"))):
            write_json(marker, {**json.loads(marker.read_text()), "saved_at": time.time() - (5 - number) * 600})
        lock = FileLock(RunPaths(run).lock)
        lock.acquire()
        try:
            with Client.connect(autostart=False) as client:
                client.post("/v1/rescan", {})
                events = eventually(
                    lambda: [e for e in client.get("/v1/events", follow="0")["events"] if e["kind"] == "disk.filling"]
                )
                assert len(events) == 1
                assert events[0]["path"] == str(run)
                assert 0 < events[0]["full_in_s"] < 6 * 3600 and 0 < events[0]["free_bytes"] < 96 << 10
                (disk,) = client.get("/v1/du", run=run.name)["disks"]
                assert disk["path"] == str(place) and disk["filling"]
            assert "full in" in ckpt("du", run.name).out
        finally:
            lock.release()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
