"""Data that a training goes on with at the very batch where it stopped.

loader.py      ResumableLoader: torch's DataLoader with a position
order/         which samples come next
reading/       an epoch's samples, read here or in workers
schedules/     LoaderSchedule: several loaders in one order
positions.py   what a loader tells of itself         fitting.py  whether it can go on from there
seeding.py     seeds of epochs, batches and workers  leaving.py  how a loop over a loader was left
"""

from __future__ import annotations

from ckpt.loaders.loader import ResumableLoader
from ckpt.loaders.schedules.schedule import LoaderSchedule
from ckpt.loaders.seeding import seed_worker

__all__ = ["LoaderSchedule", "ResumableLoader", "seed_worker"]
