"""Data that a training goes on with at the very batch where it stopped.

loader.py      ResumableLoader: torch's DataLoader with a position
order/         which samples come next
reading/       an epoch's samples, read here or in workers
schedules/     LoaderSchedule: several loaders in one order
arguments.py   what a loader was made with
epochs.py      its epochs, one under way at a time
iteration.py   the iterator that it hands out        leaving.py  how a loop over it was left
positions.py   what it tells of itself               proving.py  whether what it is given is such
fitting.py     whether it can go on from there       caveats.py  what it cannot promise
seeding.py     seeds of epochs, batches and workers  own_generators.py  random generators of a sampler's own
numpy_global.py  NumPy's, taken away and given back
"""

from __future__ import annotations

from ckpt.loaders.loader import ResumableLoader
from ckpt.loaders.schedules.schedule import LoaderSchedule
from ckpt.loaders.seeding import seed_worker

__all__ = ["LoaderSchedule", "ResumableLoader", "seed_worker"]
