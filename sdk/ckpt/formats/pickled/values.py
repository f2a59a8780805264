"""What stands in a pickle, as plain records: no class that a file names is ever looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ckpt.formats.source import TooLarge

MAX_NODES = 800_000
CONTAINER_NODES = 3  # what a list or a mapping takes without its items
OBJECT_NODES = 4  # what an opaque object takes


class Budget:
    """How much memory the values of one pickle may still take, copies counted, in nodes of about 64 bytes.

    `left` may be lowered directly where much is counted; `charge` raises TooLarge when it is spent.
    """

    __slots__ = ("_nodes", "left")

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self.left = self._nodes = nodes

    def charge(self, nodes: int) -> None:
        """Takes `nodes` off the budget."""
        self.left -= nodes
        if self.left < 0:
            raise TooLarge(f"its metadata takes more than {self._nodes * 64 >> 20} MB of memory")


Builder = Callable[[tuple[Any, ...], Budget], Any]


@dataclass(slots=True, eq=False)
class Global:
    """A name that the pickle imports.

    `builder` makes a plain value of a call to it, None for a name not known; `dtype` is that of a torch storage class.
    """

    path: str
    builder: Builder | None = None
    dtype: str | None = None


class Home(Protocol):
    """Where the bytes of storages lie: a file, or what several files make together. May raise Unreadable, OSError."""

    big_endian: bool

    def stored_bytes(self, storage: Storage) -> int | None:
        """How many bytes of a storage are there; None when it is not."""

    def checksum(self, storage: Storage) -> int:
        """CRC-32 of a storage's bytes as it is stated there; 0 when none is."""

    def bytes_of(self, storage: Storage, start: int, length: int) -> bytes:
        """`length` bytes of a storage from its byte `start` on."""


@dataclass(slots=True, eq=False)
class Storage:
    """The bytes that one or more tensors look at. `key` finds them in `home`; `count` elements of `dtype`."""

    dtype: str
    key: str
    location: str
    count: int
    home: Home | None = None
    parts: tuple[Storage, ...] = ()
    """Of bytes that lie in pieces of others: those."""


@dataclass(slots=True, eq=False)
class Tensor:
    """A view of a storage; offset and stride count elements. Without a storage it holds no bytes (meta device)."""

    storage: Storage | None
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


@dataclass(slots=True, eq=False)
class NumpyDtype:
    """A numpy dtype: its code (`f8`) and whether its bytes are big-endian."""

    code: str
    big_endian: bool = False


@dataclass(slots=True, eq=False)
class NumpyArray:
    """A numpy array whose bytes lie in the pickle itself."""

    dtype: NumpyDtype | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: bytes = b""


@dataclass(slots=True, eq=False)
class SetOf:
    """A set or frozenset: its items in the order of the file, which means nothing."""

    items: list[Any]


@dataclass(slots=True, eq=False)
class Opaque:
    """An object of a class that is not built: its name, and everything the pickle puts into it."""

    path: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: dict[Any, Any] = field(default_factory=dict)

    def attributes(self) -> Mapping[Any, Any]:
        """Its state as a mapping; {} when it is something else."""
        return self.state if isinstance(self.state, dict) else {}


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """The value as a mapping, if it is one: a dict, or an object with items or attributes of its own."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Opaque):
        return value.pairs or value.attributes() or None
    return None
