"""What is known of all runs: in memory for every question, and one TinyDB document file a run to start from.

A cache and nothing else. A file that cannot be used is moved aside and the disk is looked at anew; one that a newer
ckptd wrote is refused.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document

from ckpt import encoding, files
from ckpt.exceptions import DaemonError
from ckpt.records import foreign_run_id
from ckpt.retention import Decision, RunPlan
from ckpt.scan import RunView

SCHEMA = 1
log = logging.getLogger("ckptd.catalog")


class DocumentStorage(Storage):
    """A TinyDB storage of one JSON file, encoded by msgspec and replaced atomically.

    Reading raises ValueError for what is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, dict[str, Any]] | None:
        """All tables; None when there is no file."""
        try:
            value = files.read_json(self._path)
        except FileNotFoundError:
            return None
        if not isinstance(value, dict):
            raise ValueError("not a document")
        return value

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Replaces all tables. Raises OSError; the old content then stays."""
        files.atomic_write(self._path, msgspec.json.encode(data), mode=0o600)


class Catalog:
    """All runs by id, in memory; written behind to `directory` by `flush`. May be used from several threads."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = threading.RLock()
        self._views: dict[str, RunView] = {}
        self._ids: dict[str, str] = {}
        self._changed: set[str] = set()
        self._gone: set[str] = set()

    def load(self) -> list[str]:
        """Takes what an earlier daemon wrote; returns what was moved aside.

        Raises DaemonError when a newer ckptd wrote it.
        """
        if self._directory is None:
            return []
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside: list[str] = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                document = TinyDB(path, storage=DocumentStorage).table("runs").get(doc_id=1)
                if not isinstance(document, Mapping):
                    raise ValueError("no run in it")
                if isinstance(document.get("schema"), int) and document["schema"] > SCHEMA:
                    raise DaemonError(
                        f"{path} was written by a newer ckptd (schema {document['schema']}, this one knows {SCHEMA})",
                        hint="update ckptd, or make the catalog anew with `ckptd rebuild`",
                    )
                view = _from_document(document["view"])
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                aside.append(path.name)
                log.warning("catalog file %s cannot be used (%s); it is moved aside", path.name, error)
                with contextlib.suppress(OSError):
                    os.replace(path, path.with_name(f"{path.name}.corrupt-{time.time_ns()}"))
                continue
            with self._lock:
                self._views[view.run.id] = view
                self._ids[view.run.path] = view.run.id
        return aside

    def clear_files(self) -> None:
        """Removes the files; `flush` then writes all runs anew."""
        if self._directory is not None and self._directory.is_dir():
            for path in self._directory.glob("*.json*"):
                path.unlink(missing_ok=True)
        with self._lock:
            self._changed = set(self._views)
            self._gone.clear()

    def all(self) -> list[RunView]:
        """All runs, the one that changed last first."""
        with self._lock:
            views = list(self._views.values())
        return sorted(views, key=lambda v: (-v.run.updated_at, v.run.path))

    def get(self, run: str) -> RunView | None:
        """A run by its id."""
        return self._views.get(run)

    def at(self, directory: str) -> RunView | None:
        """The run in a directory."""
        with self._lock:
            run = self._ids.get(directory)
            return None if run is None else self._views.get(run)

    def put(self, view: RunView) -> tuple[RunView | None, RunView]:
        """Takes a fresh look at a run; returns what was known before, and the run as it is kept.

        Of two directories with one run id the one that is known already keeps it; the other gets an id of its own.
        """
        with self._lock:
            view = self._distinct(view)
            before_id = self._ids.get(view.run.path)
            if before_id is not None and before_id != view.run.id:
                self._drop(before_id)
            old = self._views.get(view.run.id)
            self._views[view.run.id] = view
            self._ids[view.run.path] = view.run.id
            if old is None or not same(old, view):
                self._changed.add(view.run.id)
                self._gone.discard(view.run.id)
            return old, view

    def touch(self, run: str, **fields: Any) -> None:
        """Changes fields of a run's record that are told too often to be written each time."""
        with self._lock:
            view = self._views.get(run)
            if view is not None:
                self._views[run] = view.evolve(run=view.run.evolve(**fields))

    def remove(self, run: str) -> RunView | None:
        """Forgets a run; returns what was known of it."""
        with self._lock:
            view = self._views.get(run)
            if view is not None:
                self._drop(run)
            return view

    def flush(self) -> int:
        """Writes what changed since the last call; returns how many files. Raises OSError; the rest is tried again."""
        if self._directory is None:
            return 0
        with self._lock:
            changed = [self._views[run] for run in self._changed if run in self._views]
            gone = set(self._gone)
            self._changed.clear()
            self._gone.clear()
        for number, view in enumerate(changed):
            try:
                self._write(view)
            except OSError:
                with self._lock:
                    self._changed.update(v.run.id for v in changed[number:])
                    self._gone |= gone
                raise
        for run in gone:
            self._file(run).unlink(missing_ok=True)
        return len(changed) + len(gone)

    @property
    def waiting(self) -> int:
        """How many runs `flush` has to write or forget."""
        return len(self._changed) + len(self._gone)

    def _write(self, view: RunView) -> None:
        document = Document({"schema": SCHEMA, "written": time.time(), "view": _to_document(view)}, doc_id=1)
        path = self._file(view.run.id)
        try:
            TinyDB(path, storage=DocumentStorage).table("runs").upsert(document)
        except (ValueError, TypeError, AttributeError):
            path.unlink(missing_ok=True)
            TinyDB(path, storage=DocumentStorage).table("runs").upsert(document)

    def _file(self, run: str) -> Path:
        assert self._directory is not None
        safe = run if run.isalnum() and len(run) <= 64 else foreign_run_id("", run)
        return self._directory / f"{safe}.json"

    def _drop(self, run: str) -> None:
        view = self._views.pop(run)
        if self._ids.get(view.run.path) == run:
            del self._ids[view.run.path]
        self._changed.discard(run)
        self._gone.add(run)

    def _distinct(self, view: RunView) -> RunView:
        holder = self._views.get(view.run.id)
        if holder is None or holder.run.path == view.run.path:
            return view
        if not os.path.isdir(holder.run.path):
            # The directory was moved, not copied.
            self._ids.pop(holder.run.path, None)
            return view
        shown = encoding.printable(holder.run.path)
        return _with_id(view, foreign_run_id(view.run.id, view.run.path), f"a copy: its id belongs to {shown}")


