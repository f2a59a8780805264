"""The side of a loader that knows iterable data sets: their epochs, begun and gone on with, and what they tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from ckpt.loaders.positions import Position, ReaderState
from ckpt.loaders.reading.epoch import StreamEpoch
from ckpt.loaders.reading.readers import Readers
from ckpt.loaders.reading.serving import Reading, ServedStream
from ckpt.saving.capture.protocol import has_state
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")


class StreamSource:
    """An iterable data set, and what reads it."""

    kind = "iterable"

    def __init__(self, plain: DataLoader[Any], reading: Reading) -> None:
        self._workers = plain.num_workers
        self._live_on = bool(plain.persistent_workers)
        self._dataset: Any = plain.dataset
        self.served = ServedStream(plain.dataset, reading, in_worker=plain.num_workers > 0)

    def resumes_by(self, epoch: StreamEpoch | None) -> str:
        """How an epoch is gone on with, as far as it is known before a reader told it."""
        told = None if epoch is None else epoch.readers.of
        return "skipping" if told is None and self.served.state_is_of() is None else "state"

    def begin(self, epoch: int, seed: int, resumed: Position | None, carried: Sequence[ReaderState]) -> StreamEpoch:
        """An epoch from its beginning, or from a position; warns where samples have to be read again."""
        if resumed is not None and not resumed.epoch_open:
            resumed = replace(resumed, readers=tuple(map(self._behind, resumed.readers)))
        elif resumed is not None and not resumed.readers:
            resumed = replace(resumed, readers=(self._documented(resumed),) if resumed.batch_idx else ())
        readers = Readers(max(1, self._workers), seed, epoch)
        # In the training's own process the data set itself has what goes over from the epoch before.
        readers.begin(resumed, carried if self._workers else ())
        if resumed is None or not resumed.epoch_open:
            return StreamEpoch(0, readers)
        again = sum(reader.since for reader in readers.states if not reader.exhausted)
        log.debug("restored the loader: epoch %d at batch %d, %d read again", epoch, resumed.batch_idx, again)
        if again and resumed.resumes_by != "state":
            tell(
                f"the {type(self._dataset).__name__} tells no state: {again} batches are read and dropped to come back "
                "to where it was; give it, or its iterator, state_dict() and load_state_dict()",
                log,
            )
        return StreamEpoch(resumed.batch_idx, readers)

    def _behind(self, reader: ReaderState) -> ReaderState:
        """What a reader has for the next epoch, behind one that was left early."""
        if self._live_on or reader.exhausted or not reader.batches:
            return reader
        # A worker that is started anew has nothing; the data set in the training's own process has its state.
        return ReaderState() if self._workers else replace(reader, batches=0, since=0, left=True)

    def _documented(self, resumed: Position) -> ReaderState:
        """The training's own process as a reader, from the four documented keys alone."""
        if resumed.dataset_state is None:
            return ReaderState(batches=resumed.batch_idx, since=resumed.batch_idx)
        of = "dataset" if has_state(self._dataset) else "iterator"
        return ReaderState(batches=resumed.batch_idx, of=of, state=resumed.dataset_state)

    def end(self, epoch: int, seed: int, resumed: Position, *, left: bool = False) -> None:
        """There is no sampler to bring to the end of an epoch."""

    def tasks(self, epoch: StreamEpoch) -> Iterator[Any]:
        """What the inner DataLoader sends."""
        return epoch.tasks()

    def told(self, epoch: StreamEpoch | None, carried: Sequence[ReaderState], *, over: bool) -> dict[str, Any]:
        """The fields of a position that this side knows."""
        if self._workers == 0:
            readers = self._own_reader(epoch, over)
        else:
            readers = tuple(carried) if epoch is None else epoch.readers.plain()
        fields: dict[str, Any] = {"order": self.kind, "readers": readers}
        if len(readers) == 1 and self._workers == 0:
            fields["dataset_state"] = readers[0].state
        if epoch is None:
            return {**fields, "exhausted": over}
        return {**fields, "batch_idx": epoch.taken, "exhausted": epoch.exhausted, "next_reader": epoch.readers.next}

    def _own_reader(self, epoch: StreamEpoch | None, over: bool) -> tuple[ReaderState, ...]:
        """The training's own process as a reader: its data set is asked when it is time to tell."""
        of = self.served.state_is_of()
        if epoch is None:
            if not over or of != "dataset":
                return ()
            return (ReaderState(of=of, state=self.served.state(), left=not self.served.has_ended),)
        told = epoch.readers.states[0]
        if not told.batches:
            return (told,)
        since = told.batches if of is None else 0
        state = self.served.state()
        return (ReaderState(batches=told.batches, of=of, state=state, since=since, exhausted=told.exhausted),)
