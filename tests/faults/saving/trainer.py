"""Trainings that a test drives and kills: `python trainer.py SOCKET`.

Every connection is a training in a process of its own, forked from one that has imported torch already. The test
sends lines of JSON, `{"do": "save", "step": 3}`, and gets a line of JSON for each. What a step's checkpoint holds
follows from its number: `weights_at` says it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import warnings
from typing import Any

import torch

from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState
from ckpt.exceptions import CkptError
from forking import forked

BIG = 2_300_000  # float32 values of the largest tensor: the file has a chunk, part of another, and a rest


def weights_at(step: int, big: int = BIG) -> dict[str, torch.Tensor]:
    """What the checkpoint of a step holds: one large tensor and small ones, every value changed from step to step."""
    first = torch.arange(big, dtype=torch.float32)
    return {"big": first + step, **{f"small.{number}": torch.full((7, 5), float(step + number)) for number in range(6)}}


class Training:
    """One training, as its process does it."""

    def __init__(self) -> None:
        self.saved: dict[int, Any] = {}
        self.big = BIG
        self.run: Run
        self.manager: CheckpointManager

    def open(self, run: str, environment: dict[str, str], big: int = BIG, **config: Any) -> dict[str, Any]:
        """Makes the run or goes on with it."""
        os.environ.update(environment)
        self.big = big
        self.run = Run.at(run)
        self.manager = CheckpointManager(self.run, CheckpointConfig(**config))
        self.run.begin()
        return {"pid": os.getpid(), "attempt": self.run.attempt}

    def resume(self) -> dict[str, Any]:
        """Loads the newest checkpoint; which step it is of."""
        return {"resumed": self.manager.load_checkpoint()["state"].global_step}

    def start(self, step: int) -> dict[str, Any]:
        """Begins a save; the weights change as soon as it may go on."""
        weights = weights_at(step, self.big)
        state = TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=1.0 / step)
        self.saved[step] = self.manager.save_checkpoint(weights, state)
        for tensor in weights.values():
            tensor.fill_(-1.0)
        return {"started": step}

    def result(self, step: int) -> dict[str, Any]:
        """Waits for a save."""
        return {"acked": step, "path": self.saved[step].result().path}

    def save(self, step: int) -> dict[str, Any]:
        """Saves and waits."""
        self.start(step)
        return self.result(step)

    def status(self, step: int) -> dict[str, Any]:
        """How far a save is."""
        return {"status": self.saved[step].status, "done": self.saved[step].done()}

    def end(self) -> dict[str, Any]:
        """Ends the training as a script does."""
        self.run.close()
        return {"ended": True, "threads": threading.active_count()}


def serve(connection: socket.socket) -> None:
    """Does what the test asks for until it hangs up."""
    training = Training()
    with connection, connection.makefile("r") as asking, connection.makefile("w") as answering:
        for line in asking:
            asked = json.loads(line)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                try:
                    answer = getattr(training, asked.pop("do"))(**asked)
                except (CkptError, OSError) as error:
                    answer = {"failed": type(error).__name__, "message": str(error)}
            answer["told"] = [str(one.message) for one in told]
            answering.write(json.dumps(answer) + "\n")
            answering.flush()


def main() -> None:
    torch.set_num_threads(1)
    serve(forked(sys.argv[1]))
    os._exit(0)


if __name__ == "__main__":
    main()
