"""From names and inodes to checkpoints: which files of a run are one, and which only belong to one. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ckpt.encoding import printable
from ckpt.formats.directories.belonging import dating
from ckpt.paths import is_step
from ckpt.scan.finding import may_be_checkpoint
from ckpt.scan.listing import Directory, Entry, Listing
from ckpt.scan.names import Series, epoch_of_dated, epoch_of_metadata, is_moving, owners_of, series_of

_Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Unit:
    """One checkpoint: a file, several files of one step, or a directory."""

    name: str
    """Relative to the run; for several files that of the first."""
    path: str
    files: tuple[Entry, ...] = ()
    """What is read for what it says; empty for a directory."""
    sides: tuple[Entry, ...] = ()
    """Files beside it that belong to it."""
    directory: Directory | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    """Its other names, hard links and symbolic ones: relative to the run, and as paths."""
    linked: tuple[Entry, ...] = ()
    """Those of them that are hard links."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All that moves together, `path` first."""
        parts = [entry.path for entry in (*self.files, *self.sides)]
        return (self.path, *(p for p in parts if p != self.path), *(path for _, path in self.aliases))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All regular files of it, each once."""
        return (*self.files, *self.sides) if self.directory is None else self.directory.members

    @property
    def names(self) -> tuple[Entry, ...]:
        """Every name of a regular file that is gone when the checkpoint is."""
        return tuple(entry for entry in (*self.entries, *self.linked) if not entry.led_to)

    @property
    def touched(self) -> float:
        """When anything in it was written last, parts of it or not, in Unix seconds."""
        return max((entry.info.st_mtime for entry in self.entries), default=self.newest)

    @property
    def newest(self) -> float:
        """When something that makes it up was written last, in Unix seconds."""
        if self.directory is None:
            return max((entry.info.st_mtime for entry in self.entries), default=0.0)
        written = {entry.name: entry.info.st_mtime for entry in self.directory.members}
        # A directory in which nothing lies yet was made at that time.
        return max((written[name] for name in dating(written)), default=self.directory.info.st_mtime)


def units(listed: Listing) -> tuple[list[Unit], list[str]]:
    """The checkpoints of a run, and what is wrong with the links in it."""
    objects, others = _by_inode(listed.files)
    found = [*_grouped(objects), *(Unit(d.name, d.path, directory=d) for d in listed.directories)]
    holders: dict[_Inode, int] = {}
    linked: list[list[Entry]] = [[] for _ in found]
    aliases: list[list[tuple[str, str]]] = [[] for _ in found]
    for place, unit in enumerate(found):
        if unit.directory is not None:
            holders[unit.directory.inode] = place
        for entry in (*unit.files, *unit.sides):
            holders[entry.inode] = place
            linked[place] += others.get(entry.inode, ())
        aliases[place] += [(other.name, other.path) for other in linked[place]]
    stepped: dict[str, list[int]] = {}
    for place, unit in enumerate(found):
        stepped.setdefault(os.path.dirname(unit.name), []).append(place)
    problems: list[str] = []
    for link in listed.links:
        if link.info is None:
            problems.append(f"{printable(os.path.basename(link.name))} points to nothing")
            continue
        target = (link.info.st_dev, link.info.st_ino)
        step = listed.steps.get(target)
        for holder in [holders[target]] if target in holders else stepped.get(step, []) if step is not None else []:
            aliases[holder].append((link.name, link.path))
    named = zip(found, aliases, linked, strict=True)
    return [replace(unit, aliases=tuple(names), linked=tuple(hard)) for unit, names, hard in named], problems


def size(entries: Iterable[Entry]) -> int:
    """The bytes of some files, each inode once."""
    return sum({entry.inode: entry.info.st_size for entry in entries}.values())


def _by_inode(files: Iterable[Entry]) -> tuple[list[Entry], dict[_Inode, list[Entry]]]:
    """The files, each by the name that stays with it, and the other names by inode."""
    names: dict[_Inode, list[Entry]] = {}
    for entry in files:
        names.setdefault(entry.inode, []).append(entry)
    objects: list[Entry] = []
    others: dict[_Inode, list[Entry]] = {}
    for inode, entries in names.items():
        entries.sort(key=lambda entry: (is_moving(os.path.basename(entry.name)), entry.name))
        objects.append(entries[0])
        if len(entries) > 1:
            others[inode] = entries[1:]
    return sorted(objects, key=lambda entry: entry.name), others


def _grouped(objects: list[Entry]) -> list[Unit]:
    """Files of one step together, and what belongs to them with them."""
    places: dict[str, list[Entry]] = {}
    for entry in objects:
        places.setdefault(os.path.dirname(entry.name), []).append(entry)
    dated: dict[str, list[Entry]] = {}
    for entry in objects:
        epoch = epoch_of_dated(os.path.basename(entry.name))
        if epoch is not None:
            dated.setdefault(epoch, []).append(entry)
    beside = {
        weights[0].inode: entry
        for entry in objects
        if (epoch := epoch_of_metadata(entry.name)) is not None and len(weights := dated.get(epoch, [])) == 1
    }
    found: list[Unit] = []
    for place, entries in places.items():
        together = _in_one_place([entry for entry in entries if epoch_of_metadata(entry.name) is None])
        if is_step(place) and len(together) > 1:
            together = [_joined(together)]
        for unit in together:
            side = beside.get(unit.files[0].inode)
            found.append(unit if side is None else replace(unit, sides=(*unit.sides, side)))
    return found


def _joined(parts: list[Unit]) -> Unit:
    """What lies in the directory of one step, led by the model where one is named so."""
    ordered = sorted(parts, key=lambda unit: ("model" not in os.path.basename(unit.name).lower(), unit.name))
    files = tuple(file for unit in ordered for file in unit.files)
    sides = tuple(side for unit in ordered for side in unit.sides)
    return Unit(files[0].name, files[0].path, files, sides)


def _in_one_place(entries: list[Entry]) -> list[Unit]:
    members: dict[str | Series, list[Entry]] = {}
    orphans: list[Entry] = []
    sides: list[tuple[Entry, tuple[str | Series, ...]]] = []
    for entry in entries:
        name = os.path.basename(entry.name)
        owners = owners_of(name)
        if owners:
            sides.append((entry, owners))
        else:
            members.setdefault(series_of(name) or name, []).append(entry)
    # A side file does not say how many shards there are.
    known: dict[str | Series, str | Series] = {}
    for key in members:
        known[key] = key
        if isinstance(key, Series):
            known[Series(key.stem, key.suffix)] = key
    belonging: dict[str | Series, list[Entry]] = {}
    for entry, owners in sides:
        owner = next((known[key] for key in owners if key in known), None)
        if owner is None:
            orphans.append(entry)
        else:
            belonging.setdefault(owner, []).append(entry)
    alone = [[entry] for entry in orphans if may_be_checkpoint(os.path.basename(entry.name))]
    return [
        Unit(files[0].name, files[0].path, tuple(files), tuple(belonging.get(key, ()) if key is not None else ()))
        for key, files in [*members.items(), *((None, files) for files in alone)]
    ]
