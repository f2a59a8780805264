"""Isolation from the developer's machine: no daemon of theirs, no directory of theirs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fork_server import ForkServer

for _name in [n for n in os.environ if n.startswith(("CKPTD_", "CKPT_", "SLURM_", "XDG_"))]:
    if not _name.startswith("CKPTD_FAULT_"):
        del os.environ[_name]
for _name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
    os.environ.pop(_name, None)
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["COLUMNS"] = "160"


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Config, state and socket in a directory of this test, short enough for a socket path."""
    base = Path(tempfile.mkdtemp(prefix="ck-"))
    monkeypatch.setenv("CKPTD_CONFIG_HOME", str(base / "config"))
    monkeypatch.setenv("CKPTD_STATE_HOME", str(base / "state"))
    monkeypatch.setenv("CKPTD_RUNTIME_DIR", str(base / "run"))
    monkeypatch.setenv("CKPTD_AUTOSTART", "0")
    yield base
    shutil.rmtree(base, ignore_errors=True)


class RunMaker:
    """Writes own runs as the SDK does, without a training: real torch files, real markers."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def run(self, name: str = "exp1", *, checkpoints: int = 0, base: Path | None = None, **manifest: Any) -> Path:
        """A run directory with `checkpoints` checkpoints of steps 10, 20, … whose loss falls from 1.0 by tenths."""
        from ckpt.files import write_json
        from ckpt.runs.manifest import new_manifest

        directory = (base or self.base) / name
        (directory / "checkpoints").mkdir(parents=True)
        write_json(directory / "run.json", new_manifest(name, **manifest))
        for number in range(1, checkpoints + 1):
            self.checkpoint(directory, step=number * 10, epoch=number, loss=1.0 - number / 10)
        return directory

    def checkpoint(
        self,
        directory: Path,
        *,
        step: int,
        epoch: float | None = None,
        loss: float | None = None,
        metrics: dict[str, float] | None = None,
        commit: bool = True,
        name: str | None = None,
    ) -> Path:
        """One more checkpoint in a run; without its marker when `commit` is false."""
        import torch

        from ckpt.files import hash_file, read_json, write_json
        from ckpt.formats import inspect
        from ckpt.records import checkpoint_id

        path = directory / "checkpoints" / (name or f"step-{step:06d}.pt")
        weights = {"fc.weight": torch.full((4, 3), float(step)), "fc.bias": torch.arange(4.0)}
        torch.save(
            {
                "format_version": 1,
                "model_state_dict": weights,
                "epoch": epoch,
                "global_step": step,
                "rng_states": None,
                "resume_state": None,
                "metrics": dict(metrics or {}),
            },
            path,
        )
        if commit:
            run_id = read_json(directory / "run.json")["id"]
            fingerprint = inspect(path).fingerprint
            seq = len(list(directory.rglob("checkpoints/*.json"))) + 1  # those in the trash count too
            marker = {
                "format": 1,
                "id": checkpoint_id(run_id, path.name, fingerprint),
                "run": run_id,
                "file": path.name,
                "seq": seq,
                "attempt": 1,
                "step": step,
                "epoch": epoch,
                "loss": loss,
                "learning_rate": 0.1,
                "metrics": dict(metrics or {}),
                "saved_at": time.time() - 1000 + seq,
                "bytes": path.stat().st_size,
                "hash": "blake3:" + hash_file(path),
                "fingerprint": fingerprint,
                "label": "regular",
                "is_best": False,
                "state": {},
            }
            write_json(path.with_suffix(".json"), marker)
        return path


@pytest.fixture
def runs(tmp_path: Path) -> RunMaker:
    """A maker of own runs below `tmp_path/runs`."""
    return RunMaker(tmp_path / "runs")


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Runs scripts that need torch without the seconds that its import takes, see `tests/parts/fork_server.py`."""
    server = ForkServer(optimizers=True)
    yield server
    server.close()


PRODUCERS = Path(__file__).parent / "producers"


@pytest.fixture(scope="session")
def produced(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`produced("lightning")`: a directory in which `tests/producers/lightning.py` has worked, once for all workers.

    The script is run as `python -P lightning.py DIRECTORY` with the real library, and writes beside the checkpoints, as
    `expected.json`, what that library itself reads back. Nobody may change what is in the directory: copy it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "produced"
    shared.mkdir(exist_ok=True)

    def produce(name: str) -> Path:
        made = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                working = shared / f"{name}.part"
                shutil.rmtree(working, ignore_errors=True)
                working.mkdir()
                quiet = {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
                done = subprocess.run(
                    [sys.executable, "-P", str(PRODUCERS / f"{name}.py"), str(working)],
                    env={**os.environ, **quiet, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                    capture_output=True,
                    text=True,
                    timeout=170,
                )
                assert done.returncode == 0, f"{name} cannot be produced:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
                working.rename(made)
        return made

    return produce


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says how many hostile inputs the tests tried; each notes its own with `record_property("inputs", …)`."""
    noted = [value for report in terminalreporter.getreports("passed") for value in report.user_properties]
    tried = sum(count for name, count in noted if name == "inputs")
    if tried:
        terminalreporter.write_line(f"{tried} hostile inputs were tried")
