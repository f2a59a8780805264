"""Makes the checkpoint files in this directory: `python tests/data/make.py DIRECTORY`.

Every file is of one layout that has to keep loading. They were made once, each with the code of its time or, for other
makers' layouts, as those write them; this script says how, and the tests run no more of it than `training()` and
`loaders()`. A layout that is added later gets a file of its own; no file here is made anew. Each `NAME.pt` has the
weights, counts and momenta of `training()`.
"""

from __future__ import annotations

import dataclasses
import enum
import random
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

SEED = 5


def training() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    """A model of which all weights, statistics and momenta are those of seven steps from one seed."""
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    for _ in range(7):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).pow(2).mean().backward()
        optimizer.step()
        scheduler.step()
    return model, optimizer, scheduler


def present(directory: Path) -> None:
    """Format v1 as this project writes it, in a run's file and by hand."""
    import ckpt

    model, optimizer, scheduler = training()
    random.seed(SEED)
    np.random.seed(SEED)
    ema = torch.optim.swa_utils.AveragedModel(model)
    trainer = {
        "model": model,
        "optimizer": {"main": optimizer},
        "scheduler": scheduler,
        "ema": ema,
        "choice_rng": np.random.default_rng(SEED),
        "epoch": 2,
        "global_step": 7,
        "metrics": {"val_loss": 0.25},
        "config": {"lr": 0.1, "layers": (3, 2, 1)},
    }
    ckpt.save_checkpoint(directory / "v1.pt", trainer)


def loaders() -> dict[str, Any]:
    """A schedule of two loaders for a training, and one for its validation, none of which gave anything yet."""
    import ckpt

    parts = {
        "a": ckpt.ResumableLoader(list(range(20)), batch_size=2, shuffle=True, seed=SEED),
        "b": ckpt.ResumableLoader(list(range(100, 112)), batch_size=3, shuffle=True, seed=SEED),
    }
    return {
        "train": ckpt.LoaderSchedule(parts, "weighted", epoch_length=9, weights={"a": 2.0, "b": 1.0}, seed=SEED),
        "val": ckpt.ResumableLoader(list(range(200, 206)), batch_size=2, shuffle=True, seed=SEED),
    }


def present_loaders(directory: Path) -> None:
    """Format v1 as this project writes it, in the midst of the third epoch of `loaders()`."""
    import ckpt

    model, optimizer, scheduler = training()
    given = loaders()
    for _ in range(2):
        list(given["train"])
        list(given["val"])
    batches = iter(given["train"])
    for _ in range(4):
        next(batches)
    trainer = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "epoch": 2, "global_step": 7}
    ckpt.save_checkpoint(directory / "v1-loaders.pt", {**trainer, "loaders": given})


def without_report(directory: Path) -> None:
    """Format v1 as the first versions of this project wrote it: no report, no names, nothing registered."""
    model, optimizer, scheduler = training()
    torch.save(
        {
            "format_version": 1,
            "is_multi_dataloader_only": False,
            "save_timestamp": 1.7e9,
            "epoch": 2,
            "global_step": 7,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dicts": [optimizer.state_dict()],
            "scheduler_state_dicts": [scheduler.state_dict()],
            "amp_scaler_state": None,
            "rng_states": {
                "python_random": random.Random(SEED).getstate(),
                "numpy_random": ("MT19937", torch.arange(624), 624, 0, 0.0),
                "torch_cpu": torch.Generator().manual_seed(SEED).get_state(),
                "torch_cuda": None,
            },
            "dataloader_manager_state": {
                "choice_rng_state": None,
                "choice_rng": None,
                "train_iterator_state": {"loader_states": [{"position": 11}]},
                "val_iterator_state": None,
            },
            "choice_rng_state": None,
            "resume_state": {"version": 1, "phase": "epoch_end", "epoch": 2, "global_step": 7, "epoch_finished": True},
            "metrics_history": None,
            "config_snapshot": {"lr": 0.1},
            "metrics": {"val_loss": 0.25},
            "loss": 0.5,
            "learning_rate": 0.001,
            "model_config": None,
            "training_state": {
                "epoch": 2,
                "global_step": 7,
                "learning_rate": 0.001,
                "loss": 0.5,
                "metrics": {"val_loss": 0.25},
                "timestamp": 1.7e9,
                "held": [],
            },
        },
        directory / "v1-without-report.pt",
    )


