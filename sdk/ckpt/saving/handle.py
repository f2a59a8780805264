"""What a save gives back."""

from __future__ import annotations

from pathlib import Path

from ckpt.exceptions import SaveError
from ckpt.records import Checkpoint


class SavedCheckpoint:
    """A checkpoint that was saved, or that is staged until `commit()`.

    `str()` and `os.fspath()` give its path; every call that takes a checkpoint takes the handle.
    """

    def __init__(self, path: Path, record: Checkpoint | None = None) -> None:
        self._path = path
        self._record = record

    @property
    def path(self) -> Path:
        """The file; of a staged checkpoint the temporary one."""
        return self._path

    @property
    def id(self) -> str | None:
        """The checkpoint's id; None while it is staged."""
        return None if self._record is None else self._record.id

    @property
    def staged(self) -> bool:
        """Whether it waits for `commit()` and is not listed yet."""
        return self._record is None

    def result(self, timeout: float | None = None) -> Checkpoint:
        """The saved checkpoint, when it is durable. Raises SaveError while it is staged.

        `timeout` is in seconds; a save that returned is durable already, so nothing is waited for.
        """
        if self._record is None:
            raise SaveError(f"{self._path.name} is staged and not saved yet", hint="call commit() on its manager")
        return self._record

    def committed(self, record: Checkpoint) -> None:
        """Takes note that the checkpoint is listed now."""
        self._record = record
        self._path = Path(record.path)

    def __str__(self) -> str:
        return str(self._path)

    def __fspath__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"<SavedCheckpoint {self._path.name}{', staged' if self.staged else ''}>"
