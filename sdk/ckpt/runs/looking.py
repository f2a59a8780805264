"""What a run is, and what lies in it, as its handle sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt.encoding import printable
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint
from ckpt.runs.lookup import checkpoint_of
from ckpt.runs.manifest import read_manifest
from ckpt.runs.under_way import UnderWay

if TYPE_CHECKING:
    from ckpt.scan import Cache, RunView


class Looking:
    """A run's directory, seen; nothing here writes. A silent handle may not know the directory, which is None then."""

    def __init__(self, directory: Path | None, *, silent: bool = False) -> None:
        self._directory = directory
        self._silent = silent
        self._manifest: dict[str, Any] = {}
        self._cache: Cache | None = None
        self.under_way = UnderWay()
        """What this handle's training is saving: `close` and every look at the run wait for it."""
        if directory is not None and (RunPaths(directory).manifest.exists() or not silent):
            self._manifest = read_manifest(directory)

    @property
    def directory(self) -> Path | None:
        """The run's directory, absolute; None on a rank that cannot know it."""
        return self._directory

    @property
    def paths(self) -> RunPaths:
        """The files of the run. Raises UsageError on a rank that does not know the directory."""
        if self._directory is None:
            raise UsageError(
                "this rank does not know the run's directory: rank 0 chose it",
                hint="give the run a name, or broadcast the directory from rank 0",
            )
        return RunPaths(self._directory)

    @property
    def id(self) -> str:
        """The run's id; "" on a silent handle of a run that is not on disk yet."""
        return str(self._manifest.get("id", ""))

    @property
    def name(self) -> str:
        """The name of the directory; "" when it is not known."""
        return "" if self._directory is None else self._directory.name

    @property
    def config(self) -> dict[str, Any]:
        """The hyper-parameters that the run was made with."""
        return dict(self._manifest.get("config") or {})

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of what `run.json` said when this handle last read or wrote it."""
        return dict(self._manifest)

    @property
    def silent(self) -> bool:
        """Whether this is a rank that writes nothing."""
        return self._silent

    @property
    def attempt(self) -> int:
        """Number of the present or last attempt, from 1; 0 before the first."""
        return len(self._manifest.get("attempts") or ())

    @property
    def forked(self) -> bool:
        """Whether the run started from a checkpoint of another."""
        return self._manifest.get("parent") is not None

    def view(self) -> RunView:
        """The run with its checkpoints and the plan of its policy, as they are on disk now.

        Waits for what this handle's training is saving. Raises OperationError when the directory is gone or unreadable.
        """
        from ckpt import scan

        self.under_way.wait()
        if self._cache is None:
            self._cache = scan.Cache()
        try:
            return scan.read_run(self.paths.directory, cache=self._cache)
        except OSError as error:
            raise OperationError(
                f"run {printable(str(self.paths.directory))} cannot be read: {error.strerror or error}"
            ) from error

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, newest first; none for a silent handle while rank 0 has not made the run."""
        return [] if self._is_unmade else list(self.view().checkpoints)

    def checkpoint(self, ref: Any = None) -> Checkpoint:
        """One checkpoint: a path, an id, a selector such as `best` or `step:40`, a record or handle; None is latest.

        Raises AddressError that says what exists.
        """
        if self._is_unmade:
            raise AddressError("the run has no checkpoint: rank 0 has not made it yet")
        return checkpoint_of(self.view(), ref)

    @property
    def _is_unmade(self) -> bool:
        """Whether this is a silent handle of a run that rank 0 has not made yet."""
        return self._silent and (self._directory is None or not self.paths.manifest.is_file())
