"""From an address to what it names: the disk for an existing path, the daemon for everything else."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ckpt.encoding import printable
from ckpt.exceptions import AddressError, CkptError
from ckpt.records import Checkpoint, Run, Verdict

if TYPE_CHECKING:
    from ckpt.client import Client
    from ckpt.scan import RunView


@dataclass(frozen=True)
class Place:
    """An address that stands for something on disk."""

    directory: Path
    """The run's."""
    file: Path | None = None
    """The checkpoint, a file or a directory, when the address is one."""
    selector: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether the whole run is named."""
        return self.file is None and self.selector is None


@dataclass(frozen=True)
class Found:
    """One checkpoint that an address named."""

    run: Run
    checkpoint: Checkpoint
    verdict: Verdict | None
    answer: Mapping[str, Any]
    """{"run", "checkpoint"} in the shapes of `--json`."""


class Lookup:
    """Finds what addresses name; connects to the daemon when it is first needed."""

    def __init__(self) -> None:
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The daemon, or what serves in its place. Raises DaemonError."""
        if self._client is None:
            from ckpt.client import Client

            self._client = Client.connect()
        return self._client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()

    def require_daemon(self) -> None:
        """Raises NoDaemonError, which says what to run, where only reads can be answered."""
        if self.client.mode == "once":
            # Without a daemon every change is refused, with the reason why none was started.
            self.client.post("/v1/undo")

    def view(self, address: str) -> Mapping[str, Any]:
        """A whole run: {"run", "checkpoints", "policy"}. Raises AddressError."""
        place = place_of(address)
        if place is not None:
            from ckpt.scan import run_view_to_json

            return run_view_to_json(read_place(place))
        answer: Mapping[str, Any] = self._asked("/v1/run", address, run=address)
        return answer

    def find(self, address: str) -> Found:
        """One checkpoint; a bare run means its latest. Raises AddressError, with the way back from the trash."""
        try:
            place = place_of(address)
            if place is None:
                return found_from_json(self._asked("/v1/resolve", address, ref=address))
        except AddressError as error:
            raise self.with_way_back(error, address) from None
        view = read_place(place)
        try:
            return _find_in(view, place)
        except AddressError as error:
            if place.selector is None:
                raise
            from ckpt_tui.removed import at_selector, entries_on_disk, with_way_back

            entries, _ = entries_on_disk(place.directory, [place.directory])
            raise with_way_back(error, address, at_selector(place.selector, entries)) from None

    def with_way_back(self, error: AddressError, address: str) -> AddressError:
        """The error, with the way back where the trashes that a running daemon knows hold what the address names."""
        from ckpt.protocol import run_from_json
        from ckpt_tui.removed import named, with_way_back

        try:
            if self._client is None:
                from ckpt.client import Client

                self._client = Client.connect(autostart=False)
            if self._client.mode != "daemon":
                return error
            runs = [run_from_json(raw) for raw in self._client.get("/v1/runs")["runs"]]
            found = named(address, self._client.get("/v1/trash")["entries"], runs)
        except CkptError:
            return error
        return error if found.is_run else with_way_back(error, address, found.entries)

    def _asked(self, route: str, address: str, **asked: str) -> Any:
        try:
            return self.client.get(route, **asked)
        except AddressError as error:
            place = address.rpartition("@")[0] or address
            if "/" not in place or os.path.lexists(place) or not error.message.startswith("no run is named"):
                raise
            # It may be meant as a path as well as the end of one.
            raise AddressError(
                f"there is no directory {printable(place)}, and no known run is named so",
                hint=_near(Path(place)) or error.hint,
                candidates=error.candidates,
            ) from None

    def names_run(self, address: str) -> bool:
        """Whether an address stands for a whole run, and not for one checkpoint of it."""
        place = place_of(address)
        if place is not None:
            return place.is_run
        if "@" in address:
            return False
        try:
            self.client.get("/v1/run", run=address)
        except AddressError:
            # It may be the id of a checkpoint; what it is not, `find` tells better.
            return False
        return True

    def local(self, found: Found) -> tuple[Run, Checkpoint]:
        """The same checkpoint as it lies on disk now, with all its files. Raises AddressError when it is gone."""
        from ckpt.scan import read_run, run_of

        directory, file = run_of(Path(found.checkpoint.path))
        view = read_run(directory, root=Path(found.run.root))
        checkpoint = _by_file(view, file or Path(found.checkpoint.path))
        if checkpoint is None or checkpoint.fingerprint != found.checkpoint.fingerprint:
            raise AddressError(
                f"{printable(found.checkpoint.path)} is not what it was: it was rewritten or removed",
                hint="`ckpt ls RUN` shows what is there now",
            )
        return view.run, checkpoint

    def run_names(self) -> dict[str, str]:
        """The shortest unique name of every known run, by id."""
        from ckpt import refs
        from ckpt.protocol import run_from_json

        return refs.short_names([run_from_json(raw) for raw in self.client.get("/v1/runs")["runs"]])


