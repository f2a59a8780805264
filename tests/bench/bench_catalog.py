"""What it costs to know a checkpoint, beside sqlite3 doing the same job: prints one line of JSON.

For runs of 100, 1 000 and 10 000 checkpoints:

    read_ms          a look at a run in which one checkpoint is new: read_run, plan and put; CPU
    read_cold_ms     the first look, which opens every file; CPU
    write_ms         one checkpoint put and written at once: the document of its run, whole and fsynced
    write_daemon_ms  a checkpoint's share of all writes of a minute, at 10 checkpoints a second and written when the
                     daemon would: a run rests after each write
    sqlite_ms        one row a checkpoint, committed by itself: WAL, synchronous=FULL
    ratio_single     write_ms / sqlite_ms;  ratio_daemon: write_daemon_ms / sqlite_ms

And `load`: 100 000 checkpoints in 1 000 runs into the same records, with plans for the catalog; seconds, and the
resident memory that they take.

Run it by itself: `python tests/bench/bench_catalog.py [--sizes 100 1000 10000] [--runs 1000] [--checkpoints 100]`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_daemon import make_runs, write_checkpoint

from ckpt import scan
from ckpt.records import Checkpoint, Run
from ckpt.retention import Policy, plan
from ckpt.scan import RunView
from ckptd.catalog.catalog import Catalog

TIMES = 5
RATE = 10  # checkpoints a second, for the daemon's share
COLUMNS = Checkpoint.__struct_fields__


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 10_000])
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--checkpoints", type=int, default=100)
    options.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.load:
        print(json.dumps(loaded(chosen.load[0], Path(chosen.load[1]))))
        return
    place = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    try:
        figures: dict[str, Any] = {"bench": "catalog", "sizes": {}}
        for size in chosen.sizes:
            figures["sizes"][str(size)] = one_run(place / str(size), size)
        figures["load"] = loads(place / "load", chosen.runs, chosen.checkpoints)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(figures))


def one_run(place: Path, size: int) -> dict[str, Any]:
    """The figures of a run of `size` checkpoints, the latest of which come one by one."""
    (place / "runs").mkdir(parents=True)
    make_runs(place / "runs", 1, size - TIMES)
    directory = place / "runs" / "exp0"
    marker = json.loads(next((directory / "checkpoints").glob("*.json")).read_text())
    data = next((directory / "checkpoints").glob("*.pt")).read_bytes()
    now = [0.0]
    cache, catalog = scan.Cache(), Catalog(place / "catalog", clock=lambda: now[0])
    cold, _ = took(time.process_time, lambda: catalog.put(scan.read_run(directory, cache=cache)))
    catalog.flush()
    base = sqlite(place / "base.sqlite")
    save_run(base, catalog.all()[0])
    reads, writes, rows = [], [], []
    for number in range(size - TIMES + 1, size + 1):
        write_checkpoint(directory, marker["run"], number, data, marker["fingerprint"])
        spent, (_, view) = took(time.process_time, lambda: catalog.put(scan.read_run(directory, cache=cache)))
        reads.append(spent)
        writes.append(took(time.perf_counter, catalog.flush)[0])
        rows.append(took(time.perf_counter, lambda view=view: save_newest(base, view))[0])
    base.close()
    assert len(view.checkpoints) == size
    share = daemon_share(catalog, view, now)
    row = statistics.median(rows)
    return {
        "read_ms": ms(statistics.median(reads)),
        "read_cold_ms": ms(cold),
        "write_ms": ms(statistics.median(writes)),
        "write_daemon_ms": ms(share),
        "sqlite_ms": ms(row),
        "ratio_single": round(statistics.median(writes) / row, 2),
        "ratio_daemon": round(share / row, 3),
    }


def daemon_share(catalog: Catalog, view: RunView, now: list[float]) -> float:
    """Seconds of writing a checkpoint when they come at `RATE` and the catalog is asked each second what is due.

    The catalog's clock goes on by itself, so a minute takes only as long as its writes.
    """
    catalog.flush()
    spent, count = 0.0, 0
    for _ in range(60):
        for _ in range(RATE):
            count += 1
            first = view.checkpoints[0].evolve(note=str(count))
            catalog.put(view.evolve(checkpoints=(first, *view.checkpoints[1:])))
        now[0] += 1.0
        spent += took(time.perf_counter, lambda: catalog.flush(due=True))[0]
    return (spent + took(time.perf_counter, catalog.flush)[0]) / count


def loads(place: Path, runs: int, checkpoints: int) -> dict[str, Any]:
    """Both stores filled with the same runs, then loaded in a process of its own each."""
    place.mkdir()
    catalog, base = Catalog(place / "catalog"), sqlite(place / "base.sqlite")
    for number in range(runs):
        view = made(number, checkpoints)
        catalog.put(view)
        save_run(base, view)
    # What is measured is reading: none of these writes has to be safe.
    sync, os.fsync = os.fsync, lambda fd: None
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, os, "fsync", sync)
        catalog.flush()
    base.close()
    best: dict[str, dict[str, float]] = {}
    for _ in range(3):
        for store in ("catalog", "sqlite"):
            command = [sys.executable, __file__, "--load", store, str(place)]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            assert figures.pop("checkpoints") == runs * checkpoints
            if store not in best or figures["s"] < best[store]["s"]:
                best[store] = figures
    ratio = round(best["catalog"]["s"] / best["sqlite"]["s"], 2)
    return {"runs": runs, "checkpoints": runs * checkpoints, **best, "ratio": ratio}


def loaded(store: str, place: Path) -> dict[str, float]:
    """Loads one store in this process."""
    before = resident()
    if store == "catalog":
        catalog = Catalog(place / "catalog")
        spent, aside = took(time.perf_counter, catalog.load)
        assert not aside
        records: Any = [view.checkpoints for view in catalog.all()]
    else:
        spent, records = took(time.perf_counter, lambda: load_sqlite(place / "base.sqlite"))
    return {"s": round(spent, 3), "rss_mb": round(resident() - before, 1), "checkpoints": sum(map(len, records))}


def made(number: int, count: int) -> RunView:
    """A run of `count` checkpoints as the SDK leaves them."""
    run, directory = f"{number:032x}", f"/data/experiments/2026/exp{number:05d}"
    checkpoints = [
        Checkpoint(
            id=f"{number * count + seq:012x}",
            run=run,
            path=f"{directory}/checkpoints/step-{seq * 100:06d}.pt",
            framework="ckpt",
            seq=seq,
            attempt=1,
            step=seq * 100,
            epoch=seq,
            loss=1.0 / seq,
            learning_rate=0.1,
            metrics={"val_loss": 1.0 / seq, "accuracy": 1 - 1.0 / seq},
            bytes=1 << 30,
            saved_at=1.7e9 + seq,
            label="regular",
            fingerprint=f"torch:{number * count + seq:032x}",
            files=(
                f"{directory}/checkpoints/step-{seq * 100:06d}.pt",
                f"{directory}/checkpoints/step-{seq * 100:06d}.json",
            ),
        )
        for seq in range(count, 0, -1)
    ]
    record = Run(id=run, name=f"exp{number:05d}", root="/data/experiments", path=directory, own=True, checkpoints=count)
    return RunView(run=record, checkpoints=tuple(checkpoints), plan=plan(checkpoints, Policy(), 0.0))


# The same job with sqlite3: one row a checkpoint, lists and mappings as JSON.


def sqlite(path: Path) -> sqlite3.Connection:
    """An empty database that loses nothing it acknowledged."""
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, record TEXT)")
    base.execute(f"CREATE TABLE checkpoints ({', '.join(COLUMNS)}, PRIMARY KEY (run, id))")
    return base


def row_of(checkpoint: Checkpoint) -> list[Any]:
    """The columns of a checkpoint."""
    values = [getattr(checkpoint, name) for name in COLUMNS]
    return [json.dumps(v) if isinstance(v, dict | tuple) else v for v in values]


def save_run(base: sqlite3.Connection, view: RunView) -> None:
    """A run with all of its checkpoints, in one transaction."""
    base.execute("BEGIN")
    base.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (view.run.id, encoded(view.run)))
    marks = ", ".join("?" for _ in COLUMNS)
    base.executemany(f"INSERT OR REPLACE INTO checkpoints VALUES ({marks})", map(row_of, view.checkpoints))
    base.execute("COMMIT")


def save_newest(base: sqlite3.Connection, view: RunView) -> None:
    """The newest checkpoint, the one before it that lost its tag, and the run, in one transaction."""
    save_run(base, view.evolve(checkpoints=view.checkpoints[:2]))


def load_sqlite(path: Path) -> list[tuple[Checkpoint, ...]]:
    """All runs and checkpoints as records."""
    base = sqlite3.connect(path)
    runs = [json.loads(record) for (record,) in base.execute("SELECT record FROM runs")]
    listed: dict[str, list[Checkpoint]] = {run["id"]: [] for run in runs}
    parsed = {"metrics": json.loads, "tags": tuples, "files": tuples, "problems": tuples, "held_by": tuples}
    parsers = [parsed.get(name) for name in COLUMNS]
    for row in base.execute(f"SELECT {', '.join(COLUMNS)} FROM checkpoints ORDER BY run, seq DESC"):
        values = [value if parse is None else parse(value) for value, parse in zip(row, parsers, strict=True)]
        checkpoint = Checkpoint(**dict(zip(COLUMNS, values, strict=True)))
        listed[checkpoint.run].append(checkpoint)
    base.close()
    return [tuple(checkpoints) for checkpoints in listed.values()]


def tuples(text: str) -> tuple[str, ...]:
    """A list of texts."""
    return () if text == "[]" else tuple(json.loads(text))


def encoded(run: Run) -> str:
    """A run's record as JSON."""
    return json.dumps({name: getattr(run, name) for name in Run.__struct_fields__}, default=repr)


def took(clock: Callable[[], float], act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds by a clock, and what the act gave."""
    began = clock()
    answer = act()
    return clock() - began, answer


def resident() -> float:
    """Resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ms(seconds: float) -> float:
    """Milliseconds, rounded."""
    return round(1000 * seconds, 3)


if __name__ == "__main__":
    main()
