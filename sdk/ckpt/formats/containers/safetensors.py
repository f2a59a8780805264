"""safetensors: a length, a JSON header, and the tensors' bytes side by side."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats import bounded_json, dtypes
from ckpt.formats.containers.family import Content, Family, digest, samples
from ckpt.formats.pickled.values import Storage, Tensor
from ckpt.formats.source import Damaged, Source, TooLarge, Unfinished

MAX_HEADER_BYTES = 16 << 20
FORMAT_MAX_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"


class Safetensors(Family):
    """A safetensors file. Whole when the offsets of its header cover the rest of the file exactly."""

    format: ClassVar[str] = "safetensors"
    framework: ClassVar[str] = "safetensors"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._header = b""
        self._texts: dict[str, str] = {}
        self._tensors: dict[str, Tensor] = {}
        self._ranges: dict[str, tuple[int, int]] = {}

    @classmethod
    def recognise(cls, source: Source) -> bool:
        head = source.head(9)
        if len(head) < 9:
            return len(head) > 0 and source.path.endswith(".safetensors")
        return head[8:] == b"{"

    def prove(self) -> None:
        if self.source.size < 9:
            raise Unfinished("it is shorter than any safetensors header")
        length = int.from_bytes(self.source.read(0, 8), "little")
        if length > FORMAT_MAX_HEADER_BYTES:
            raise Damaged(f"its header claims {length} bytes; the format allows {FORMAT_MAX_HEADER_BYTES}")
        if 8 + length > self.source.size:
            raise Unfinished(f"it ends inside its header of {length} bytes")
        if length > MAX_HEADER_BYTES:
            raise TooLarge(f"its header has {length} bytes, more than is read")
        self._header = self.source.read(8, length)
        tensors = self._parse(_decode(self._header))
        self._cover(self.source.size - 8 - length)
        self._tensors = tensors

    def read(self) -> Content:
        start = 8 + len(self._header)
        size = self.source.size.to_bytes(8, "little")
        places = [(start, self.source.size - start)]
        fingerprint = digest([self._header, size, *samples(self.source, places)])
        # Tensors know the file that holds them: handed over, they make no cycle that only the collector would break.
        tensors, self._tensors = self._tensors, {}
        return Content(tensors, f"safetensors:{fingerprint}", (), self._texts)

    def stored_bytes(self, storage: Storage) -> int | None:
        begin, end = self._ranges[storage.key]
        return end - begin

    def position(self, storage: Storage) -> int:
        return 8 + len(self._header) + self._ranges[storage.key][0]

    def _parse(self, header: dict[str, Any]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, value in header.items():
            if name == _METADATA:
                if type(value) is not dict or not all(type(text) is str for text in value.values()):
                    raise Damaged("its __metadata__ is not a mapping of texts")
                self._texts = value
                continue
            if type(value) is not dict or set(value) != {"dtype", "shape", "data_offsets"}:
                raise Damaged(f"its header does not describe tensor {name!r}")
            dtype = dtypes.SAFETENSORS.get(value["dtype"]) if type(value["dtype"]) is str else None
            shape, span = _sizes(value["shape"]), _sizes(value["data_offsets"])
            if dtype is None or shape is None or span is None or len(span) != 2 or span[0] > span[1]:
                raise Damaged(f"its header describes tensor {name!r} by what is no dtype, shape or range")
            count, stride = 1, []
            for extent in reversed(shape):
                stride.append(count)
                count *= extent
                if count >= 1 << 62:
                    raise Damaged(f"tensor {name!r} is larger than any file")
            if count * dtypes.ITEM_BYTES[dtype] != span[1] - span[0]:
                raise Damaged(f"tensor {name!r} does not fill its range of the file")
            held = Storage(dtype, name, "cpu", count, self)
            tensors[name] = Tensor(held, 0, shape, tuple(reversed(stride)), dtype)
            self._ranges[name] = (span[0], span[1])
        return tensors

    def _cover(self, room: int) -> None:
        reached = 0
        for begin, end in sorted(self._ranges.values()):
            if begin != reached:
                raise Damaged("its tensors overlap or leave a gap" if reached else "its tensors do not begin at 0")
            reached = end
        if reached > room:
            raise Unfinished(f"it ends {reached - room} bytes before its last tensor does")
        if reached < room:
            raise Damaged(f"there are {room - reached} bytes behind its last tensor")


def _sizes(value: Any) -> tuple[int, ...] | None:
    if type(value) is not list or len(value) > 64:
        return None
    return tuple(value) if all(type(n) is int and 0 <= n < 1 << 62 for n in value) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Damaged("its header names something twice")
    return found


def _no_constant(name: str) -> Any:
    raise Damaged(f"its header holds {name}, which JSON has not")


def _decode(header: bytes) -> dict[str, Any]:
    try:
        value = bounded_json.parse(header, _unique, _no_constant)
    except ValueError:
        raise Damaged("its header is not valid JSON") from None
    if type(value) is not dict:
        raise Damaged("its header is not a JSON object")
    return value
