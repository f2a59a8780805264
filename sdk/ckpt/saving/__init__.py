"""Saving and loading checkpoints of a training; the part of the library that needs torch.

capture.py         states out of modules, optimizers, generators, loaders; and random states back in
plain.py           those states as nothing but what `torch.load(weights_only=True)` accepts
envelope.py        what a checkpoint file contains (format v1), made and read
writer.py          a file on disk whole or not at all, its commit marker last
history.py         what was saved, as the rules see it      decisions.py       when to save: pure
early_stopping.py  when to stop                             callbacks.py       who is told
upkeep.py          pointers, retention and trash after a save      waiting.py   how long that waits
restore.py         a checkpoint into objects, or not at all
manager.py         CheckpointManager: all of it together
"""

from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.manager import CheckpointManager, LoadedCheckpoint
from ckpt.saving.restore import RestoreReport, SkippedTensor

__all__ = ["CheckpointManager", "LoadedCheckpoint", "RestoreReport", "SavedCheckpoint", "SkippedTensor"]