def same(one: RunView, other: RunView) -> bool:
    """Whether two looks saw the same."""
    # NaN differs from itself; as text it does not.
    return one == other or repr(one) == repr(other)


def _with_id(view: RunView, run: str, problem: str) -> RunView:
    def renamed(decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
        return tuple(d.evolve(checkpoint=d.checkpoint.evolve(run=run)) for d in decisions)

    plan: RunPlan = view.plan.evolve(
        run=run, keep=renamed(view.plan.keep), remove=renamed(view.plan.remove), skip=renamed(view.plan.skip)
    )
    changed: RunView = view.evolve(
        run=view.run.evolve(id=run, problems=(*view.run.problems, problem)),
        checkpoints=tuple(c.evolve(run=run) for c in view.checkpoints),
        plan=plan,
    )
    return changed


def _to_document(view: RunView) -> Any:
    raw = _pack(msgspec.to_builtins(view))
    for decision in _decisions(raw):
        decision["checkpoint"] = decision["checkpoint"]["id"]
    return raw


def _from_document(raw: Any) -> RunView:
    """The view behind `_to_document`. Raises ValueError, KeyError, TypeError or AttributeError for another shape."""
    raw = _unpack(raw)
    known = {checkpoint["id"]: checkpoint for checkpoint in raw["checkpoints"]}
    for decision in _decisions(raw):
        decision["checkpoint"] = known[decision["checkpoint"]]
    return msgspec.convert(raw, RunView, strict=False)


def _decisions(raw: Any) -> list[dict[str, Any]]:
    return [decision for action in ("keep", "remove", "skip") for decision in raw["plan"][action]]


def _pack(value: Any) -> Any:
    """Plain data under the on-disk rules for numbers; text that is not UTF-8 keeps its bytes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else encoding.nonfinite_name(value)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return {"$b64": base64.b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii")}
        return value
    if isinstance(value, Mapping):
        return {encoding.printable(str(k)): _pack(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(v) for v in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {"$b64"}:
            return base64.b64decode(value["$b64"]).decode("utf-8", "surrogateescape")
        return {k: _unpack(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unpack(v) for v in value]
    return value
