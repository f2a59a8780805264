"""What a checkpoint costs the training that saves it, beside other ways to save: `python tests/bench/bench_saving.py`.

Saves 256 MB (1.05 GB with BENCH_FULL=1, or `--size-mb`) below a temporary directory (choose it with TMPDIR), while one
thread trains: `big` computes about 11 ms a step in torch, `py` holds the interpreter lock for about 1 ms. All ways take
turns in one process, and a ratio is the median of the ratios of all rounds: compare the ratios. One line of JSON a row.

    block_ms      how long the call that saves holds up the training
    lost_ms       the same and how much longer the steps took until all was on disk
    persisted_s   from the call to the disk
    of_memcpy     block_ms and lost_ms against a copy of the same bytes into memory that is there
    aims          what is aimed at, with goals
    first_ms      block_ms of the first save of a process, which gets memory and a writer
    peak_mb       most memory of the training process above what it held before the first of two saves, in units of
                  the saved bytes too (`copies`); `tree_mb` is the growth of all its processes, shared memory once
    cold, warm    milliseconds of loading, the file out of or in the page cache

What emitting a state costs is bench_emit.py's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from saving_ways import WAYS, Ours, Way
from saving_workloads import STEPS, Workload, step_seconds

STEADY_S = 0.4
MEMORY_WAYS = ("ours", "ours_thread", "ours_inline", "torch_save", "clone_thread", "dcp_thread", "dcp_process")
GOALS = {
    "block_of_memcpy": "<= 1.2",
    "lost_of_memcpy": "<= 1.5",
    "torch_save_block_of_ours": ">= 15",
    "dcp_thread_lost_of_ours": ">= 5",
    "dcp_process_lost_of_ours": ">= 5",
}

Figures = dict[str, float]


def say(**row: Any) -> None:
    """One line of JSON."""
    print(json.dumps({"bench": "saving", **row}), flush=True)


def rounded(value: float) -> float:
    """Three digits, and no more than say something."""
    return float(f"{value:.3g}")


def middle(values: Iterable[float]) -> float:
    """The median, in three digits."""
    return rounded(statistics.median(values))


# Training that saves


def measure(way: Way, step: Callable[[], None]) -> Figures:
    """One save while training goes on, and the steps around it."""
    before = step_seconds(step, STEADY_S)
    begun, steps = time.perf_counter(), 0
    saved = way.save()
    blocked = time.perf_counter() - begun
    while not saved.done():
        step()
        steps += 1
    persisted = time.perf_counter() - begun
    for _ in range(3):
        step()
        steps += 1
    took = time.perf_counter() - begun
    saved.result()
    way.clean()
    usual = (before + step_seconds(step, STEADY_S)) / 2
    return {"block_ms": 1e3 * blocked, "lost_ms": 1e3 * (took - steps * usual), "persisted_s": persisted}


def training(ways: dict[str, Way], workload: Workload, step: Callable[[], None], rounds: int, share: float) -> Any:
    """Figures of every way in every round; each way has saved once before."""
    for way in ways.values():
        workload.change(share)
        way.save().result()
        way.clean()
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for turn in range(rounds):
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            workload.change(share)
            found[name].append(measure(ways[name], step))
    return found


def ratio(found: dict[str, list[Figures]], key: str, over: str, under: str, of: str | None = None) -> float | None:
    """One way's figure `key` in units of another's `of`, which is the same by default; None without either way.

    Of what blocks the median over the rounds; of lost time, in which noise may outweigh the figure, that of medians.
    """
    if over not in found or under not in found:
        return None
    mine, others = [one[key] for one in found[over]], [one[of or key] for one in found[under]]
    if key != "lost_ms":
        return middle(one / other for one, other in zip(mine, others, strict=True))
    least = statistics.median(others)
    return rounded(statistics.median(mine) / least) if least > 0 else None


def tell_training(found: dict[str, list[Figures]], **about: Any) -> None:
    """A row a way, and one of what is aimed at."""

    def of_memcpy(name: str) -> dict[str, float | None]:
        # A copy loses what it blocks.
        return {key: ratio(found, f"{key}_ms", name, "memcpy", "block_ms") for key in ("block", "lost")}

    for name, rounds in found.items():
        figures = {key: middle(one[key] for one in rounds) for key in rounds[0]}
        say(**about, way=name, **figures, of_memcpy=of_memcpy(name))
    if "ours" in found:
        aims = {
            "block_of_memcpy": of_memcpy("ours")["block"],
            "lost_of_memcpy": of_memcpy("ours")["lost"],
            "torch_save_block_of_ours": ratio(found, "block_ms", "torch_save", "ours"),
            "dcp_thread_lost_of_ours": ratio(found, "lost_ms", "dcp_thread", "ours"),
            "dcp_process_lost_of_ours": ratio(found, "lost_ms", "dcp_process", "ours"),
        }
        reached = {key: value for key, value in aims.items() if value is not None}
        say(**about, aims=reached, goals={key: GOALS[key] for key in reached})


# The disk alone


def disk(ways: dict[str, Way], workload: Workload, place: Path, rounds: int) -> None:
    """Bytes a second from the call to the disk while nothing trains, against dd of as many bytes past the cache."""
    # The bytes come from memory, as ours do.
    with tempfile.TemporaryDirectory(prefix="ckpt-bench-", dir="/dev/shm") as memory:
        source, target = Path(memory) / "bytes", place / "dd"
        with open(source, "wb") as stream:
            for tensor in workload.tensors.values():
                stream.write(memoryview(tensor.detach().numpy()).cast("B"))
        command = ["dd", f"if={source}", f"of={target}", "bs=8M", "oflag=direct", "conv=fsync", "status=none"]
        found: dict[str, list[float]] = {"dd": [], **{name: [] for name in ways}}
        for _ in range(rounds):
            begun = time.perf_counter()
            subprocess.run(command, check=True)
            found["dd"].append(source.stat().st_size / (time.perf_counter() - begun))
            target.unlink()
            for name, way in ways.items():
                workload.change()
                begun = time.perf_counter()
                saved = way.save()
                blocked = time.perf_counter()
                saved.result()
                # A save that blocks writes meanwhile.
                begun = begun if saved.done() and name == "ours_inline" else blocked
                found[name].append(workload.bytes / (time.perf_counter() - begun))
                way.clean()
    for name, speeds in found.items():
        of_dd = middle(speed / dd for speed, dd in zip(speeds, found["dd"], strict=True))
        say(what="disk", way=name, gb_per_s=middle(speed / 1e9 for speed in speeds), of_dd=of_dd, goal=">= 0.8")


# Memory, and the first save


def status_mb(field: str) -> float:
    """Memory of this process: `VmRSS` what it holds now, `VmHWM` the most that it held."""
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0]) / 1024


def memory_of(name: str, kind: str, size: int, place: Path) -> None:
    """Two saves in this process, and what they took; says when the first begins."""
    workload = Workload(kind, size)
    way = WAYS[name](workload, place)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_mb("VmRSS")
    print("now", flush=True)
    firsts = []
    for _ in range(2):
        begun = time.perf_counter()
        saved = way.save()
        firsts.append(1e3 * (time.perf_counter() - begun))
        saved.result()
        way.clean()
        workload.change()
    peak, size_mb = status_mb("VmHWM") - before, workload.bytes / (1 << 20)
    figures = {"first_ms": firsts[0], "size_mb": size_mb, "peak_mb": peak, "copies": peak / size_mb}
    print(json.dumps(figures), flush=True)
    way.close()


def tree_mb(pid: int, parent: bytes = b"") -> float:
    """Memory of a process and those that it started, what they share counted once."""
    total = 0.0
    with contextlib.suppress(OSError, IndexError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if command == parent:
            return 0.0  # about to become another program, and until then in its parent's own memory
        rolled = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total = int(rolled.partition("\nPss:")[2].split()[0]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(tree_mb(int(child), command) for child in (task / "children").read_text().split())
    return total


def memory(name: str, kind: str, size: int, place: Path) -> None:
    """The row of one way, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory", name, "--states", kind, "--size-mb", str(size / 1e6)]
    command += ["--place", str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n", f"{name} could not begin"
        before = most = tree_mb(child.pid)
        with ThreadPoolExecutor(1) as reader:
            answer = reader.submit(child.stdout.readline)
            while not answer.done():
                most = max(most, tree_mb(child.pid))
                time.sleep(0.02)
    figures = {key: rounded(value) for key, value in json.loads(answer.result()).items()}
    goal = {"ours_inline": "copies about 0"}.get(name, "copies <= 1")
    say(what="memory", state=kind, way=name, **figures, tree_mb=rounded(most - before), goal=goal)


# Loading


def forget(path: Path) -> None:
    """Asks the kernel to drop a file from the page cache."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(opened)


def loading(way: Ours, kind: str, rounds: int) -> None:
    """Loads one checkpoint of ours, with and without proving its hash, and by `torch.load`."""
    saved = way.save()
    saved.result()
    path = Path(os.fspath(saved))  # type: ignore[call-overload]
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: way.manager.load_checkpoint(path),
        "ours_unverified": lambda: way.manager.load_checkpoint(path, verify=False),
        "torch_load": lambda: torch.load(path, weights_only=True),
        "torch_load_mmap": lambda: torch.load(path, weights_only=True, mmap=True),
    }
    found: dict[str, dict[str, list[float]]] = {name: {"cold": [], "warm": []} for name in ways}
    for _ in range(rounds):
        for name, load in ways.items():
            forget(path)
            for heat in ("cold", "warm"):
                begun = time.perf_counter()
                load()
                found[name][heat].append(1e3 * (time.perf_counter() - begun))
    for name, figures in found.items():
        of_torch = {
            heat: middle(one / other for one, other in zip(figures[heat], found["torch_load"][heat], strict=True))
            for heat in figures
        }
        say(what="loading", state=kind, way=name, **{h: middle(figures[h]) for h in figures}, of_torch_load=of_torch)
    way.clean()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a checkpoint costs the training that saves it.")
    parser.add_argument("--size-mb", type=float, default=1050 if os.environ.get("BENCH_FULL") == "1" else 256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="64 MB, two rounds, one state and one loop")
    parser.add_argument("--states", nargs="+", choices=("plain", "adamw"), default=["plain", "adamw"])
    parser.add_argument("--loops", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--memory", choices=tuple(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.size_mb, given.rounds, given.states, given.loops = 64, 2, ["plain"], ["big"]
    return given


PARTS = ("training", "frozen", "disk", "memory", "loading")


def bench(given: argparse.Namespace, kind: str, place: Path) -> None:
    """All rows of one kind of state."""
    size = int(given.size_mb * 1e6)
    workload = Workload(kind, size)
    about = {"state": kind, "mb": rounded(workload.bytes / 1e6), "tensors": len(workload.tensors)}
    made = {name: WAYS[name](workload, place / name) for name in given.ways}
    try:
        for loop in given.loops if "training" in given.parts else ():
            found = training(made, workload, STEPS[loop](), given.rounds, 1.0)
            tell_training(found, what="training", **about, loop=loop)
        if "frozen" in given.parts:
            few = {name: way for name, way in made.items() if name == "memcpy" or name.startswith("ours")}
            found = training(few, workload, STEPS["big"](), given.rounds, 0.1)
            tell_training(found, what="a tenth changes", **about, loop="big")
        if "disk" in given.parts and kind == given.states[0]:
            disk({n: way for n, way in made.items() if n.startswith("ours")}, workload, place, given.rounds)
        if "loading" in given.parts and isinstance(made.get("ours"), Ours):
            loading(made["ours"], kind, given.rounds)
    finally:
        for way in made.values():
            way.close()
    del made, workload
    for name in MEMORY_WAYS if "memory" in given.parts else ():
        if name in given.ways:
            memory(name, kind, size, place / f"memory-{name}")


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    given = options()
    if given.memory:
        memory_of(given.memory, given.states[0], int(given.size_mb * 1e6), given.place)
        return
    with tempfile.TemporaryDirectory(prefix="ckpt-bench-") as directory:
        os.environ["CKPTD_STATE_HOME"] = str(Path(directory) / "state")
        for kind in given.states:
            bench(given, kind, Path(directory) / kind)


if __name__ == "__main__":
    main()
