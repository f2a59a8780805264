"""Trains a small network with Ignite; writes what torch reads back of every file.

`python -P ignite.py DIRECTORY` makes `run/checkpoint_*.pt` (trainer, model, optimizer, the checkpointer itself),
`best/` (the model alone, by a score), `exact/` (a deterministic engine, which keeps generators), and `expected.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.engine.deterministic import DeterministicEngine
from ignite.handlers import Checkpoint, DiskSaver, global_step_from_engine


def main(base: Path) -> None:
    """Writes everything below `base`."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    def update(engine: Engine, batch: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    def measure(engine: Engine, trained: Engine) -> None:
        engine.state.metrics["accuracy"] = 0.5 + trained.state.epoch / 16

    batches = [torch.randn(4, 3) for _ in range(4)]
    for name, kind in (("run", Engine), ("exact", DeterministicEngine)):
        trainer = kind(update)
        evaluator = Engine(lambda engine, batch: None)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, measure, trainer)
        keeping = {"trainer": trainer, "model": model, "optimizer": optimizer}
        saver = DiskSaver(base / name, create_dir=True)
        every = Checkpoint(keeping, saver, n_saved=None, include_self=name == "run")
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=3), every)
        if name == "run":
            best = Checkpoint(
                {"model": model},
                DiskSaver(base / "best", create_dir=True),
                n_saved=2,
                filename_prefix="best",
                score_name="accuracy",
                global_step_transform=global_step_from_engine(trainer),
            )
            evaluator.add_event_handler(Events.COMPLETED, best)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine, other=evaluator: other.run([0]))
        trainer.run(batches, max_epochs=2)
    found: dict[str, Any] = {}
    for path in sorted(base.glob("*/*.pt")):
        content = torch.load(path, weights_only=False)
        engine = content.get("trainer", {})
        found[str(path.relative_to(base))] = {
            "step": engine.get("iteration"),
            "epoch": engine["iteration"] / engine["epoch_length"] if engine else None,
            "saved": [filename for _, filename in content.get("checkpointer", {}).get("_saved", ())],
            "generators": "rng_states" in engine,
            "tensors": {name: list(t.shape) for name, t in content.get("model", content).items()},
        }
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
