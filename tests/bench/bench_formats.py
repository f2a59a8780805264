"""What the metadata of a checkpoint costs against the ways of torch and safetensors to the same facts.

Run as `python tests/bench/bench_formats.py`: makes checkpoints of 10 and 256 MB (of 10 MB, 1 GB and 4 GB with
BENCH_FULL=1) and the same tensors as safetensors in a temporary directory (choose it with TMPDIR), and prints a line
of JSON for each size. Times are of the processor, of the first read in a process that has imported everything and
read a small file; medians of three processes. Compare the ratios.

    ms        CPU time of one read, the file in the page cache; memory is new to the process, as for whoever reads once
    peak_mb   most memory above what the process held before
    cold_ms   wall time of the first read after the file has left the page cache
    ratios    how many times longer the other way takes
    allowed   bytes that may be read: pickle, zip directory, and 64 KB
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES_MB = (10, 1024, 4096) if os.environ.get("BENCH_FULL") == "1" else (10, 256)
WAYS = ("ours", "weights_only", "mmap", "meta", "ours_safetensors", "safetensors")
SPARE = 64 << 10
PROCESSES = 3


def build(base: Path, megabytes: int) -> None:
    """A model with AdamW's two moments, as a torch file of about that size and as safetensors."""
    import torch
    from safetensors.torch import save_file

    parts = max(6, megabytes * (1 << 20) // (3 * 4 * 1_000_000))
    size = megabytes * (1 << 20) // (3 * 4 * parts)
    model = {f"layers.{n}.weight": torch.zeros(size) for n in range(parts)}
    moments = {
        n: {"step": torch.tensor(9.0), "exp_avg": w, "exp_avg_sq": w.clone()} for n, w in enumerate(model.values())
    }
    for state in moments.values():
        state["exp_avg"] = state["exp_avg"].clone()
    optimizer = {"state": moments, "param_groups": [{"lr": 1e-3, "params": list(range(parts))}]}
    facts = {"epoch": 3, "global_step": 1200, "loss": 0.25, "metrics": {"val_loss": 0.5}, "config": {"lr": 1e-3}}
    torch.save({"model": model, "optimizer": optimizer, **facts}, base / "checkpoint.pt")
    moved = {f"{kind}.{n}": state[kind] for n, state in moments.items() for kind in ("exp_avg", "exp_avg_sq")}
    save_file({**model, **moved}, base / "checkpoint.safetensors", metadata={"epoch": "3"})


def way(name: str, base: Path) -> Callable[[], Any]:
    """One way to the metadata; what is imported for it is imported already."""
    file, tensors = base / "checkpoint.pt", base / "checkpoint.safetensors"
    if name.startswith("ours"):
        from ckpt.formats import inspect

        return lambda: inspect(file if name == "ours" else tensors)
    if name == "safetensors":
        from safetensors import safe_open

        def keys() -> Any:
            with safe_open(tensors, "pt") as opened:
                return [(key, opened.get_slice(key).get_shape()) for key in opened.keys()], opened.metadata()  # noqa: SIM118

        return keys
    import torch

    torch.set_num_threads(1)
    options: dict[str, dict[str, Any]] = {"weights_only": {}, "mmap": {"mmap": True}, "meta": {"map_location": "meta"}}
    return lambda: torch.load(file, weights_only=True, **options[name])


def forget(path: Path) -> None:
    """Asks the kernel to drop a file from the page cache."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(opened)


def memory_mb(field: str) -> float:
    """Memory of this process: `VmRSS` what it holds now, `VmHWM` the most that it held."""
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0]) / 1024


def measure(name: str, base: Path) -> dict[str, float]:
    """The figures of one way, in this process."""
    small = base.parent / "small"
    way(name, small)()
    act = way(name, base)
    before = memory_mb("VmRSS")
    start = time.process_time()
    act()
    found = {"ms": round((time.process_time() - start) * 1e3, 3), "peak_mb": round(memory_mb("VmHWM") - before, 1)}
    if name.startswith("ours"):
        cold = []
        for _ in range(5):
            for path in base.iterdir():
                forget(path)
            start = time.perf_counter()
            read = act().bytes_read
            cold.append(time.perf_counter() - start)
        found |= {"cold_ms": round(statistics.median(cold) * 1e3, 3), "bytes_read": read}
    return found


def alone(name: str, base: Path) -> dict[str, float]:
    """The figures of one way, in a process of its own."""
    figures: dict[str, float] = json.loads(subprocess.check_output([sys.executable, __file__, name, str(base)]))
    return figures


def middle(measured: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: statistics.median(one[key] for one in measured) for key in measured[0]}


def allowed(path: Path) -> int:
    """Bytes that may be read of a torch file: its pickle, its directory, and a little."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (entry.file_size for entry in archive.infolist() if entry.filename.endswith("/data.pkl"))
        return pickled + path.stat().st_size - archive.start_dir + SPARE


def main() -> None:
    """Builds the files, measures every way in a process of its own, and prints the figures."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as directory:
        for megabytes in (0, *SIZES_MB):
            base = Path(directory) / (str(megabytes) if megabytes else "small")
            base.mkdir()
            # In a process of its own too: what it holds would be counted to the others.
            program = "import sys; from pathlib import Path; from bench_formats import build; "
            program += f"build(Path({str(base)!r}), {megabytes or 1})"
            place = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
            subprocess.run([sys.executable, "-c", program], check=True, env=place)
            if not megabytes:
                continue
            found = {name: middle([alone(name, base) for _ in range(PROCESSES)]) for name in WAYS}
            ours, theirs = found["ours"], found["safetensors"]
            figures = {
                "bench": "formats",
                "file_mb": round((base / "checkpoint.pt").stat().st_size / 1e6, 1),
                **found,
                "ratios": {
                    **{name: round(found[name]["ms"] / ours["ms"], 1) for name in ("weights_only", "mmap", "meta")},
                    "safetensors": round(theirs["ms"] / found["ours_safetensors"]["ms"], 2),
                },
                "allowed": allowed(base / "checkpoint.pt"),
                "within": ours["bytes_read"] <= allowed(base / "checkpoint.pt"),
            }
            sys.stdout.write(json.dumps(figures) + "\n")
            sys.stdout.flush()
            for path in base.iterdir():
                path.unlink()


if __name__ == "__main__":
    main()
