"""What a save gives back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ckpt.encoding import printable
from ckpt.exceptions import SaveError
from ckpt.records import Checkpoint
from ckpt.saving.turns import Turns

Status = Literal["writing", "saved", "staged", "skipped", "superseded", "failed"]


class SavedCheckpoint:
    """A checkpoint that is being saved, and what came of it.

    `path` is known at once. `str()` and `os.fspath()` give it when the save has ended, so whoever opens the handle
    finds the file; every call that takes a checkpoint takes the handle. One thread saves; any thread may ask.
    """

    def __init__(self, path: Path, told: Callable[[], None] | None = None, turns: Turns | None = None) -> None:
        """`told` is called whenever somebody asked for the result and it is there; `turns` are those of its run."""
        self._path = path
        self._told = told
        self._turns = turns or Turns()
        self._status: Status = "writing"
        self._record: Checkpoint | None = None
        self._failure: tuple[str, str | None] = ("", None)
        self._pid = os.getpid()
        self.raised = False
        """Whether somebody was told of the failure by an exception."""

    @property
    def path(self) -> Path:
        """The file, without waiting for it; of a staged checkpoint the temporary one.

        When the name was taken by somebody else meanwhile, it is another one after the save.
        """
        return self._path

    @property
    def status(self) -> Status:
        """How far it is: `writing`; `saved`; `staged` until `commit()`; or never to be there.

        That is `skipped` while another save was in the way or for want of room, `superseded` by a newer save that
        took its place in the queue, or `failed`.
        """
        return self._status

    @property
    def id(self) -> str | None:
        """The checkpoint's id; None until it is saved."""
        return None if self._record is None else self._record.id

    @property
    def staged(self) -> bool:
        """Whether it is written, waits for `commit()`, and is not listed yet."""
        return self._status == "staged"

    def done(self) -> bool:
        """Whether the save has ended, well or not. Never waits."""
        return self._status != "writing"

    def result(self, timeout: float | None = None) -> Checkpoint:
        """The saved checkpoint, when it is durable.

        `timeout` is in seconds; None waits as long as it takes. Raises TimeoutError, and SaveError when the save failed
        or was left out, when the checkpoint is staged, in a forked child of the process that saves, and in a signal
        handler that would wait for the very thread that it runs in.
        """
        self._wait(timeout)
        if self._record is None:
            self.raised = True
        if self._told is not None:
            self._told()
        if self._record is None:
            raise self.error()
        return self._record

    def error(self) -> SaveError:
        """Why there is no checkpoint."""
        if self._status == "staged":
            return SaveError(f"{self._path.name} is staged and not saved yet", hint="call commit() on its manager")
        message, hint = self._failure
        return SaveError(message, hint=hint)

    # What happens to it, told by the queue

    def saved(self, record: Checkpoint) -> None:
        """It is durable and listed."""
        self._record = record
        self._path = Path(record.path)
        self._end("saved")

    def was_staged(self, temporary: Path) -> None:
        """It is durable under a temporary name."""
        self._path = temporary
        self._end("staged")

    def came_to_nothing(
        self, status: Literal["skipped", "superseded", "failed"], message: str, hint: str | None = None
    ) -> None:
        """There will be no such checkpoint."""
        self._failure = (message, hint)
        self._end(status)

    def _end(self, status: Status) -> None:
        self._status = status
        self._turns.notify()

    def _wait(self, timeout: float | None = None) -> None:
        if self.done():
            return
        if os.getpid() != self._pid:
            raise SaveError(
                f"{printable(self._path.name)} is being saved by process {self._pid}, and this is a child of it",
                hint="ask for the result in the process that saved",
            )
        if not self._turns.wait_for(self.done, timeout):
            raise TimeoutError(f"{printable(self._path.name)} is still being written after {timeout:g} s")

    def __str__(self) -> str:
        if os.getpid() == self._pid:
            self._wait()
        return str(self._path)

    def __fspath__(self) -> str:
        self._wait()
        if not self.staged:
            self.result()
        return str(self._path)

    def __repr__(self) -> str:
        return f"<SavedCheckpoint {printable(self._path.name)}, {self._status}>"
