"""What a scan of many checkpoints costs that other frameworks wrote: prints one line of JSON.

Run as `python tests/bench/bench_scan.py [--checkpoints 1000]` (10 000 with BENCH_FULL=1). Half of the checkpoints are
small torch files in runs of 50, a quarter are files as Lightning writes them, a quarter are directories of eight files
as the Hugging Face Trainer writes them.

    cold    survey and every run read, in a fresh process, the files out of the page cache where the kernel lets go
    warm    the same again in that process, with what it remembers
    seconds of the wall, cpu_s of the processor, rss_mb the most memory that the process held
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

A_RUN = 50


def torch_state(step: int) -> dict[str, Any]:
    """What a plain training saves."""
    import torch

    weights = {"fc.weight": torch.full((4, 3), float(step)), "fc.bias": torch.zeros(4)}
    moments = {n: {"step": torch.tensor(1.0), "exp_avg": w, "exp_avg_sq": w} for n, w in enumerate(weights.values())}
    optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    return {"model_state_dict": weights, "optimizer_state_dict": optimizer, "epoch": step // 10, "global_step": step}


def lightning_state(step: int) -> dict[str, Any]:
    """What Lightning's trainer saves."""
    import torch

    state = torch_state(step)
    score = torch.tensor(1.0 / step)
    callback = {"monitor": "val_loss", "best_model_score": score, "current_score": score, "best_k_models": {}}
    return {
        "epoch": step // 10,
        "global_step": step,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": collections.OrderedDict(state["model_state_dict"]),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1, "completed": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": callback},
        "optimizer_states": [state["optimizer_state_dict"]],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "width": 4},
    }


def write_trainer(directory: Path, step: int) -> None:
    """A directory of the Hugging Face Trainer: eight small files."""
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True)
    state = torch_state(step)
    save_file(state["model_state_dict"], directory / "model.safetensors", metadata={"format": "pt"})
    torch.save(state["optimizer_state_dict"], directory / "optimizer.pt")
    torch.save({"last_epoch": step, "_last_lr": [0.1]}, directory / "scheduler.pt")
    torch.save({"python": (3, (1, 2), None), "cpu": torch.zeros(16, dtype=torch.uint8)}, directory / "rng_state.pth")
    torch.save({"output_dir": "x", "learning_rate": 0.1}, directory / "training_args.bin")
    history = [{"loss": 1.0 / (n + 1), "learning_rate": 0.1, "epoch": n / 10, "step": n} for n in range(0, step, 10)]
    trainer = {"epoch": step / 10, "global_step": step, "log_history": history, "best_model_checkpoint": None}
    for name, value in (
        ("trainer_state.json", trainer),
        ("config.json", {"model_type": "gpt2"}),
        ("generation_config.json", {}),
    ):
        (directory / name).write_text(json.dumps(value))


def build(root: Path, count: int) -> None:
    """The tree; every checkpoint has its own step, so no two are equal."""
    import torch

    torch.set_num_threads(1)
    for number in range(count):
        kind, step = number % 4, number // 4 % A_RUN * 10 + 10
        run = number // 4 // A_RUN
        if kind in (0, 1):
            directory = root / f"plain{kind}" / f"run{run}"
            directory.mkdir(parents=True, exist_ok=True)
            torch.save(torch_state(step), directory / f"checkpoint_{step}.pt")
        elif kind == 2:
            directory = root / "lightning" / f"version_{run}" / "checkpoints"
            directory.mkdir(parents=True, exist_ok=True)
            torch.save(lightning_state(step), directory / f"epoch={step // 10}-step={step}.ckpt")
        else:
            write_trainer(root / "trainer" / f"run{run}" / f"checkpoint-{step}", step)


def forget(root: Path) -> None:
    """Asks the kernel to drop all files of the tree from the page cache."""
    os.sync()
    for directory, _, names in os.walk(root):
        for name in names:
            opened = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(opened)


def scan(root: Path) -> dict[str, Any]:
    """Two scans in this process."""
    from ckpt.scan import Cache, read_run, survey

    cache = Cache()
    found: dict[str, Any] = {}
    for name in ("cold", "warm"):
        start, cpu = time.perf_counter(), time.process_time()
        views = [read_run(Path(path), root=root, cache=cache) for path in survey(root).runs]
        seconds = time.perf_counter() - start
        checkpoints = [checkpoint for view in views for checkpoint in view.checkpoints]
        found[name] = {
            "seconds": round(seconds, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "per_s": round(len(checkpoints) / seconds),
        }
    found["runs"] = len(views)
    found["checkpoints"] = len(checkpoints)
    found["complete"] = sum(checkpoint.state == "complete" for checkpoint in checkpoints)
    found["frameworks"] = dict(collections.Counter(checkpoint.framework for checkpoint in checkpoints))
    held = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    found["rss_mb"] = round(int(held.split()[0]) / 1024, 1)
    return found


def main() -> None:
    """Builds the tree, scans it in a fresh process, and prints the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = 10_000 if os.environ.get("BENCH_FULL") == "1" else 1000
    options.add_argument("--checkpoints", type=int, default=default)
    options.add_argument("--scan", type=Path, help="only scan this directory")
    chosen = options.parse_args()
    if chosen.scan is not None:
        print(json.dumps(scan(chosen.scan)))
        return
    place = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    try:
        build(place / "root", chosen.checkpoints)
        forget(place / "root")
        said = subprocess.check_output([sys.executable, __file__, "--scan", str(place / "root")])
        print(json.dumps({"bench": "scan", "asked": chosen.checkpoints, **json.loads(said)}))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
