"""Saves with fvcore as detectron2 does; writes what fvcore reads back.

`python -P fvcore.py DIRECTORY` makes `model_*.pth`, `model_final.pth`, `last_checkpoint` and `expected.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer


def main(base: Path) -> None:
    """Writes everything below `base`."""
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100)
    saver = Checkpointer(model, str(base), optimizer=optimizer, scheduler=scheduler)
    periodic = PeriodicCheckpointer(saver, period=5, max_iter=12)
    for iteration in range(12):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        scheduler.step()
        periodic.step(iteration)
    found = {}
    for path in sorted(base.glob("*.pth")):
        other = torch.nn.Linear(3, 2)
        rest = Checkpointer(other).load(str(path))
        found[path.name] = {
            "step": rest["iteration"],
            "learning_rate": rest["optimizer"]["param_groups"][0]["lr"],
            "tensors": {f"model.{name}": list(tensor.shape) for name, tensor in other.state_dict().items()},
        }
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