def place_of(address: str) -> Place | None:
    """What an address stands for on disk; None when it is no existing path, so the daemon has to be asked.

    Raises AddressError when the address can only be a path, and nothing is there.
    """
    if os.path.lexists(address):
        return _place(address, None)
    before, at, selector = address.rpartition("@")
    if at and selector and os.path.isdir(before):
        return _place(before, selector)
    if _only_a_path(address):
        raise AddressError(f"there is no {printable(address)}", hint=_near(Path(before if at else address)))
    return None


def _place(path: str, selector: str | None) -> Place:
    from ckpt.scan import run_of

    directory, file = run_of(Path(path))
    return Place(directory, file, selector)


def _only_a_path(address: str) -> bool:
    if address.startswith(("/", "./", "../", "~/")) or address in (".", ".."):
        return True
    from ckpt.formats.suffixes import may_be_file

    return "@" not in address and may_be_file(os.path.basename(address))


def _near(path: Path) -> str | None:
    """The names beside a path that does not exist which are most like it."""
    import difflib

    parent = path.parent
    try:
        names = os.listdir(parent)
    except OSError:
        return f"{printable(str(parent))} is no directory that can be read"
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return "did you mean " + " or ".join(printable(str(parent / name)) for name in near) + "?" if near else None


def read_place(place: Place) -> RunView:
    """The run at a place, read from disk."""
    from ckpt.paths import StatePaths
    from ckpt.scan import read_run, registered_root

    try:
        foreign_marks: Path | None = StatePaths.here().marks
    except (CkptError, OSError):
        foreign_marks = None
    return read_run(place.directory, root=registered_root(place.directory), foreign_marks=foreign_marks)


def _by_file(view: RunView, file: Path) -> Checkpoint | None:
    wanted = os.path.abspath(file)
    for checkpoint in view.checkpoints:
        if wanted == checkpoint.path or wanted in checkpoint.files:
            return checkpoint
    return None


def _find_in(view: RunView, place: Place) -> Found:
    from ckpt import refs
    from ckpt.protocol import checkpoint_to_json, run_to_json

    if place.file is not None:
        checkpoint = _by_file(view, place.file)
        if checkpoint is None:
            raise AddressError(
                f"{printable(str(place.file))} is no checkpoint of a run",
                hint="`ckpt inspect PATH` reads anything by itself",
            )
    else:
        checkpoint = refs.select(place.selector, view.checkpoints, view.run)
    verdict = view.verdict(checkpoint.id)
    answer = {"run": run_to_json(view.run), "checkpoint": checkpoint_to_json(checkpoint, verdict)}
    return Found(view.run, checkpoint, verdict, answer)


def other_parts(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The files of a checkpoint of several files besides the first, without what is only another name of one."""
    from ckpt.formats.suffixes import may_be_file

    held: set[tuple[int, int]] = set()
    parts: list[str] = []
    for path in dict.fromkeys((checkpoint.path, *checkpoint.files)):
        try:
            info = os.lstat(path)
        except OSError:
            continue
        if (info.st_dev, info.st_ino) in held or not stat.S_ISREG(info.st_mode):
            continue
        held.add((info.st_dev, info.st_ino))
        if path != checkpoint.path and may_be_file(os.path.basename(path)):
            parts.append(path)
    return tuple(parts)


def found_from_json(answer: Mapping[str, Any]) -> Found:
    """The records behind {"run", "checkpoint"}."""
    from ckpt.protocol import checkpoint_from_json, run_from_json

    raw = answer["checkpoint"]
    return Found(run_from_json(answer["run"]), checkpoint_from_json(raw), verdict_from_json(raw), answer)


def verdict_from_json(raw: Mapping[str, Any]) -> Verdict | None:
    """The verdict that stands beside a checkpoint in JSON."""
    import msgspec

    verdict = raw.get("verdict")
    return None if verdict is None else msgspec.convert(verdict, Verdict)
