"""Containers, numbers and bytes of Python itself."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.calls import construct
from ckpt.formats.pickled.keys import key
from ckpt.formats.pickled.values import Budget, Builder, SetOf


def _mapping(args: tuple[Any, ...], budget: Budget) -> Any:
    if not args:
        return {}
    budget.charge(len(args[0]))
    pairs = args[0].items() if type(args[0]) is dict else args[0]
    return {key(name): value for name, value in pairs}


def _default_mapping(args: tuple[Any, ...], budget: Budget) -> Any:
    return _mapping(args[1:], budget)


def _listing(args: tuple[Any, ...], budget: Budget) -> Any:
    budget.charge(1 + (len(args[0]) if args else 0))
    if args and type(args[0]) not in (list, tuple):
        raise TypeError("not a sequence")
    return list(args[0]) if args else []


def _set(args: tuple[Any, ...], budget: Budget) -> Any:
    return SetOf(_listing(args, budget))


def _tuple(args: tuple[Any, ...], budget: Budget) -> Any:
    return tuple(_listing(args, budget))


def _complex(args: tuple[Any, ...], budget: Budget) -> Any:
    if any(type(part) not in (int, float) for part in args):
        raise TypeError("not a number")
    return complex(*args)


def _encoded(args: tuple[Any, ...], budget: Budget) -> Any:
    text, encoding = args
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(encoding)
    budget.charge(len(text) >> 4)
    encoded: bytes = text.encode("latin-1")
    return encoded


def _bytes(args: tuple[Any, ...], budget: Budget) -> Any:
    if not args:
        return b""
    if type(args[0]) is str:
        return _encoded(args, budget)
    if type(args[0]) is not bytes:
        raise TypeError("not bytes")
    return args[0]


def _reconstructor(args: tuple[Any, ...], budget: Budget) -> Any:
    kind, _, state = args
    return construct(kind, () if state is None else (state,), budget)


ROWS: dict[str, Builder] = {
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_mapping,
    "collections.deque": _listing,
    "builtins.dict": _mapping,
    "builtins.list": _listing,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.tuple": _tuple,
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructor,
}
