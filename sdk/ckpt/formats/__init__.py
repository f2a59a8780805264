"""Readers of checkpoint files: torch-free, numpy-free, and never unpickling.

    inspection = inspect("step-001200.pt")
    inspection.state, inspection.epoch, inspection.metrics, inspection.tensors

A file is recognised by its bytes, not by its suffix. Families of files (`family.Family`) know structure; what the
values in them mean is one table for all (`layouts`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt.formats.record import Inspection
from ckpt.formats.suffixes import SUFFIXES, is_marker, may_be_file

if TYPE_CHECKING:
    from ckpt.formats.reading import inspect
    from ckpt.formats.shown import inspection_to_json
    from ckpt.formats.verifying import Verification, verify

_HOMES = {
    "Verification": "ckpt.formats.verifying",
    "inspect": "ckpt.formats.reading",
    "inspection_to_json": "ckpt.formats.shown",
    "verify": "ckpt.formats.verifying",
}
"""What is loaded when it is first used: most commands look at names and open no checkpoint."""

__all__ = [
    "SUFFIXES",
    "Inspection",
    "Verification",
    "inspect",
    "inspection_to_json",
    "is_marker",
    "may_be_file",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ckpt.formats' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
