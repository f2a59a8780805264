"""Run: one training experiment in a directory of its own, as the process that trains holds it.

    with Run.create(config={"lr": 0.1}) as run:      # runs/exp1, runs/exp2 …
        run.emit(state)

Under torchrun or `torch.distributed` only rank 0 makes and writes anything: the handles of the other ranks are silent.
A silent handle knows its directory when the caller named it (`name=`, `resume`), so every rank can load a checkpoint;
for a directory that rank 0 chose it is None.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.runs import redirecting
from ckpt.runs.announcing import announce
from ckpt.runs.attempts import Ending, at_exit, ending_of
from ckpt.runs.command_line import how_started
from ckpt.runs.config_file import plain_config
from ckpt.runs.directories import adopt, check_name, make_directory, numbered
from ckpt.runs.feed import StateFeed
from ckpt.runs.lock import acquire
from ckpt.runs.lookup import find, start_of
from ckpt.runs.manifest import new_manifest, read_manifest, write_config, write_new
from ckpt.runs.marking import Marking
from ckpt.runs.rank import rank
from ckpt.runs.recovering import recover

if TYPE_CHECKING:
    from ckpt.retention import Policy
    from ckpt.state import TrainingState

log = logging.getLogger("ckpt.runs")

BASE_DIR = "runs"


class Run(Marking):
    """A handle on an own run. Made by `create`, `open`, `resume` and `fork`, not by its constructor."""

    def __init__(self, directory: Path | None, *, silent: bool = False) -> None:
        super().__init__(directory, silent=silent)
        self._lock: files.FileLock | None = None
        self._feed: StateFeed | None = None
        self._listener: Callable[[TrainingState], None] | None = None

    @classmethod
    def create(
        cls,
        name: str | bytes | None = None,
        base_dir: str | os.PathLike[str] = BASE_DIR,
        *,
        config: Any = None,
        policy: Policy | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        model_name: str | None = None,
        experiment_name: str | None = None,
    ) -> Self:
        """Makes a run directory, `expN` when no name is given, and begins to train in it.

        `config` holds the hyper-parameters: a mapping, dataclass or argparse namespace. Raises UsageError for a name
        that is taken or unusable, StateError for a config that cannot be written, OperationError when the directory
        cannot be made.
        """
        base = redirecting.written(Path(os.path.abspath(base_dir)))
        fixed = None if name is None else check_name(name)
        if rank() > 0:
            return cls(None if fixed is None else base / fixed, silent=True)
        hyper = plain_config(config)
        directory = make_directory(base, fixed)
        manifest = new_manifest(
            directory.name,
            config=hyper,
            policy={} if policy is None else policy.to_json(),
            monitor=monitor,
            mode=mode,
            model_name=model_name,
            experiment_name=experiment_name,
        )
        return cls._begin_new(directory, manifest)

    @classmethod
    def _begin_new(cls, directory: Path, manifest: dict[str, Any]) -> Self:
        """Fills a directory that was just made; takes it away again when that fails."""
        paths = RunPaths(directory)
        try:
            files.make_directory(paths.checkpoints)
            write_new(directory, manifest)
            run = cls(directory)
            run.begin()
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, OSError):
                raise OperationError(f"{printable(str(directory))} cannot be made: {error.strerror}") from error
            raise
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str], base_dir: str | os.PathLike[str] = BASE_DIR) -> Self:
        """A handle for looking at a run and marking its checkpoints; several processes may hold one.

        `path` is a run directory, or a name below `base_dir`. Raises AddressError when no such run exists.
        """
        directory = find(path, base_dir)
        return cls(directory, silent=rank() > 0 or redirecting.is_spared(directory))

    @classmethod
    def resume(cls, path: str | os.PathLike[str], base_dir: str | os.PathLike[str] = BASE_DIR) -> Self:
        """Goes on with a run: takes its lock and begins another attempt.

        Raises AddressError when no such run exists, and LockedError, naming the process, while another trains it.
        """
        run = cls(redirecting.trained(find(path, base_dir)), silent=rank() > 0)
        run.begin()
        return run

    @classmethod
    def at(cls, directory: str | os.PathLike[str], *, experiment_name: str | None = None) -> Self:
        """The run in a directory of the caller's choice; `run.json` is made if absent. Training begins at `begin`.

        Raises UsageError for a directory that holds other frameworks' checkpoints, OperationError when it cannot be
        made.
        """
        path = redirecting.written(Path(os.path.abspath(directory)))
        if rank() > 0:
            return cls(path, silent=True)
        if not RunPaths(path).manifest.exists():
            adopt(path, experiment_name)
        return cls(path)

    @classmethod
    def fork(
        cls,
        source: Run | str | os.PathLike[str],
        name: str | bytes | None = None,
        base_dir: str | os.PathLike[str] = BASE_DIR,
        *,
        checkpoint: str | None = None,
        config: Any = None,
    ) -> Self:
        """Makes a new run that starts at a checkpoint of another, and begins to train in it.

        `source` is a run, a run's directory or name below `base_dir`, each also with a selector (`exp1@best`,
        `exp1@epoch:3`), or a checkpoint file. `checkpoint` is such a selector by itself; the default is the latest.
        `config` replaces the parent's hyper-parameters. Raises AddressError, IncompleteError, CorruptError, UsageError
        for a taken name, OperationError.
        """
        base = redirecting.written(Path(os.path.abspath(base_dir)))
        fixed = None if name is None else check_name(name)
        if rank() > 0:
            return cls(None if fixed is None else base / fixed, silent=True)
        from ckpt.runs.forking import fork

        hyper = None if config is None else plain_config(config)
        if isinstance(source, Run):
            view, start = source.view(), source.checkpoint(checkpoint)
        else:
            view, start = start_of(source, base, checkpoint)
        directory = numbered(base, fixed, lambda path: fork(start, view.run, path))
        run = cls(directory)
        if hyper is not None:
            run.update(config=hyper)
        run.begin()
        return run

    # Training

    @property
    def training(self) -> bool:
        """Whether this handle holds the run's lock; in a process that was forked from the training, it does not."""
        return self._lock is not None and self._lock.held

    @property
    def lock_fd(self) -> int | None:
        """The open file that the run's lock is on, for a writer process that holds it too; None when not training."""
        return None if self._lock is None else self._lock.fd

    def begin(self) -> None:
        """Takes the lock and begins an attempt; nothing happens when this handle trains already, or is silent.

        Waits up to 5 s while the daemon prunes, and up to 30 s while the writer of a training that has ended finishes a
        checkpoint. Raises LockedError, naming the process, when another trains the run, and when this one does through
        another handle. Raises OperationError when the directory is gone or cannot be written.
        """
        if self._silent or self.training:
            return
        lock = files.FileLock(self.paths.lock)
        try:
            acquire(lock, self.name)
            self._manifest = read_manifest(self.paths.directory)
            host, earlier = socket.gethostname(), self._manifest.get("attempts") or ()
            started = {"started": time.time(), "pid": os.getpid(), "host": host, **how_started()}
            self.update(attempts=[*earlier, started], ending=None)
            files.make_directory(self.paths.checkpoints)
            recover(self.paths, only_here=all(attempt.get("host") == host for attempt in earlier))
            self._feed = StateFeed(self.paths)
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                shown = printable(str(self.paths.directory))
                raise OperationError(f"run {shown} cannot be written: {error.strerror or error}") from error
            raise
        self._lock = lock
        at_exit.watch(self)
        announce(self.id, self.paths.directory)

    def listen(self, listener: Callable[[TrainingState], None]) -> None:
        """Has this function told of every state that is emitted from now on, whether or not this handle writes."""
        self._listener = listener

    def emit(self, state: TrainingState) -> None:
        """Appends the scalars of a state to the live feed; its serialized states stay out.

        A disk that is full or gone does not stop the training: the first failure warns, later states try again.
        Raises UsageError when this handle does not train.
        """
        if self._listener is not None:
            self._listener(state)
        if self._silent:
            return
        if self._feed is None or not self.training:
            why = "open for reading only" if self._lock is None else "trained by the process that this was forked from"
            raise UsageError(f"run '{printable(self.name)}' is {why}", hint="Run.resume() trains it further")
        self._feed.append(state, self.attempt)

    def update(self, **fields: Any) -> None:
        """Writes fields of `run.json`, such as policy and monitor; what others changed in it meanwhile is kept.

        A new `config` goes into `config.yaml` too. Raises OSError.
        """
        if self._silent:
            return
        try:
            current = read_manifest(self.paths.directory)
        except (AddressError, OperationError):
            current = self._manifest
        changed = {**current, **fields}
        files.write_json(self.paths.manifest, changed)
        self._manifest = changed
        if "config" in fields:
            write_config(self.paths.directory, fields["config"])

    def flush(self) -> None:
        """Brings metrics.csv up to date; a disk that is full is told of and does not raise."""
        if self._feed is not None and self.training:
            self._feed.flush()

    def close(self, ending: Ending = "finished") -> None:
        """Waits for what is being saved, ends the attempt and gives up the lock; may be called twice.

        Raises SaveError, when all that is done, for a save that failed if nobody was told of it. An interrupt ends the
        wait and nothing else. In a process that was forked from the training nothing happens.
        """
        try:
            if self.training:
                self.under_way.finish()
        finally:
            try:
                self._end(ending)
            finally:
                self.under_way.end()

    def _end(self, ending: Ending) -> None:
        if self._lock is None or not self._lock.held:
            return
        lock, self._lock = self._lock, None
        at_exit.forget(self)
        try:
            if self._feed is not None:
                self._feed.close()
                self._feed = None
            attempts = [dict(attempt) for attempt in self._manifest["attempts"]]
            attempts[-1].update(ended=time.time(), ending=ending)
            self.update(attempts=attempts, ending=ending)
        except OSError as error:
            log.warning("the ending of run %s could not be written: %s", printable(self.name), error)
        finally:
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(ending_of(error))
        except Exception as failure:
            if error is None:
                raise
            log.error("%s", failure)

    def __repr__(self) -> str:
        place = "unknown directory" if self._directory is None else printable(str(self._directory))
        return f"<Run {place}{', silent' if self._silent else ''}{', training' if self.training else ''}>"
