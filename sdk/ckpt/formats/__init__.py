"""Readers of checkpoints, files and directories: torch-free, numpy-free, and never unpickling.

    inspection = inspect("step-001200.pt")
    inspection.state, inspection.epoch, inspection.metrics, inspection.tensors

A file is recognised by its bytes, not by its suffix; a directory by the names in it. Families of files
(`containers.family.Family`) and kinds of directories (`directories.kind.Kind`) know structure; what the values mean is
one table for all (`meanings.layouts`). Pickles become plain records in `pickled`.

    reading.py   opened, inspect           record.py    what is told             shown.py      the same as JSON
    verifying.py every byte                checksums.py what files state         inner_files.py files in files
    resuming.py  what a resume makes of it suffixes.py  what names may be        source.py     reads, and their errors
    dtypes.py    element types             bounded_json.py  JSON of strangers
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
