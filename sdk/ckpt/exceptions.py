"""Every error that this project raises on purpose.

    CkptError
    ├── AddressError           an address names nothing, or more than one thing
    ├── UsageError             a request that cannot be carried out as it was put
    ├── StateError             a TrainingState or config holds what cannot be stored
    ├── CheckpointError        a checkpoint cannot be used
    │   ├── IncompleteError    it was never finished, or is being written
    │   └── CorruptError       its bytes are not what was written
    ├── FormatError            a file is not of the format that was expected
    ├── SaveError              a save failed; nothing was listed
    ├── LockedError            another process holds what is needed
    ├── OperationError         an act failed half way and was taken back
    └── DaemonError            the daemon did not do what was asked
        └── NoDaemonError      no daemon answers

`exit_code` is what a command that meets the error exits with: 2 wrong usage or address, 3 the operation
failed, 4 no daemon.
"""

from __future__ import annotations

from collections.abc import Sequence


class CkptError(Exception):
    """Base of every error of this project."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What would work instead, as a sentence or a command; None if nothing better is known."""

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class AddressError(CkptError):
    """An address names nothing that is known, or more than one thing."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, candidates: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.candidates = tuple(candidates)


class UsageError(CkptError):
    """A request that cannot be carried out as it was put."""

    exit_code = 2


class StateError(CkptError, ValueError):
    """A TrainingState, a config or a value in it cannot be stored or is out of range."""

    exit_code = 2


class CheckpointError(CkptError):
    """A checkpoint cannot be used."""


class IncompleteError(CheckpointError):
    """The checkpoint was never finished, or is still being written."""


class CorruptError(CheckpointError):
    """The checkpoint's bytes are not what was written."""


class FormatError(CkptError):
    """The file is not of the format that was expected, or breaks its rules."""


class SaveError(CkptError):
    """A save failed; nothing of it is listed and earlier checkpoints are untouched."""


class LockedError(CkptError):
    """Another process holds the lock that is needed."""


class OperationError(CkptError):
    """An act on files failed; what was done of it has been taken back or is told."""


class DaemonError(CkptError):
    """The daemon answered with an error."""


class NoDaemonError(DaemonError):
    """No daemon answers on the socket, and none may be started here."""

    exit_code = 4
