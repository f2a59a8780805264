"""A checkpoint off the disk and into the objects of a training, or not at all.

loading.py    a checkpoint's content, proven whole, or that of the newest one that is
restoring.py  that content into objects, in order
weights.py    a model's tensors beside those of a checkpoint
states.py     other objects beside theirs, given and taken back        report.py  what a restore did
"""

from ckpt.saving.restore.report import RestoreReport, SkippedTensor
from ckpt.saving.restore.restoring import restore

__all__ = ["RestoreReport", "SkippedTensor", "restore"]
