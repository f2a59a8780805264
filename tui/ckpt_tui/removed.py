"""Which entries of the trash an address names, and what to say of an address whose checkpoint lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt import refs
from ckpt.encoding import path_from_fields, printable, quoted
from ckpt.exceptions import AddressError
from ckpt.records import Run

Entry = Mapping[str, Any]

_SHOWN = "`ckpt trash ls` shows what is there"
_LEAST = 6  # characters from which on the beginning of an id is one


@dataclass(frozen=True)
class Named:
    """What a word names in the trash."""

    entries: Sequence[Entry]
    is_run: bool = False
    """Whether it is all that lies there of a run."""


def named(word: str, entries: Sequence[Entry], runs: Sequence[Run]) -> Named:
    """What a word names: an entry by its id or its file's name, the entries of a plan, of RUN@SELECTOR, or of a run.

    Raises AddressError when it names nothing that lies there, or files of the same name in several places.
    """
    for found in (_by_id(word, entries), _by_plan(word, entries), _by_name(word, entries)):
        if found:
            return Named(found)
    run, at, selector = word.rpartition("@")
    mine = _of_run(run if at else word, entries, runs)
    found = at_selector(selector, mine) if at else mine
    if found:
        return Named(found, is_run=not at)
    if mine:
        known = [f"{printable(run)}@step:{step}" for entry in mine if (step := _checkpoint(entry).get("step"))]
        raise AddressError(
            f"nothing of run '{printable(run)}' at '{printable(selector)}' lies in the trash",
            hint=f"there are: {', '.join(known[:8])}" if known else _SHOWN,
            candidates=known[:50],
        )
    raise AddressError(
        f"'{printable(word)}' names nothing in the trash",
        hint=f"{_SHOWN}; what was purged cannot come back",
        candidates=[str(entry["id"]) for entry in entries][:50],
    )


def at_selector(selector: str, entries: Sequence[Entry]) -> list[Entry]:
    """Those of a run's entries that a selector names."""
    return [entry for entry in entries if _is_at(entry, selector)]


def with_way_back(error: AddressError, address: str, entries: Sequence[Entry]) -> AddressError:
    """The error of an address, with the way back to the entry that it names; as it is where that is not one."""
    if len(entries) != 1:
        return error
    from ckpt_tui.render.words import ago

    (entry,) = entries
    name = str(entry["id"]) if "/" in address else quoted(address)
    when, back = ago(entry["trashed_at"]), f"`ckpt trash restore {name}` brings it back"
    return AddressError(error.message, hint=f"it was moved to the trash {when}; {back}", candidates=error.candidates)


def entries_on_disk(directory: Path, runs: Sequence[Path]) -> tuple[list[Entry], dict[str, str]]:
    """What lies in the trash of runs in or below a directory, newest first, with the names of the runs by their ids."""
    from ckpt.paths import RunPaths
    from ckpt.scan import is_own, registered_root
    from ckpt.trash import Trash, entry_to_json, placing

    trashes = [Trash(RunPaths(run).trash) for run in runs if is_own(run)]
    root = registered_root(directory) or directory
    trashes += [found.open() for found in placing.existing(root)]
    prefix = os.path.join(directory, "")
    entries = [entry for trash in trashes for entry in trash.entries() if entry.path.startswith(prefix)]
    entries.sort(key=lambda entry: entry.trashed_at, reverse=True)
    return [entry_to_json(entry) for entry in entries], {
        entry.run: os.path.relpath(os.path.dirname(entry.path), root) if not is_own(directory) else directory.name
        for entry in entries
    }


def _by_id(word: str, entries: Sequence[Entry]) -> list[Entry]:
    """By the id of the entry, else by that of the checkpoint; a unique beginning will do."""
    for ids in ([str(entry["id"]) for entry in entries], [str(_checkpoint(entry).get("id")) for entry in entries]):
        told = list(zip(ids, entries, strict=True))
        found = [entry for name, entry in told if name == word]
        found = found or [entry for name, entry in told if len(word) >= _LEAST and name.startswith(word)]
        if found:
            return _single(word, found)
    return []


def _by_plan(word: str, entries: Sequence[Entry]) -> list[Entry]:
    plans = {str(entry["plan"]) for entry in entries if entry["plan"]}
    fitting = {plan for plan in plans if plan == word or (len(word) >= _LEAST and plan.startswith(word))}
    return [entry for entry in entries if entry["plan"] in fitting] if len(fitting) == 1 else []


def _by_name(word: str, entries: Sequence[Entry]) -> list[Entry]:
    path = os.path.abspath(word) if "/" in word else None
    found = [entry for entry in entries if word in _names(entry) or path == path_from_fields(entry)]
    return _single(word, found)


def _single(word: str, found: list[Entry]) -> list[Entry]:
    if len(found) > 1:
        told = [f"{entry['id']} ({printable(path_from_fields(entry))})" for entry in found]
        raise AddressError(
            f"'{printable(word)}' names {len(found)} entries of the trash",
            hint="say which: " + ", ".join(told[:8]),
            candidates=[str(entry["id"]) for entry in found],
        )
    return found


def _of_run(word: str, entries: Sequence[Entry], runs: Sequence[Run]) -> list[Entry]:
    try:
        run = refs.find_run(word, runs).id
    except AddressError as error:
        if error.message.endswith("runs"):
            raise
        return []
    return [entry for entry in entries if entry["run"] == run]


def _is_at(entry: Entry, selector: str) -> bool:
    kind, colon, value = selector.partition(":")
    if colon and kind in ("step", "epoch"):
        try:
            return _checkpoint(entry).get(kind) == float(value)
        except ValueError:
            return False
    return selector in _names(entry) or selector in (_checkpoint(entry).get("tags") or ())


def _names(entry: Entry) -> Iterator[str]:
    name = os.path.basename(path_from_fields(entry).rstrip("/"))
    yield name
    if "." in name[1:]:
        yield name.rpartition(".")[0]


def _checkpoint(entry: Entry) -> Mapping[str, Any]:
    found: Mapping[str, Any] = entry.get("checkpoint") or {}
    return found
