"""What differs between two checkpoints, read in pieces and without torch.

difference = diff("runs/exp3/checkpoints/step-001000.pt", "runs/exp3/checkpoints/step-001200.pt")
difference.same, difference.metrics, difference.changed
"""

from __future__ import annotations

from ckpt.diff.compare import diff
from ckpt.diff.curves import curve_changes
from ckpt.diff.record import Difference, KeyChange, TensorChange
from ckpt.diff.shown import difference_to_json

__all__ = ["Difference", "KeyChange", "TensorChange", "curve_changes", "diff", "difference_to_json"]
