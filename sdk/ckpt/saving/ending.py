"""What a manager does behind its saves: it learns what has come of them, lists or drops what is staged, and ends."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from ckpt.config import CheckpointConfig
from ckpt.encoding import printable
from ckpt.exceptions import SaveError
from ckpt.runs import Run
from ckpt.saving.after.following import Following
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.sending.sender import Sender
from ckpt.saving.when.rules import Rules

log = logging.getLogger("ckpt.saving")


class Ending:
    """Waiting for saves, and hearing of those that failed."""

    run: Run
    config: CheckpointConfig
    _sender: Sender
    _following: Following
    _rules: Rules

    def _settle(self) -> None:
        """Learns what has come of saves since the last look."""
        if not self.run.silent:
            self._sender.outbox.queue.settle()

    def is_worth_saving(self, error: BaseException | None, step: int) -> bool:
        """Whether a training that an exception ends at this step is to be saved once more; waits for other saves."""
        if error is None or not self.config.save_on_exception:
            return False
        self.run.under_way.wait()
        return self._rules.ask_after(error, step)

    def _hear_of_failures(self, urgent: str | None, *, but: SavedCheckpoint | None = None) -> None:
        """Raises what nobody was told of; a training that is about to end only logs it."""
        if self.run.silent:
            return
        try:
            self._sender.outbox.queue.raise_untold(but=but)
        except SaveError as error:
            if urgent is None:
                raise
            log.error("%s", error)

    def commit(self) -> list[SavedCheckpoint]:
        """Waits for what is being written, lists the staged checkpoints, oldest first, and returns their handles.

        Raises SaveError when one cannot be listed, those before it are; and when there are some and the run is closed.
        """
        if self.run.silent:
            return []
        self._sender.outbox.wait()
        if self._following.staged.count and not self.run.training:
            raise SaveError(
                f"run '{printable(self.run.name)}' is closed, and its staged checkpoints are not listed any more",
                hint="call commit() before the run is closed",
            )
        done = self._sender.outbox.queue.in_turn(self._following.staged.commit)
        self.run.flush()
        self._hear_of_failures(None)
        return done

    def discard(self) -> int:
        """Waits for what is being written, drops the staged checkpoints and returns how many there were."""
        if self.run.silent:
            return 0
        self._sender.outbox.wait()
        return self._following.staged.discard()

    def close(self) -> None:
        """Waits for what is being written, and gives memory, threads and processes back; may be called twice.

        The run goes on, and a save after it begins anew. Raises SaveError for a save that failed if nobody was told.
        """
        if not self.run.silent:
            self._sender.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            log.error("%s", failure)
