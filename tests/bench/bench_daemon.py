"""The daemon at rest and at work: prints one line of JSON.

    first_look_s        from the start of the process to its first complete answer, with 10 000 checkpoints in 100 runs
    restart_look_s      the same for the next daemon, which starts from what the first one wrote
    idle_cpu_percent    of one core, over --idle-s seconds after the first look
    rss_mb              resident memory then
    latency_ms          from a marker's rename to the checkpoint's row in the catalog, p50 and p99
    writes              checkpoints at --rate a second for --writes-s seconds: how many were missed, cpu_percent of one
                        core, and rss_mb before, at most and afterwards
    rescan              a full look at files of which nothing changed: seconds, and seconds of CPU (median of five)

Run it by itself: `python tests/bench/bench_daemon.py [--runs 100] [--checkpoints 100] [--renames 100] [--idle-s 90]
[--rate 10] [--writes-s 60] [--files 5000 50000]`. CKPTD_BENCH_WRITES_S sets the seconds of writes, too.
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


def rss_mb(pid: int) -> float:
    """Resident memory of a process now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


class Running:
    """A daemon over one directory; `look_s` is the time from its start to its first complete answer."""

    def __init__(self, base: Path) -> None:
        from ckpt.client import Client, daemon_note

        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ckptd", "run", "--watch", str(base)],
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        self.pid = self.process.pid
        while True:
            with contextlib.suppress(Exception):
                if (daemon_note() or {}).get("pid") == self.pid:
                    self.client = Client.connect(autostart=False)
                    # It answers at once what it remembers; complete is what it looked at.
                    if self.status()["ready"]:
                        self.checkpoints = sum(run["checkpoints"] for run in self.client.get("/v1/runs")["runs"])
                        break
            assert self.process.poll() is None, "the daemon did not start"
            time.sleep(0.01)
        self.look_s = round(time.perf_counter() - began, 2)

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        found: dict[str, Any] = self.client.get("/v1/status")["daemon"]
        return found

    def end(self) -> None:
        """Ends it as `ckptd stop` does."""
        self.client.close()
        self.process.terminate()
        self.process.wait(60)


def writes(running: Running, base: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Checkpoints at a steady rate into ten runs; how the daemon fares meanwhile."""
    runs = sorted(base.iterdir())[:10]
    template = next((runs[0] / "checkpoints").glob("*.pt")).read_bytes()
    markers = [json.loads(next((run / "checkpoints").glob("*.json")).read_text()) for run in runs]
    first = most = rss_mb(running.pid)
    cpu, began, number = cpu_s(running.pid), time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        due = number / rate
        if elapsed < due:
            time.sleep(due - elapsed)
        run, marker = runs[number % 10], markers[number % 10]
        write_checkpoint(run, marker["run"], 200_000 + number, template, marker["fingerprint"])
        number += 1
        most = max(most, rss_mb(running.pid))
    took = time.perf_counter() - began
    used = cpu_s(running.pid) - cpu
    time.sleep(3)
    wanted = {f"step-{(200_000 + n) * 100:06d}.pt" for n in range(number)}
    for run in runs:
        listed = running.client.get("/v1/run", run=str(run))["checkpoints"]
        wanted -= {os.path.basename(one["path"]) for one in listed}
    return {
        "seconds": round(took),
        "checkpoints": number,
        "missed": len(wanted),
        "cpu_percent": round(100 * used / took, 2),
        "rss_mb": {"before": first, "most": most, "after": rss_mb(running.pid)},
    }


def rescan(place: Path, files: int) -> dict[str, Any]:
    """Full looks at small foreign files, ten in a directory, after the first one."""
    base = place / f"files-{files}"
    data = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    for number in range(files):
        directory = base / f"group{number // 1000}" / f"run{number // 10}"
        if number % 10 == 0:
            directory.mkdir(parents=True)
        whole = len(data).to_bytes(8, "little") + data + number.to_bytes(16, "little")
        (directory / f"model-{number % 10}.safetensors").write_bytes(whole)
    running = Running(base)
    try:
        assert running.checkpoints == files, running.checkpoints
        looks = []
        for _ in range(5):
            cpu = cpu_s(running.pid)
            running.client.post("/v1/rescan")
            looks.append((running.status()["looks"]["last_full_s"], cpu_s(running.pid) - cpu))
        seconds, used = (sorted(column)[2] for column in zip(*looks, strict=True))
        return {"files": files, "first_s": running.look_s, "s": round(seconds, 3), "cpu_s": round(used, 2)}
    finally:
        running.end()
        shutil.rmtree(base)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 100), ("checkpoints", 100), ("renames", 100), ("idle-s", 90)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--rate", type=float, default=10.0)
    options.add_argument("--writes-s", type=float, default=float(os.environ.get("CKPTD_BENCH_WRITES_S") or 60))
    options.add_argument("--files", type=int, nargs="*", default=[5000, 50_000])
    chosen = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"):
        os.environ[f"CKPTD_{name}"] = str(place / name.lower())
    base = place / "runs"
    make_runs(base, chosen.runs, chosen.checkpoints)
    running = Running(base)
    try:
        total, first_look = running.checkpoints, running.look_s
        time.sleep(5)
        cpu, since = cpu_s(running.pid), time.perf_counter()
        time.sleep(chosen.idle_s)
        idle = 100 * (cpu_s(running.pid) - cpu) / (time.perf_counter() - since)
        rss = rss_mb(running.pid)
        running.end()
        running = Running(base)
        assert running.checkpoints == total
        restart_look = running.look_s
        times = latencies(running.client, base, chosen.renames)
        written = writes(running, base, chosen.rate, chosen.writes_s)
        errors = running.status()["errors"]
        running.end()
        rescans = [rescan(place, files) for files in chosen.files]
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        shutil.rmtree(place, ignore_errors=True)
    figures = {
        "bench": "daemon",
        "runs": chosen.runs,
        "checkpoints": total,
        "first_look_s": first_look,
        "restart_look_s": restart_look,
        "idle_cpu_percent": round(idle, 3),
        "rss_mb": rss,
        "latency_ms": {
            "p50": round(1000 * times[len(times) // 2], 1),
            "p99": round(1000 * times[min(len(times) - 1, int(len(times) * 0.99))], 1),
        },
        "writes": written,
        "rescan": rescans,
        "errors": errors,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
