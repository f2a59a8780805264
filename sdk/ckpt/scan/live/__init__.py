"""The metrics that a training writes as it goes, read from its own files: curves, and how far it came.

sources.py  which files of which frameworks, in the order in which they win     places.py  where they lie
histories.py  which of several Hugging Face states tells the branch that went on
forms/      lines.py  tables and JSON lines   log_history.py  one JSON document   event_files.py  TensorBoard
growing.py  a file that is being written      rows.py  what stands at one step   series.py  points, thinned
reading.py  files to curves, remembered between questions                        reaching.py  ends to a state
"""

from __future__ import annotations

import os
from pathlib import Path

from ckpt.scan.live.places import Look
from ckpt.scan.live.reaching import Reached, reached
from ckpt.scan.live.reading import collect
from ckpt.scan.live.sources import SOURCES

__all__ = ["Reached", "curves_of", "reached"]


def curves_of(directory: Path, points: int) -> dict[str, list[tuple[int, float]]]:
    """The metrics in a run's files over their steps, at most about `points` each; {} where it writes none.

    Of a metric that several sources tell, the first in `sources.SOURCES` wins. Raises OSError only where a disk or the
    system fails.
    """
    look = Look(os.path.realpath(directory))
    found: dict[str, list[tuple[int, float]]] = {}
    for source in SOURCES:
        files = source.files(look)
        if files:
            for name, series in collect(source, files, points).items():
                found.setdefault(name, series)
    return found
