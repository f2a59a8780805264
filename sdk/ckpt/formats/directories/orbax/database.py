"""Keys of an OCDBT database (a B+tree in files, as Orbax keeps arrays), and where the bytes of their values lie.

Only the newest version is followed. Nodes are read whole and are small; values are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.orbax.frames import decompressed
from ckpt.formats.source import Damaged, TooLarge

_MANIFEST = 0x0CDB3A2A
_NODE = 0x0CDB20DE
_HEADER = 12  # magic and length
_CHECKSUM = 4
_MAX_NODE_BYTES = 64 << 20
_MAX_ALL_BYTES = 256 << 20
_MAX_KEYS = 500_000
_MAX_HEIGHT = 20
_MISSING = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Value:
    """Where a value lies: in a file of the folder from `offset` on, or, with `inline`, in the tree itself."""

    file: str
    offset: int
    length: int
    inline: bytes | None = None


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    transitive: str  # what leads the names of files in nodes that lie in this one


@dataclass(frozen=True, slots=True)
class _Node:
    file: _File
    offset: int
    length: int
    height: int
    prefix: bytes


class _Reader:
    """Numbers and bytes, one after the other. Raises Damaged at the end."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, length: int) -> bytes:
        if length > len(self._raw) - self._at:
            raise Damaged("a node of its array database ends too early")
        self._at += length
        return self._raw[self._at - length : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            part = self.byte()
            value |= (part & 0x7F) << shift
            if part < 0x80:
                return value
        raise Damaged("a node of its array database holds a number without an end")

    def numbers(self, count: int) -> list[int]:
        if count > len(self._raw) - self._at:
            raise Damaged("a node of its array database names more entries than it holds")
        return [self.number() for _ in range(count)]

    def prefixed(self, prefixes: list[int], suffixes: list[int]) -> list[bytes]:
        """Texts that share their first bytes with the one before; the first shares none."""
        found: list[bytes] = []
        total = 0
        for shared, own in zip([0, *prefixes], suffixes, strict=True):
            if found and shared > len(found[-1]):
                raise Damaged("a key of its array database shares more than there is")
            text = (found[-1][:shared] if found else b"") + self.take(own)
            total += len(text)
            if total > _MAX_NODE_BYTES:
                raise TooLarge("the keys of its array database are too long")
            found.append(text)
        return found


def values(folder: Folder, base: str) -> dict[str, Value]:
    """All keys of the database below `base` (with its slash, or "") of the folder, with their values' places.

    Raises Unfinished when a file is missing or cut short, Damaged, TooLarge, OSError.
    """
    return _Tree(folder, base).values()


class _Tree:
    def __init__(self, folder: Folder, base: str) -> None:
        self._folder = folder
        self._base = base
        self._left = _MAX_ALL_BYTES
        self._seen: set[_Node] = set()

    def values(self) -> dict[str, Value]:
        manifest = f"{self._base}manifest.ocdbt"
        raw = self._folder.raw(manifest, _MAX_NODE_BYTES)
        root = self._newest(self._body(manifest, raw, _MANIFEST))
        found: dict[str, Value] = {}
        pending = [root] if root is not None else []
        while pending:
            node = pending.pop()
            children, leaves = self._open(node)
            pending += children
            if len(pending) + len(found) + len(leaves) > _MAX_KEYS:
                raise TooLarge(f"its array database holds more than {_MAX_KEYS} keys")
            for key, value in leaves:
                found[key.decode("utf-8", "surrogateescape")] = value
        return found

    def _newest(self, reader: _Reader) -> _Node | None:
        reader.take(16)  # the database's id
        if reader.number():
            raise Damaged("its array database keeps its versions in other files, which is not read")
        reader.numbers(2)  # how long values in the tree and nodes may be
        reader.byte()
        if reader.number():
            reader.take(4)  # level of compression
        files = self._files(reader, "")
        count = reader.number()
        reader.numbers(count)  # generations
        heights = reader.take(count)
        ids, offsets, lengths = reader.numbers(count), reader.numbers(count), reader.numbers(count)
        if not count or (offsets[-1] == _MISSING and lengths[-1] == _MISSING):
            return None
        return _Node(_chosen(files, ids[-1]), offsets[-1], lengths[-1], heights[-1], b"")

    def _open(self, node: _Node) -> tuple[list[_Node], list[tuple[bytes, Value]]]:
        if node in self._seen or node.height > _MAX_HEIGHT:
            raise Damaged("the nodes of its array database are no tree")
        self._seen.add(node)
        if node.length > _MAX_NODE_BYTES:
            raise TooLarge(f"a node of its array database has {node.length} bytes, more than is read")
        raw = self._folder.source(node.file.name).read(node.offset, node.length)
        reader = self._body(node.file.name, raw, _NODE)
        if reader.byte() != node.height:
            raise Damaged("a node of its array database is not at the height that its parent says")
        files = self._files(reader, node.file.transitive)
        count = reader.number()
        if not count:
            raise Damaged("a node of its array database is empty")
        if node.height:
            return self._children(reader, files, count, node), []
        return [], self._leaves(reader, files, count, node)

    def _children(self, reader: _Reader, files: list[_File], count: int, node: _Node) -> list[_Node]:
        prefixes, suffixes = reader.numbers(count - 1), reader.numbers(count)
        common = reader.numbers(count)
        keys = reader.prefixed(prefixes, suffixes)
        ids, offsets, lengths = reader.numbers(count), reader.numbers(count), reader.numbers(count)
        return [
            _Node(_chosen(files, ids[i]), offsets[i], lengths[i], node.height - 1, node.prefix + keys[i][: common[i]])
            for i in range(count)
        ]

    def _leaves(self, reader: _Reader, files: list[_File], count: int, node: _Node) -> list[tuple[bytes, Value]]:
        prefixes, suffixes = reader.numbers(count - 1), reader.numbers(count)
        keys = reader.prefixed(prefixes, suffixes)
        lengths, kinds = reader.numbers(count), reader.numbers(count)
        outside = [index for index in range(count) if kinds[index]]
        ids, offsets = reader.numbers(len(outside)), reader.numbers(len(outside))
        places = {index: (_chosen(files, ids[n]).name, offsets[n]) for n, index in enumerate(outside)}
        found: list[tuple[bytes, Value]] = []
        for index, key in enumerate(keys):
            if index in places:
                name, offset = places[index]
                value = Value(name, offset, lengths[index])
            else:
                value = Value(node.file.name, node.offset, lengths[index], reader.take(lengths[index]))
            found.append((node.prefix + key, value))
        return found

    def _files(self, reader: _Reader, transitive: str) -> list[_File]:
        count = reader.number()
        prefixes, suffixes = reader.numbers(max(0, count - 1)), reader.numbers(count)
        bases = reader.numbers(count)
        paths = reader.prefixed(prefixes, suffixes) if count else []
        found: list[_File] = []
        for path, base in zip(paths, bases, strict=True):
            text = path.decode("utf-8", "surrogateescape")
            own = path[:base].decode("utf-8", "surrogateescape")
            found.append(_File(f"{self._base}{transitive}{text}", transitive + own))
        return found

    def _body(self, name: str, raw: bytes, magic: int) -> _Reader:
        """What stands behind the outer header, decompressed."""
        short = len(raw) < _HEADER + 2 + _CHECKSUM
        if short or int.from_bytes(raw[4:12], "little") != len(raw):
            raise Damaged(f"{name} does not have the length that it states")
        if int.from_bytes(raw[:4], "big") != magic or raw[_HEADER] or raw[_HEADER + 1] > 1:
            raise Damaged(f"{name} is no array database of a known version")
        body = raw[_HEADER + 2 : -_CHECKSUM]
        if raw[_HEADER + 1]:
            body = decompressed(name, body, min(self._left, _MAX_NODE_BYTES))
        self._left -= len(body)
        if self._left < 0:
            raise TooLarge(f"the nodes of its array database have more than {_MAX_ALL_BYTES} bytes")
        return _Reader(body)


def _chosen(files: list[_File], index: int) -> _File:
    if index >= len(files):
        raise Damaged("a node of its array database names a file that it does not list")
    return files[index]
