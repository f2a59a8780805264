"""What stands in for other makers' classes while their files are read: records of what was there, running nothing.

The first writer of format v1 pickles dataclasses, members of enumerations, paths and NumPy arrays. A stand-in keeps
what it is called with and gives the plain value of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ckpt.exceptions import FormatError

_FIRST_WRITER = re.compile(r"model_training_framework\.[A-Za-z0-9_.]+")
_MOST = 2_000_000
"""Values that a file may hold outside of its tensors."""


class _Thing:
    """An object of a class that is not here: arguments and fields."""

    def __new__(cls, *args: Any) -> _Thing:
        made = super().__new__(cls)
        made.args = args
        made.fields = {}
        return made

    args: tuple[Any, ...]
    fields: dict[Any, Any]

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, Mapping):
                self.fields.update(part)

    def plain(self) -> Any:
        """Fields as a mapping; of a member of an enumeration its value."""
        return self.args[0] if len(self.args) == 1 and not self.fields else self.fields


class _Path(_Thing):
    def plain(self) -> Any:
        return "/".join(str(part) for part in self.args).replace("//", "/")


class _Dtype(_Thing):
    def plain(self) -> Any:
        name = self.args[0] if self.args else None
        if not isinstance(name, str) or re.fullmatch(r"[biufc]\d{1,2}|bool", name) is None:
            raise FormatError(f"an array of {name!r} is not read")
        return np.dtype(name)


class _Array(_Thing):
    """An array as NumPy pickles it: version, shape, dtype, order, bytes."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def plain(self) -> Any:
        _, shape, dtype, fortran, data = self.state
        return np.frombuffer(data, dtype.plain()).reshape(shape, order="F" if fortran else "C").copy()


class _Scalar(_Thing):
    def plain(self) -> Any:
        dtype, data = self.args
        return np.frombuffer(data, dtype.plain())[0].item()


class _Member(_Thing):
    """A member of an enumeration by its name, as the first releases of Python 3.11 pickle it."""

    def plain(self) -> Any:
        """Its value: those of the format's first writer are their names in small letters."""
        match self.args:
            case (type() as holder, str(name)) if issubclass(holder, _Thing) and re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
                return name.lower()
        raise FormatError("an attribute of an object is not read")


def _named(kind: type[_Thing]) -> type[_Thing]:
    """A class of its own for each name: a safe loader tells them apart by identity."""
    return type(kind.__name__, (kind,), {})


def stand_in(name: str) -> type[_Thing] | None:
    """What stands in for a class or function of that full name; None for a name that has no plain meaning."""
    if name in ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct", "numpy.ndarray"):
        return _named(_Array)
    if name in ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"):
        return _named(_Scalar)
    if name == "numpy.dtype" or re.fullmatch(r"numpy\.dtypes?\[?\w*\]?", name):
        return _named(_Dtype)
    if name in ("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.Path") or name in (
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
    ):
        return _named(_Path)
    if name == "builtins.getattr":
        return _named(_Member)
    if name in ("argparse.Namespace", "types.SimpleNamespace") or _FIRST_WRITER.fullmatch(name):
        return _named(_Thing)
    return None


def without_stand_ins(value: Any, where: str = "", depth: int = 0) -> Any:
    """The value with plain ones in the places of all stand-ins. Raises FormatError where that is not possible."""
    return _Walk().plain(value, where, depth)


class _Walk:
    def __init__(self) -> None:
        self._left = _MOST

    def plain(self, value: Any, where: str, depth: int) -> Any:
        self._left -= 1
        if depth > 100 or self._left < 0:
            raise FormatError(f"{where[:200]} is nested too deeply or too large")
        if isinstance(value, _Thing):
            try:
                found = value.plain()
            except FormatError as error:
                raise FormatError(f"{where}: {error.message}") from error
            except Exception as error:
                raise FormatError(f"{where} cannot be read: {error}") from error
            return found if isinstance(found, np.ndarray) else self.plain(found, where, depth + 1)
        kind = type(value)
        if kind is list or kind is tuple:
            return kind(self.plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value))
        if isinstance(value, dict):
            try:
                pairs = [(self.plain(key, where, depth + 1), item) for key, item in value.items()]
                made = {key: self.plain(item, f"{where}.{key}", depth + 1) for key, item in pairs}
            except TypeError as error:
                raise FormatError(f"{where[:200]} has a key that is none: {error}") from error
            if kind is dict:
                return made
            value.clear()
            value.update(made)
        return value
