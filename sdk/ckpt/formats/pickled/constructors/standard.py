"""Small values of Python's standard library: paths, decimals, namespaces."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.constructors.arguments import text
from ckpt.formats.pickled.values import Budget, Builder, Opaque


def _text(args: tuple[Any, ...], budget: Budget) -> Any:
    return text(args[0])


def _path(separator: str) -> Builder:
    def joined(args: tuple[Any, ...], budget: Budget) -> Any:
        parts = [part for part in args if type(part) is str]
        if len(parts) != len(args):
            raise TypeError("not a path")
        budget.charge(sum(map(len, parts)) >> 4)
        root = parts and parts[0].endswith(separator)
        return parts[0] + separator.join(parts[1:]) if root else separator.join(parts) or "."

    return joined


def _inert(path: str) -> Builder:
    def made(args: tuple[Any, ...], budget: Budget) -> Any:
        return Opaque(path, args)

    return made


ROWS: dict[str, Builder] = {
    "pathlib.Path": _path("/"),
    "pathlib.PosixPath": _path("/"),
    "pathlib.PurePosixPath": _path("/"),
    "pathlib.WindowsPath": _path("\\"),
    "pathlib.PureWindowsPath": _path("\\"),
    "decimal.Decimal": _text,
    "argparse.Namespace": _inert("argparse.Namespace"),
    "types.SimpleNamespace": _inert("types.SimpleNamespace"),
}
