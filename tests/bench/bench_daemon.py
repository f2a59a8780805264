"""The daemon at rest and at work: prints one line of JSON.

    idle_cpu_percent    of one core, over --idle-s seconds after the first look
    rss_mb              with 10 000 checkpoints in 100 own runs
    first_look_s        from the start of the process to its first complete answer
    latency_ms          from a marker's rename to the checkpoint's row in the catalog, p50 and p99

Run it by itself: `python tests/bench/bench_daemon.py [--runs 100] [--checkpoints 100] [--renames 100] [--idle-s 90]`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any


def make_runs(base: Path, runs: int, checkpoints: int) -> None:
    """Own runs of small checkpoints, all copies of one real torch file."""
    import torch

    from ckpt.formats import inspect

    template = base.parent / "template.pt"
    weights = {f"layer{n}.weight": torch.zeros(4, 4) for n in range(4)}
    torch.save({"format_version": 1, "model_state_dict": weights, "epoch": 1, "global_step": 1}, template)
    data, fingerprint = template.read_bytes(), inspect(template).fingerprint
    for number in range(runs):
        directory = base / f"exp{number}"
        (directory / "checkpoints").mkdir(parents=True)
        run = uuid.uuid4().hex
        manifest = {"format": 1, "id": run, "name": directory.name, "created": time.time(), "config": {"lr": 0.1}}
        (directory / "run.json").write_text(json.dumps({**manifest, "policy": {}, "attempts": [], "ending": None}))
        for seq in range(1, checkpoints + 1):
            write_checkpoint(directory, run, seq, data, fingerprint)


def write_checkpoint(directory: Path, run: str, seq: int, data: bytes, fingerprint: str) -> float:
    """One committed checkpoint; returns the time just before its marker was renamed into place."""
    path = directory / "checkpoints" / f"step-{seq * 100:06d}.pt"
    path.write_bytes(data)
    marker = {
        "format": 1,
        "id": "0",
        "run": run,
        "file": path.name,
        "seq": seq,
        "attempt": 1,
        "step": seq * 100,
        "epoch": seq,
        "loss": 1.0 / seq,
        "learning_rate": 0.1,
        "metrics": {"val_loss": 1.0 / seq, "accuracy": 1 - 1.0 / seq},
        "saved_at": time.time(),
        "bytes": len(data),
        "fingerprint": fingerprint,
        "label": "regular",
    }
    temporary = path.with_name(f".{path.stem}.json.{os.getpid()}-00000000.tmp")
    temporary.write_text(json.dumps(marker))
    before = time.perf_counter()
    temporary.rename(path.with_suffix(".json"))
    return before


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def latencies(client: Any, base: Path, renames: int) -> list[float]:
    """Seconds from a rename until the catalog has the checkpoint, one at a time."""
    directory = base / "exp0"
    data = next((directory / "checkpoints").glob("*.pt")).read_bytes()
    first = json.loads(next((directory / "checkpoints").glob("*.json")).read_text())
    found = []
    for number in range(renames):
        seq = 100_000 + number
        before = write_checkpoint(directory, first["run"], seq, data, first["fingerprint"])
        while client.get("/v1/resolve", ref="exp0@latest")["checkpoint"]["seq"] != seq:
            time.sleep(0.005)
        found.append(time.perf_counter() - before)
        time.sleep(0.05 * (number % 5))
    return sorted(found)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 100), ("checkpoints", 100), ("renames", 100), ("idle-s", 90)):
        options.add_argument(f"--{name}", type=int, default=default)
    chosen = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"):
        os.environ[f"CKPTD_{name}"] = str(place / name.lower())
    from ckpt.client import Client, daemon_note

    base = place / "runs"
    make_runs(base, chosen.runs, chosen.checkpoints)
    began = time.perf_counter()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "ckptd", "run", "--watch", str(base)],
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        while True:
            with contextlib.suppress(Exception):
                if daemon_note() is not None:
                    client = Client.connect(autostart=False)
                    known = client.get("/v1/runs")["runs"]
                    break
            time.sleep(0.01)
        first_look = time.perf_counter() - began
        total = sum(run["checkpoints"] for run in known)
        time.sleep(5)
        start, since = cpu_s(daemon.pid), time.perf_counter()
        time.sleep(chosen.idle_s)
        idle = 100 * (cpu_s(daemon.pid) - start) / (time.perf_counter() - since)
        rss = client.get("/v1/status")["daemon"]["rss"] / 1e6
        times = latencies(client, base, chosen.renames)
        errors = client.get("/v1/status")["daemon"]["errors"]
    finally:
        daemon.terminate()
        daemon.wait(20)
        shutil.rmtree(place, ignore_errors=True)
    figures = {
        "bench": "daemon",
        "runs": len(known),
        "checkpoints": total,
        "first_look_s": round(first_look, 2),
        "idle_cpu_percent": round(idle, 3),
        "rss_mb": round(rss, 1),
        "latency_ms": {
            "p50": round(1000 * times[len(times) // 2], 1),
            "p99": round(1000 * times[min(len(times) - 1, int(len(times) * 0.99))], 1),
        },
        "errors": errors,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
