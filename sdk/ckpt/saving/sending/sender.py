"""What the training hands over, made into a file on its way to the disk.

All that the training waits for is here: its states as plain data, their pickle, and the copy of its tensors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from ckpt.config import CheckpointConfig
from ckpt.encoding import printable
from ckpt.exceptions import SaveError
from ckpt.paths import CHECKPOINT_SUFFIX
from ckpt.runs import Run
from ckpt.saving.envelope import Content, to_envelope
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.sending.carrying import Kind, kind_for
from ckpt.saving.sending.outbox import Outbox, is_ending
from ckpt.saving.sending.packing import Packed, pack
from ckpt.saving.sending.queue import Save
from ckpt.saving.sending.staging import Staging, live_image
from ckpt.telling import tell
from ckpt.writing.image import Image
from ckpt.writing.jobs import Job
from ckpt.writing.layout import Layout

log = logging.getLogger("ckpt.saving")


class Sender:
    """Sends the saves of one manager."""

    def __init__(self, run: Run, config: CheckpointConfig) -> None:
        self._run = run
        self._config = config
        self._layout: Layout | None = None
        self._told_of_memory = False

    @property
    def outbox(self) -> Outbox:
        """Where saves go."""
        return Outbox.of(self._run)

    def pack(self, content: Content) -> Packed:
        """Lays the file out. Raises StateError for what cannot be stored."""
        packed = pack(to_envelope(content), like=self._layout)
        self._layout = packed.layout
        return packed

    def is_left_out(self, *, sure: bool) -> bool:
        """Whether a save is not to be made because another is written, before anything is done for it."""
        return self._config.when_busy == "skip" and not sure and self.outbox.queue.busy

    def admit(self, packed: Packed, *, sure: bool) -> bool:
        """Waits for a place in the queue, as the config says; False when the save is to be left out."""
        when_busy = self._config.when_busy
        # From an accelerator the copy takes long: it may be made while the save before is written.
        two = self._kind(packed) != "inline" and (packed.is_on_accelerator or when_busy == "coalesce")
        return self.outbox.queue.admit(when_busy, sure=sure, two=two)

    def left_out(self, stem: str) -> SavedCheckpoint:
        """The handle of a save that was not admitted."""
        handle = SavedCheckpoint(self._run.paths.checkpoints / f"{stem}{CHECKPOINT_SUFFIX}")
        reason = f"{printable(handle.path.name)} was left out: the save before it is still being written"
        handle.came_to_nothing("skipped", reason, "when_busy='block' would wait for that one")
        log.info("%s", reason)
        return handle

    def send(
        self,
        packed: Packed,
        stem: str,
        marker: dict[str, Any],
        *,
        learned: Callable[[Save], None],
        told: Callable[[Save], None],
        sure: bool,
    ) -> SavedCheckpoint:
        """Copies what was admitted, and has it written.

        When this raises, nothing of it will be there, unless it was there before an interrupt came. Raises StateError
        for a tensor without data, and SaveError when the run was closed meanwhile.
        """
        outbox, config = self.outbox, self._config
        image, memory = self._copied(packed)
        path, earlier = outbox.name(stem)
        job = Job(
            number=outbox.next_job(),
            run=os.fsencode(self._run.paths.directory),
            stem=stem,
            taken=earlier,
            marker=marker,
            commit=config.auto_commit,
            when_full=config.when_disk_full,
            full_wait_s=float(config.disk_full_wait),
        )
        handle = SavedCheckpoint(path, outbox.queue.settle, outbox.queue.turns)
        if not self._run.training:
            raise SaveError(f"run '{printable(self._run.name)}' was closed while {stem} was saved")
        carrier = outbox.carriers.get("inline" if memory is None else self._kind(packed))
        try:
            outbox.queue.put(Save(handle, job, image, carrier, learned, told, memory, sure))
        except BaseException as error:
            # The queue has closed the carrier, to be sure that nothing is under way.
            outbox.carriers.close()
            if isinstance(error, RuntimeError) and is_ending():
                raise SaveError(
                    f"{stem} could not be saved: the interpreter is ending",
                    hint="have the thread that saves end before the program does",
                ) from error
            raise
        if memory is None:
            outbox.queue.settle()
            if handle.status == "failed":
                handle.raised = True
                raise handle.error()
        return handle

    def _kind(self, packed: Packed) -> Kind:
        """Who is to write it."""
        return kind_for(self._config.background, packed.layout.size)

    def _copied(self, packed: Packed) -> tuple[Image, Staging | None]:
        """The file in memory that is shared with its writer; or where the training's own is, and nothing else."""
        queue = self.outbox.queue
        if self._kind(packed) != "inline":
            try:
                memory = queue.memory()
                return memory.fill(packed.layout, packed.pickled), memory
            except MemoryError as error:
                self._tell_of_memory(error)
                queue.admit(sure=True)
        return live_image(packed.layout, packed.pickled), None

    def _tell_of_memory(self, error: MemoryError) -> None:
        if not self._told_of_memory:
            self._told_of_memory = True
            why = str(error) or "memory for a copy of the training's tensors cannot be had"
            tell(f"checkpoints are written while the training waits: {why}", log)
