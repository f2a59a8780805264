"""Cost of `ckpt.formats.inspect` against torch's own ways to the same facts, in one process.

Run as `python tests/bench/bench_formats.py`: builds a checkpoint of about 256 MB (of 1 GB with BENCH_FULL=1) in a
temporary directory and prints one line of JSON. Times are of the processor, medians, the file in the page cache;
compare the ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ckpt.formats import inspect


def _build(path: Path, *, layers: int, width: int) -> None:
    blocks = [torch.nn.TransformerEncoderLayer(width, 12, 4 * width) for _ in range(layers)]
    model = torch.nn.Sequential(*blocks)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "global_step": 1200}
    torch.save({**state, "loss": 0.25, "metrics": {"val_loss": 0.5}, "config": {"lr": 1e-3}}, path)


def _seconds(act: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        act()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    """Builds the file, measures, and prints the figures."""
    torch.set_num_threads(1)
    layers, width = 8, 936 if os.environ.get("BENCH_FULL") == "1" else 468
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "checkpoint.pt"
        _build(path, layers=layers, width=width)
        ours = _seconds(lambda: inspect(path), 15)
        meta = _seconds(lambda: torch.load(path, weights_only=True, map_location="meta"), 5)
        full = _seconds(lambda: torch.load(path, weights_only=True), 3)
        found = inspect(path)
        figures = {
            "file_mb": round(found.bytes / 1e6, 1),
            "tensors": found.tensor_count,
            "inspect_ms": round(ours * 1e3, 3),
            "torch_meta_ms": round(meta * 1e3, 3),
            "torch_weights_only_ms": round(full * 1e3, 3),
            "ratio_weights_only": round(full / ours, 1),
            "ratio_meta": round(meta / ours, 2),
            "bytes_read": found.bytes_read,
            "fraction_read": round(found.bytes_read / found.bytes, 6),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
