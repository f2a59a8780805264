"""Runs and checkpoints as they lie on disk now: what is there, whole or not, and what its policy makes of it.

Looks, never writes. Own runs are directories with a `run.json`; any other directory that checkpoints lie in is a
foreign run. A checkpoint is a file, several files of one step, or a directory. Symbolic links are not followed: a link
to a checkpoint is another name of it, not another checkpoint.

    survey.py    the walk below a root     whose.py     the run of a path        view.py       run + checkpoints + plan
    excludes.py  where nobody looks        cache.py     what has not changed     signature.py  whether a run has
    finding.py   how runs are told         live/        metrics that grow        curves.py     metrics over steps
    reading.py   the run of a directory    own.py       runs that the SDK made   failing.py    errors of disk and system
    history.py   every save ever known     trying.py    policies that people ask about
    numbers.py   numbers in others' JSON   registered.py  which root a path lies in
    occupied.py  what files take on disk   usage.py     what runs take, by kind
    symlinks.py  where links lead          linked.py    which checkpoints that is

Everybody else's runs, step by step:

    listing.py   what lies there           units.py     which of it is one       names.py      what names say
    recording.py one record of each        merging.py   several files as one     called.py     steps in names
    pointers.py  what the trainer names    references.py  what its states name   pointed.py    where it would go on
    facts.py     what the run is           foreign.py   all of it together
"""

from ckpt.scan.cache import Cache
from ckpt.scan.curves import curves
from ckpt.scan.excludes import DEFAULT_EXCLUDES, Excludes
from ckpt.scan.finding import is_own
from ckpt.scan.linked import Links
from ckpt.scan.reading import read_run
from ckpt.scan.registered import registered_root
from ckpt.scan.signature import Sight, sight, signature
from ckpt.scan.survey import Survey, find_runs, survey
from ckpt.scan.view import RunView, Wishes, governed, run_view_to_json
from ckpt.scan.whose import run_of

__all__ = [
    "DEFAULT_EXCLUDES",
    "Cache",
    "Excludes",
    "Links",
    "RunView",
    "Sight",
    "Survey",
    "Wishes",
    "curves",
    "find_runs",
    "governed",
    "is_own",
    "read_run",
    "registered_root",
    "run_of",
    "run_view_to_json",
    "sight",
    "signature",
    "survey",
]
