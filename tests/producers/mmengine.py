"""Trains a small model with MMEngine's Runner; writes what torch reads back of every file.

`python -P mmengine.py DIRECTORY` makes `epoch_*.pth`, `best_*.pth`, `last_checkpoint` and `expected.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

# The Runner imports it for pictures, of which there are none here.
pictures = ModuleType("cv2")
pictures.__dict__.update(setNumThreads=lambda count: None, __version__="0")
sys.modules.setdefault("cv2", pictures)

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset


class Numbers(Dataset[torch.Tensor]):
    """Eight vectors."""

    metainfo: ClassVar[dict[str, list[str]]] = {"classes": ["a", "b"]}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((3,), float(index))


class Small(BaseModel):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(3, 2)

    def forward(self, *inputs: torch.Tensor, mode: str = "tensor") -> Any:
        """A loss, or what the metric is made of."""
        loss = self.net(torch.stack(inputs)).square().mean()
        return {"loss": loss} if mode == "loss" else [float(loss)]


class Falling(BaseMetric):
    """The mean of what the model gives."""

    default_prefix = "check"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Takes the values of a batch."""
        self.results += list(data_samples)

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Their mean."""
        return {"error": sum(results) / len(results)}


class Blind(Runner):
    """The Runner without its pictures, for which more libraries would be needed."""

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """Something that takes what is to be drawn."""
        return SimpleNamespace(**dict.fromkeys(("add_config", "add_scalars", "close"), lambda *a, **k: None))


def main(base: Path) -> None:
    """Writes everything below `base`."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    loader = {"batch_size": 4, "sampler": {"type": "DefaultSampler", "shuffle": False}, "dataset": Numbers()}
    runner = Blind(
        model=Small(),
        work_dir=str(base),
        train_dataloader=loader,
        val_dataloader=dict(loader),
        val_evaluator={"type": Falling},
        train_cfg={"by_epoch": True, "max_epochs": 2, "val_interval": 1},
        val_cfg={},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.001, "momentum": 0.9}},
        param_scheduler={"type": "StepLR", "step_size": 10},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "check/error", "rule": "less"},
            "logger": {"type": "LoggerHook", "interval": 1},
        },
        experiment_name="small",
        cfg={"width": 3, "rates": [0.1, 0.2]},
        log_level="ERROR",
    )
    runner.train()
    found = {}
    for path in sorted(base.glob("*.pth")):
        content = torch.load(path, weights_only=False)
        hub = content["message_hub"]
        found[path.name] = {
            "epoch": content["meta"]["epoch"],
            "step": content["meta"]["iter"],
            "cfg": content["meta"]["cfg"],
            "states": [key in content for key in ("optimizer", "param_schedulers")],
            "best_score": hub["runtime_info"].get("best_score"),
            "files": {
                key: hub["runtime_info"][key] for key in ("best_ckpt", "last_ckpt") if key in hub["runtime_info"]
            },
            "train/loss": float(hub["log_scalars"]["train/loss"].current()),
            "tensors": {f"state_dict.{name}": list(tensor.shape) for name, tensor in content["state_dict"].items()},
        }
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
