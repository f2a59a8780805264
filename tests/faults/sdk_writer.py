"""A training that saves with the SDK until SIGTERM, below BASE: `python sdk_writer.py BASE TEMPLATES SEED`.

Every save that was acknowledged prints its step.
"""

from __future__ import annotations

import signal
import sys
import time

import torch

from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState


def main() -> None:
    """Saves, prunes and emits; a run of a few saves is followed by the next one."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    torch.set_num_threads(1)
    base, seed, number = sys.argv[1], sys.argv[3], 0
    while not ending:
        number += 1
        with Run.create(f"own-sdk-{seed}-{number}", base) as run:
            manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=3, keep_best_n_checkpoints=1))
            for step in range(1, 25):
                if ending:
                    break
                state = TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=1.0 / step)
                run.emit(state)
                saved = manager.save_checkpoint({"w": torch.full((8,), float(step))}, state)
                assert saved is not None
                saved.result()
                sys.stdout.write(f"{step}\n")
                sys.stdout.flush()
                time.sleep(0.01)


if __name__ == "__main__":
    main()
