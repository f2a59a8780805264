"""Data that a training goes on with at the very batch where it stopped.

loader.py       ResumableLoader: torch's DataLoader with a position
positions.py    the record of a position, validated from plain data
proving.py      whether a position is one of this loader's data; what a loader cannot promise
samples.py      map-style data sets:   order.py their order, samplers.py that of somebody's sampler
streams.py      iterable data sets
epoch.py        the tasks of an epoch, and how far the training took their answers
readers.py      what each reader of the data gave
serving.py      what reads the data, in workers and in the training's process
inner.py        torch's own DataLoader, which carries the tasks
loops.py        how a loop over a loader was left
seeding.py      seeds of epochs, batches and workers
schedule.py     LoaderSchedule: several loaders in one order
  strategies.py       who is next                 sources.py         one of the loaders
  schedule_state.py   what a schedule tells       choices.py         its random choices
  schedule_arguments.py
"""

from __future__ import annotations

from ckpt.loaders.loader import ResumableLoader
from ckpt.loaders.schedule import LoaderSchedule
from ckpt.loaders.seeding import seed_worker

__all__ = ["LoaderSchedule", "ResumableLoader", "seed_worker"]
