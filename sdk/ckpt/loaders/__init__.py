"""Data that a training goes on with at the very batch where it stopped.

loader.py      ResumableLoader: torch's DataLoader with a position
schedule.py    LoaderSchedule: several loaders in one order
seeding.py     seeds of epochs, batches and workers
"""

from __future__ import annotations

from ckpt.loaders.loader import ResumableLoader
from ckpt.loaders.schedule import LoaderSchedule
from ckpt.loaders.seeding import seed_worker

__all__ = ["LoaderSchedule", "ResumableLoader", "seed_worker"]
