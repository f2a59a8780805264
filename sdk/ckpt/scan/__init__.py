"""Runs and checkpoints as they lie on disk now: what is there, whole or not, and what its policy makes of it.

Looks, never writes. Own runs are directories with a `run.json`; any other directory that holds checkpoint files is a
foreign run. Symbolic links are not followed: a link to a checkpoint is another name of it, not another checkpoint.

    finding.py   where runs are          own.py       runs that the SDK made     view.py    run + checkpoints + plan
    excludes.py  where nobody looks      foreign.py   everybody else's           curves.py  metrics over steps
    cache.py     what has not changed
"""

from ckpt.scan.cache import Cache
from ckpt.scan.curves import curves
from ckpt.scan.excludes import DEFAULT_EXCLUDES, Excludes
from ckpt.scan.finding import find_runs, is_own, run_of
from ckpt.scan.reading import read_run
from ckpt.scan.view import RunView, run_view_to_json

__all__ = [
    "DEFAULT_EXCLUDES",
    "Cache",
    "Excludes",
    "RunView",
    "curves",
    "find_runs",
    "is_own",
    "read_run",
    "run_of",
    "run_view_to_json",
]
