"""Reads a torch distributed checkpoint that lies in a directory, or somewhere below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt.formats.containers.family import Content, Family
from ckpt.formats.directories.dcp.grid import Grid, Visits
from ckpt.formats.directories.dcp.home import ShardedHome
from ckpt.formats.directories.dcp.metadata import Described, Place, describe, merged, own_name
from ckpt.formats.directories.dcp.names import DATA, METADATA, RANK_METADATA
from ckpt.formats.directories.dcp.tree import nested
from ckpt.formats.directories.folder import Folder
from ckpt.formats.pickled import stream
from ckpt.formats.pickled.values import Tensor
from ckpt.formats.source import Damaged, TooLarge, Unfinished, Unreadable

UNFINISHED = ".metadata.tmp"
_NODES = 6_000_000  # what describes some sixty thousand chunks: a model of billions of parameters on 64 ranks
MAX_VALUES = 4096
MAX_VALUE_BYTES = 64 << 20


class DcpReader:
    """A torch distributed checkpoint among the files of a folder, all of whose names begin with `prefix`.

    `prefix` is "" or ends with a slash. `prove` comes first, then `tree`. All methods may raise Unreadable and OSError.
    """

    def __init__(self, folder: Folder, prefix: str = "") -> None:
        self.folder = folder
        self.prefix = prefix
        self.described = Described()
        self.home = ShardedHome({}, {}, self)
        self.unknown_globals: set[str] = set()
        self.omitted: list[str] = []
        """What `tree` left out, a sentence each."""
        self._names = [name[len(prefix) :] for name in folder.files if name.startswith(prefix)]

    @property
    def world_size(self) -> int:
        """How many ranks wrote it, by the names of its files; 0 when they do not tell."""
        ranks = [
            int(found[1]) for name in self._names if (found := DATA.fullmatch(name) or RANK_METADATA.fullmatch(name))
        ]
        return max(ranks, default=-1) + 1

    def prove(self) -> None:
        """Proves it whole: described, each tensor made up by its chunks, and each file as long as the chunks need."""
        unfinished = next((name for name in self._names if name.endswith(UNFINISHED)), None)
        if unfinished is not None:
            raise Unfinished(f"{self.prefix}{unfinished} is there: it is being written, or its writing was cut short")
        try:
            self.described = self._describe()
        except TooLarge as error:
            # It is there, so the writing was finished: what its name tells remains.
            self.omitted.append(f"all values and tensors: {error.problem}")
        self.omitted += dict.fromkeys(self.described.omitted)
        visits = Visits()
        grids: dict[str, Grid] = {}
        transformed: set[str] = set()
        for name, tensor in self.described.tensors.items():
            for chunk in tensor.chunks:
                self._prove_place(chunk.place)
                transformed.update(chunk.place.transforms)
            if len(tensor.chunks) == 1 and tensor.chunks[0].sizes == tensor.shape and not any(tensor.chunks[0].offsets):
                continue
            try:
                grids[name] = Grid(tensor.shape, tensor.chunks, visits)
            except Unreadable as error:
                raise type(error)(f"tensor {name!r}: {error.problem}") from None
        for place in self.described.values.values():
            self._prove_place(place)
        if transformed:
            self.omitted.append(f"the bytes of tensors that are kept as {', '.join(sorted(transformed))}")
        self.home = ShardedHome(self.described.tensors, grids, self)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by their flattened names."""
        return {name: self.home.tensor(name) for name in self.described.tensors}

    def values(self) -> dict[str, Any]:
        """What is no tensor, by its flattened name; `omitted` says so where some of it is not read."""
        found: dict[str, Any] = {}
        left = MAX_VALUE_BYTES
        for name, place in self.described.values.items():
            if len(found) >= MAX_VALUES or left < 0:
                self.omitted.append(f"{len(self.described.values) - len(found)} values that are no tensors")
                break
            if place.transforms:
                self.omitted.append(f"values that are kept as {', '.join(place.transforms)}")
                break
            content, cost = self._value(name, place)
            left -= cost
            self.unknown_globals.update(content.unknown_globals)
            found[name] = content.top
        return found

    def tree(self) -> dict[Any, Any]:
        """The state that was saved, tensors in it as descriptions that know where their bytes lie."""
        values: Mapping[str, Any] = {**self.tensors(), **self.values()}
        ordered = {name: values[name] for name in self.described.paths if name in values}
        return nested({**ordered, **values}, self.described.paths)

    def open_slice(self, place: Place) -> Family:
        """What reads the file of its own that lies in a slice of a file. Its problems are led by the file's name."""
        if place.transforms:
            raise TooLarge(f"what is kept as {', '.join(place.transforms)} is not read")
        name = self.prefix + place.file
        try:
            family = self.folder.inside(name, place.offset, place.length)
            family.prove()
        except TooLarge as error:
            raise TooLarge(f"{name}: {error.problem}") from None
        except Unreadable as error:
            # The file was proved long enough before, so what is cut off in it was never whole.
            raise Damaged(f"{name}: at byte {place.offset}: {error.problem}") from None
        return family

    def read_slice(self, place: Place, start: int, length: int) -> bytes:
        """`length` bytes of a slice from its byte `start` on."""
        return self.folder.source(self.prefix + place.file).read(place.offset + start, length)

    def _value(self, name: str, place: Place) -> tuple[Content, int]:
        try:
            family = self.open_slice(place)
            return family.read(), family.source.bytes_read
        except Unfinished as error:
            raise Damaged(f"value {name!r}: {error.problem}") from None
        except Unreadable as error:
            raise type(error)(f"value {name!r}: {error.problem}") from None

    def _describe(self) -> Described:
        if METADATA in self._names:
            return self._described_in(METADATA)
        ranks = {int(found[1]): name for name in self._names if (found := RANK_METADATA.fullmatch(name))}
        if not ranks:
            raise Unfinished(f"{self.prefix}{METADATA} is missing: it is being written, or its writing was cut short")
        missing = next((rank for rank in range(self.world_size) if rank not in ranks), None)
        if missing is not None:
            raise Unfinished(f"{self.prefix}__{missing}{METADATA} is missing: rank {missing} is not done")
        return merged(self._described_in(ranks[rank]) for rank in sorted(ranks))

    def _described_in(self, name: str) -> Described:
        raw = self.folder.raw(self.prefix + name, stream.MAX_PICKLE_BYTES)
        try:
            loaded = stream.load(raw, nodes=_NODES)
            self.unknown_globals.update(path for path in loaded.unknown if not own_name(path))
            return describe(loaded.value)
        except Unreadable as error:
            raise type(error)(f"{self.prefix}{name}: {error.problem}") from None

    def _prove_place(self, place: Place) -> None:
        name = place.file
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
            raise Damaged(f"its .metadata names the file {name[:200]!r}, which is outside of the checkpoint")
        member = self.folder.files.get(self.prefix + name)
        if member is None:
            raise Unfinished(f"{self.prefix}{name} is missing")
        if place.offset + place.length > member.info.st_size:
            raise Unfinished(f"{self.prefix}{name} ends before byte {place.offset + place.length}, where it should")
