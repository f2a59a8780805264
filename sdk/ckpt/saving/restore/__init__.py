"""A checkpoint off the disk and into the objects of a training, or not at all.

loading.py    a checkpoint's content, proven whole, or that of the newest one that is
restoring.py  that content into objects, in order
weights.py    a model's tensors beside those of a checkpoint           copying.py     one over another
states.py     other objects beside theirs, given and taken back        fitting.py     what speaks against that
gradients.py  gradients into the parameters that they are of
report.py     what a restore did                                       interrupts.py  Ctrl-C held back meanwhile
exactness.py  why a training may not go on to the bit                  telling.py     what the log says of it all
"""

from ckpt.saving.restore.report import RestoreReport, SkippedTensor
from ckpt.saving.restore.restoring import restore

__all__ = ["RestoreReport", "SkippedTensor", "restore"]
