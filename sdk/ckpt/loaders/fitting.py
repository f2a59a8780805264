"""Whether a loader can go on from a position."""

from __future__ import annotations

import logging
from typing import Any

from torch.utils.data import DataLoader

from ckpt.exceptions import StateError
from ckpt.loaders.positions import Position
from ckpt.loaders.reading.inner import length_of
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")


def refuse_other(position: Position, plain: DataLoader[Any], kind: str) -> None:
    """Raises StateError for a position that this loader cannot go on from; warns where it goes on otherwise."""
    if not position.epoch_open:
        return
    streams = kind == "iterable"
    if position.order is not None and position.order != kind:
        raise StateError(
            f"the loader's order was '{position.order}', and is '{kind}'",
            hint="make the loader as it was made for the checkpoint: the same shuffle, sampler and kind of data set",
        )
    size = plain.batch_size
    if not streams and position.samples is not None:
        samples = length_of(plain.dataset)
        if samples != position.samples:
            raise StateError(
                f"the data set had {position.samples} samples, and has {samples}",
                hint="go on with the data of the checkpoint, or begin its epoch anew: leave the loader's state out",
            )
    if kind in ("sequential", "shuffled") and position.sample_idx is None and not position.exhausted:
        _refuse_too_far(position, plain)
    workers = position.num_workers
    readers = len(position.readers)
    here = max(1, plain.num_workers)
    if readers and workers is not None and workers != plain.num_workers and not position.exhausted:
        raise StateError(
            f"the data set was read by {workers} workers, each with a state, and num_workers is {plain.num_workers}",
            hint=f"go on with num_workers={workers} to the end of the epoch",
        )
    if readers and readers != here and not position.exhausted:
        raise StateError(f"the loader's state has {readers} readers, and there are {here}")
    if streams and position.batch_idx and not readers and plain.num_workers and not position.exhausted:
        _give_up_stream(position)
    if position.batch_size != size and position.order in ("sequential", "shuffled"):
        tell(
            f"batch_size was {position.batch_size}, and is {size}: the epoch goes on at sample {position.sample_idx}, "
            "in batches of the new size",
            log,
        )
    if position.order is not None and position.batch_size != size and position.order not in ("sequential", "shuffled"):
        raise StateError(
            f"batch_size was {position.batch_size}, and is {size}",
            hint="only an order of the loader's own goes on with another batch_size; keep it to the end of the epoch",
        )
    if not streams and workers is not None and bool(workers) != bool(plain.num_workers) and position.batch_idx:
        tell(
            f"num_workers was {workers}, and is {plain.num_workers}: the order of the data goes on as it was, what the "
            "data set draws at random does not",
            log,
        )


def _give_up_stream(position: Position) -> None:
    raise StateError(
        f"the loader's state is at batch {position.batch_idx} of a stream, and tells nothing of its readers",
        hint="give what ResumableLoader.state_dict() told",
    )


def _refuse_too_far(position: Position, plain: DataLoader[Any]) -> None:
    before = (position.batch_idx - 1) * (position.batch_size or plain.batch_size or 1)
    samples = length_of(plain.dataset) or 0
    if position.batch_idx and before >= samples:
        raise StateError(
            f"the loader's state is at batch {position.batch_idx}, and the data set has only {samples} samples",
            hint="give what ResumableLoader.state_dict() told",
        )
