"""A checkpoint into the objects of a training, or not at all.

report.py   what a restore did          weights.py  a model's tensors beside those of a checkpoint
states.py   other objects beside theirs, given and taken back          restoring.py  all of it, in order
"""

from ckpt.saving.restore.report import RestoreReport, SkippedTensor
from ckpt.saving.restore.restoring import restore

__all__ = ["RestoreReport", "SkippedTensor", "restore"]