def document(directory: Path) -> None:
    """Format v1 as its document describes it: loaders and choice generator at the top, NumPy arrays in the states."""
    model, optimizer, scheduler = training()
    torch.save(
        {
            "format_version": 1,
            "is_multi_dataloader_only": True,
            "save_timestamp": 1.7e9,
            "epoch": 2,
            "global_step": 7,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dicts": [optimizer.state_dict()],
            "scheduler_state_dicts": [scheduler.state_dict()],
            "amp_scaler_state": {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
            | {"_growth_tracker": 0},
            "rng_states": {
                "python_random": random.Random(SEED).getstate(),
                "numpy_random": np.random.RandomState(SEED).get_state(),
                "torch_cpu": torch.Generator().manual_seed(SEED).get_state(),
                "torch_cuda": None,
            },
            "dataloader_manager_state": {
                "choice_rng_state": np.random.RandomState(SEED).get_state(legacy=False),
                "choice_rng": np.random.RandomState(SEED).get_state(),
                "train_iterator_state": {
                    "schedule_position": 3,
                    "loader_states": [
                        {"batch_idx": 2, "exhausted": False, "sampler_state": None, "dataset_state": {"position": 11}},
                        {"batch_idx": 1, "exhausted": True, "sampler_state": None, "dataset_state": None},
                    ],
                    "total_batches": 3,
                    "loader_cycles": {0: 0, 1: 1},
                    "prefetched_batches": 0,
                },
                "val_iterator_state": None,
            },
            "choice_rng_state": np.random.RandomState(SEED).get_state(),
            "resume_state": {"version": 1, "phase": "train_batch", "epoch": 2, "global_step": 7},
            "metrics_history": {"val_loss": [0.5, 0.25]},
            "config_snapshot": {"lr": np.float64(0.1), "root": Path("runs/a")},
        },
        directory / "v1-document.pt",
    )


def first_writer(directory: Path, name: str = "v1-first-writer.pt", *, by_name: bool = False) -> None:
    """What the format's first writer saves by now: dataclasses, positions inside of `resume_state`, no version.

    `by_name`: members of enumerations are pickled by their names, as the first releases of Python 3.11 do it.
    """
    states = types.ModuleType("model_training_framework.trainer.states")
    sys.modules["model_training_framework"] = types.ModuleType("model_training_framework")
    sys.modules["model_training_framework.trainer"] = types.ModuleType("model_training_framework.trainer")
    sys.modules[states.__name__] = states

    class TrainerPhase(enum.Enum):
        TRAIN_BATCH_END = "train_batch_end"

        def __reduce_ex__(self, protocol: int) -> Any:
            return (getattr, (type(self), self.name)) if by_name else (type(self), (self.value,))

    @dataclasses.dataclass
    class DataLoaderState:
        id: int
        name: str
        batch_idx: int
        exhausted: bool = False
        sampler_state: Any = None
        dataset_state: Any = None

    @dataclasses.dataclass
    class ResumeState:
        phase: Any
        epoch: int
        global_step: int
        version: str = "1"
        dataloader_manager_state: Any = None
        rng: Any = None
        choice_rng: Any = None
        timestamp: float = 1.7e9

    @dataclasses.dataclass
    class CheckpointConfig:
        root_dir: Any
        max_checkpoints: int = 5

    for kind in (TrainerPhase, DataLoaderState, ResumeState, CheckpointConfig):
        kind.__module__, kind.__qualname__ = states.__name__, kind.__name__
        setattr(states, kind.__name__, kind)
    model, optimizer, scheduler = training()
    torch.save(
        {
            "is_multi_dataloader_only": None,
            "save_timestamp": 1.7e9,
            "epoch": 2,
            "global_step": 7,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dicts": [optimizer.state_dict()],
            "scheduler_state_dicts": [scheduler.state_dict()],
            "amp_scaler_state": None,
            "rng_states": None,
            "dataloader_manager_state": None,
            "choice_rng_state": None,
            "resume_state": ResumeState(
                phase=TrainerPhase.TRAIN_BATCH_END,
                epoch=2,
                global_step=7,
                dataloader_manager_state={
                    "train_iterator_state": {
                        "schedule_position": 3,
                        "loader_states": [DataLoaderState(0, "a", 2)],
                        "total_batches": 3,
                        "loader_cycles": {},
                        "prefetched_batches": 0,
                    },
                    "val_iterator_state": None,
                },
                rng={"python_state": "80049506", "torch_state": "8004"},
                choice_rng="80049506",
            ),
            "metrics": {"val_loss": np.float64(0.25)},
            "experiment_name": "exp",
            "config": CheckpointConfig(Path("runs")),
        },
        directory / name,
    )


def first_writer_by_name(directory: Path) -> None:
    """As `first_writer`, with members of enumerations by their names."""
    first_writer(directory, "v1-first-writer-by-name.pt", by_name=True)


def single(directory: Path) -> None:
    """A file from before the lists: one optimizer, one scheduler."""
    model, optimizer, scheduler = training()
    torch.save(
        {
            "epoch": 2,
            "global_step": 7,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": scheduler.state_dict(),
            "loss": 0.5,
        },
        directory / "single-optimizer.pt",
    )


def weights(directory: Path) -> None:
    """Nothing but a state dict, in torch's zip format and in the one before it."""
    model, _, _ = training()
    torch.save(model.state_dict(), directory / "weights.pt")
    torch.save(model.state_dict(), directory / "weights-legacy.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    for make in (
        present,
        present_loaders,
        without_report,
        document,
        first_writer,
        first_writer_by_name,
        single,
        weights,
    ):
        make(place)
