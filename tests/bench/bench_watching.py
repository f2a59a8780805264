"""What a real daemon misses of files that appear in bursts, and how soon it knows them: prints one line of JSON.

Each scenario has a daemon of its own and puts small safetensors files below one root:

    flat      5 000 files in 500 new directories
    nested    5 000 new directories in each other, with one file each
    moved     500 directories with 5 000 files, renamed in from outside the root
    overflow  5 000 files in 500 new directories while the daemon stands still and the kernel's queue is small
    limit     5 000 files in 500 new directories where the kernel gives 100 watches

    missed        files that are not in the catalog when all are, or after --patience-s
    known_s       seconds from the last file until all are known
    cpu_s         CPU seconds of the daemon until then, with those of being asked every 20 ms
    later_missed  the same for one more file in each directory, written after that
    later_s       the same for those

With --singles also `latency_ms`: from the rename of one checkpoint until its run shows it, p50 and p99.

Run it by itself: `python tests/bench/bench_watching.py [--files 5000] [--patience-s 40] [--singles 200] [--only NAME]`.
`overflow` needs root for a small queue and floods the usual one otherwise; `limit` needs user namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEADER = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
DATA = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
SMALL_QUEUE = 256
FEW_WATCHES = 100
IN_NAMESPACE = ("unshare", "-U", "-r")
LIMITED = (
    *IN_NAMESPACE,
    "sh",
    "-c",
    f'echo {FEW_WATCHES} > /proc/sys/user/max_inotify_watches && exec "$@"',
    "sh",
)


class Daemon:
    """A daemon over an empty root, in a place of its own."""

    def __init__(self, place: Path, *wrapped: str) -> None:
        self.root = place / "runs"
        self.outside = place / "outside"
        for directory in (self.root, self.outside):
            directory.mkdir(parents=True)
        for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"):
            os.environ[f"CKPTD_{name}"] = str(place / name.lower())
        os.environ["CKPTD_AUTOSTART"] = "0"
        self.process = subprocess.Popen(
            [*wrapped, sys.executable, "-m", "ckptd", "run", "--watch", str(self.root)],
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        self.client = self._connect()

    def _connect(self) -> Any:
        from ckpt.client import Client, daemon_note

        while True:
            if self.process.poll() is not None:
                raise SystemExit("the daemon did not start")
            with contextlib.suppress(Exception):
                if daemon_note() is not None:
                    client = Client.connect(autostart=False)
                    if client.get("/v1/status")["daemon"]["ready"]:
                        return client
            time.sleep(0.02)

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return float(self.client.get("/v1/status")["daemon"]["cpu_s"])

    def count(self) -> int:
        """Checkpoints in the catalog."""
        return sum(int(root["checkpoints"]) for root in self.client.get("/v1/status")["roots"])

    def known_after(self, known: int, patience_s: float) -> float:
        """Seconds until the catalog holds so many checkpoints, or of patience."""
        began = time.perf_counter()
        while time.perf_counter() - began < patience_s and self.count() < known:
            time.sleep(0.02)
        return time.perf_counter() - began

    def missed(self, files: list[Path]) -> int:
        """How many of all files below the root are not in the catalog."""
        wanted: dict[str, set[str]] = {}
        for path in files:
            wanted.setdefault(str(path.parent), set()).add(str(path))
        found = {run["path"]: run for run in self.client.get("/v1/runs")["runs"]}
        missing = 0
        for directory, paths in wanted.items():
            run = found.get(directory)
            if run is None:
                missing += len(paths)
            elif run["checkpoints"] != len(paths):
                listed = self.client.get("/v1/run", run=run["id"])["checkpoints"]
                missing += len(paths - {checkpoint["path"] for checkpoint in listed})
        return missing

    def end(self) -> None:
        """Ends it, however it is."""
        self.client.close()
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write(path: Path) -> Path:
    """One small checkpoint."""
    path.write_bytes(DATA)
    return path


def flat(base: Path, files: int) -> list[Path]:
    """Ten files in each of many new directories."""
    made = []
    for number in range(files // 10):
        directory = base / f"run{number}"
        directory.mkdir()
        made += [write(directory / f"step_{step}.safetensors") for step in range(10)]
    return made


def nested(base: Path, files: int) -> list[Path]:
    """New directories in each other, one file in each."""
    made = []
    for number in range(files):
        directory = base / f"a{number // 1000}" / f"b{number // 100}" / f"c{number // 10}" / f"d{number}"
        directory.mkdir(parents=True)
        made.append(write(directory / "step_1.safetensors"))
    return made


def moved(daemon: Daemon, files: int) -> list[Path]:
    """Full directories renamed in, one by one."""
    made = flat(daemon.outside, files)
    for directory in sorted(daemon.outside.iterdir()):
        directory.rename(daemon.root / directory.name)
    return [daemon.root / path.relative_to(daemon.outside) for path in made]


def while_it_stands_still(daemon: Daemon, files: int) -> list[Path]:
    """Files made while the daemon reads no events, more of these than its queue holds."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        made = flat(daemon.root, files)
        if os.getuid() != 0:
            for number in range(int(QUEUE.read_text()) // 2):
                path = daemon.root / f"{number % 64}.txt"
                path.touch()
                path.unlink()
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    return made


@contextlib.contextmanager
def small_queue() -> Iterator[None]:
    """Queues made meanwhile are small, where that may be set. It holds for the whole machine, so not for long."""
    if os.getuid() != 0:
        yield
        return
    before = QUEUE.read_text()
    try:
        QUEUE.write_text(str(SMALL_QUEUE))
        yield
    finally:
        QUEUE.write_text(before)


def burst(daemon: Daemon, make: Callable[[Daemon, int], list[Path]], files: int, patience_s: float) -> Any:
    """The figures of one scenario."""
    cpu = daemon.cpu_s()
    made = make(daemon, files)
    known_s, cpu_s = daemon.known_after(len(made), patience_s), daemon.cpu_s() - cpu
    missed = daemon.missed(made)
    later = [write(directory / "step_999.safetensors") for directory in sorted({path.parent for path in made})]
    later_s = daemon.known_after(len(made) + len(later), patience_s)
    watcher = daemon.client.get("/v1/status")["daemon"]["watcher"]
    return {
        "files": len(made),
        "missed": missed,
        "known_s": round(known_s, 2),
        "cpu_s": round(cpu_s, 2),
        "later": len(later),
        "later_missed": daemon.missed(made + later) - missed,
        "later_s": round(later_s, 2),
        "overflows": watcher["overflows"],
        "watches": watcher["watches"],
        "blind": watcher["blind"],
    }


def latencies(daemon: Daemon, singles: int) -> dict[str, float]:
    """Milliseconds from a rename until the run shows the checkpoint, one at a time."""
    directory = daemon.root / "single"
    directory.mkdir()
    write(directory / "step_0.safetensors")
    daemon.known_after(1, 20.0)
    run = daemon.client.get("/v1/runs")["runs"][0]["id"]
    found = []
    for number in range(1, singles + 1):
        temporary = write(directory / f".step_{number}.safetensors.tmp")
        began = time.perf_counter()
        temporary.rename(directory / f"step_{number}.safetensors")
        while len(daemon.client.get("/v1/run", run=run)["checkpoints"]) <= number:
            time.sleep(0.002)
            if time.perf_counter() - began > 20:
                raise SystemExit(f"checkpoint {number} was missed")
        found.append(1000 * (time.perf_counter() - began))
        time.sleep(0.01 * (number % 5))
    found.sort()
    return {"p50": round(found[len(found) // 2], 1), "p99": round(found[int(len(found) * 0.99)], 1)}


SCENARIOS: dict[str, tuple[tuple[str, ...], Callable[[Daemon, int], list[Path]]]] = {
    "flat": ((), lambda daemon, files: flat(daemon.root, files)),
    "nested": ((), lambda daemon, files: nested(daemon.root, files)),
    "moved": ((), moved),
    "overflow": ((), while_it_stands_still),
    "limit": (LIMITED, lambda daemon, files: flat(daemon.root, files)),
}


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", type=int, default=5000)
    options.add_argument("--patience-s", type=float, default=40.0)
    options.add_argument("--singles", type=int, default=0)
    options.add_argument("--only", choices=sorted(SCENARIOS), action="append")
    chosen = options.parse_args()
    figures: dict[str, Any] = {"bench": "watching"}
    place = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    try:
        for name in chosen.only or SCENARIOS:
            wrapped, make = SCENARIOS[name]
            if wrapped and subprocess.run([*IN_NAMESPACE, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
                figures[name] = "no user namespaces"
                continue
            with small_queue() if name == "overflow" else contextlib.nullcontext():
                daemon = Daemon(place / name, *wrapped)
            try:
                figures[name] = burst(daemon, make, chosen.files, chosen.patience_s)
            finally:
                daemon.end()
            shutil.rmtree(place / name, ignore_errors=True)
        if chosen.singles:
            daemon = Daemon(place / "singles")
            try:
                figures["latency_ms"] = latencies(daemon, chosen.singles)
            finally:
                daemon.end()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
