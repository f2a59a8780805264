"""What a removal takes: the names of its files inside the base directory, and what they are at that moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.trash.entries import Item
from ckpt.trash.folder import opened
from ckpt.trash.moves import ENTRY_FILE
from ckpt.trash.stamps import Stamp, stamp_at


def choose(
    files: Sequence[Path], base: Path, trash: Path, expected: Mapping[str, Stamp | None] | None = None
) -> tuple[list[Item], dict[str, Stamp]]:
    """The items behind paths below `base`, and their stamps by the items' names. What lies in another one is left out.

    Raises UsageError for no path, or one that is outside; OperationError for one that is missing, a symbolic link or
    reached through one, or not what `expected` (by path) says of it.
    """
    names = _outermost(_name_of(path, base, trash) for path in files)
    if not names:
        raise UsageError("a removal needs at least one file")
    wanted = None if expected is None else {_name_of(Path(path), base, trash): s for path, s in expected.items()}
    found = [_look(name, base) for name in names]
    stamps = {item.name: stamp for item, stamp in found}
    for name, stamp in stamps.items():
        if wanted is not None and wanted.get(name) != stamp:
            raise OperationError(
                f"{printable(str(base / name))} is not what the plan saw: it has changed since, and stays",
                hint="plan again",
            )
    return [item for item, _ in found], stamps


def _name_of(path: Path, base: Path, trash: Path) -> str:
    """The name of a path inside the base directory; the base may have been reached through links."""
    whole = os.path.abspath(path)
    for start in (base, base.resolve()):
        name = os.path.relpath(whole, start) if whole.startswith(str(start).rstrip(os.sep) + os.sep) else None
        if name is not None:
            break
    if name is None:
        raise UsageError(
            f"{printable(whole)} is not below {printable(str(base))}",
            hint="a trash takes only files of the directory that it belongs to",
        )
    parts = Path(name).parts
    own = trash.relative_to(base).parts if trash.is_relative_to(base) else ()
    if (own and (parts[: len(own)] == own or parts == own[: len(parts)])) or name == ENTRY_FILE:
        raise UsageError(f"{printable(whole)} cannot be removed into the trash", hint="name files of a checkpoint")
    return "/".join(parts)


def _outermost(names: Iterable[str]) -> list[str]:
    """The names in their order, each once, without those that lie in a directory that is named too."""
    distinct = dict.fromkeys(names)
    return [name for name in distinct if not any(str(parent) in distinct for parent in Path(name).parents)]


def _look(name: str, base: Path) -> tuple[Item, Stamp]:
    parts = name.split("/")
    shown = printable(str(base / name))
    try:
        with opened(base, parts[:-1]) as home:
            info = home.look(parts[-1])
            if info is None:
                raise OperationError(f"{shown} does not exist")
            if not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
                what = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "neither a file nor a directory"
                raise OperationError(f"{shown} is {what}, and is not removed")
            stamp = stamp_at(home, parts[-1])
    except OSError as error:
        raise OperationError(f"{shown} cannot be removed: {error.strerror}") from error
    item = Item(name=name, inode=info.st_ino, bytes=info.st_size, mtime_ns=info.st_mtime_ns, digest=stamp.digest)
    return item, stamp
