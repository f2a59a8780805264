"""Saving and loading checkpoints of a training; the part of the library that needs torch.

capture/           states out of modules, optimizers, generators, loaders; what was taken and what was not
plain.py           those states as nothing but what `torch.load(weights_only=True)` accepts
envelope/          what a checkpoint file contains (format v1), made and read; files of older layouts
pickling.py        its pickle and its storages              snapshot.py        all of one save
staging.py         the storages into shared memory          devices.py         those of accelerators
sender.py          all of that, up to the queue             queue.py           what is on its way, and what came of it
carrying.py        who writes it                            outbox.py          what the managers of a run share
handle.py          what a save gives back                   names.py           what a file is called
following.py       what follows a save                      callbacks.py       who is told
staged.py          written, and not listed yet
history.py         what was saved, as the rules see it      decisions.py       when to save: pure
signals.py         signals that ask for a save              watchdog.py        what ends one that takes too long
last_save.py       the save of a training that fails        early_stopping.py  when to stop
metrics_history.py what was emitted so far                  governing.py       the rules in the run's manifest
loading.py         a checkpoint off the disk, proven whole  restore/           into objects, or not at all
reading.py         a manager that loads and looks           manager.py         CheckpointManager: all of it together
by_hand.py         one file without a run                   telling.py         how a training is warned
"""

from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.manager import CheckpointManager
from ckpt.saving.reading import LoadedCheckpoint
from ckpt.saving.restore import RestoreReport, SkippedTensor

__all__ = ["CheckpointManager", "LoadedCheckpoint", "RestoreReport", "SavedCheckpoint", "SkippedTensor"]
