"""Saving and loading checkpoints of a training; the part of the library that needs torch.

manager.py   CheckpointManager: all of it together, for one run
reading.py   what a manager loads and finds              handle.py   what a save gives back
by_hand.py   one file without a run

when/        when to save: rules, history, signals; and when to stop
capture/     states out of modules, optimizers, generators, loaders; what was taken and what was not
envelope/    what a checkpoint file contains (format v1), made and read; files of older layouts
sending/     that, copied and on its way to the disk while the training goes on
after/       what follows a save: history, warnings, callbacks, `commit()`
restore/     a checkpoint off the disk, proven whole, and into objects or not at all
"""

from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.manager import CheckpointManager
from ckpt.saving.reading import LoadedCheckpoint
from ckpt.saving.restore import RestoreReport, SkippedTensor

__all__ = ["CheckpointManager", "LoadedCheckpoint", "RestoreReport", "SavedCheckpoint", "SkippedTensor"]
