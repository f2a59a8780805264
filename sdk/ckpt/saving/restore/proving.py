"""A file's bytes against what is stated of them, read beside whatever else reads the file."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import CorruptError
from ckpt.formats.checksums import stated
from ckpt.formats.source import Source, TooLarge, Unreadable
from ckpt.saving.when.history import read_marker

_PIECE = 4 << 20  # bytes
_Read = TypeVar("_Read")


def while_proving(path: Path, read: Callable[[], _Read]) -> _Read:
    """What `read` makes of a file, if the file is whole.

    The file is proven in a thread meanwhile: both take their time outside of the interpreter, and share what the
    system has read. Raises CorruptError for a damaged file, whatever `read` came to; else what `read` raises; OSError.
    """
    with ThreadPoolExecutor(1, "ckpt-proof") as beside:
        damage = beside.submit(damage_of, path)
        try:
            found = read()
        except FileNotFoundError:
            raise
        except Exception as error:
            _raise(path, damage.result(), error)
            raise
        _raise(path, damage.result(), None)
        return found


def damage_of(path: Path) -> str | None:
    """What is wrong with a file's bytes, as words; None when they are as stated.

    That is the BLAKE3 in the marker beside it, or else the CRC-32 of each part of a zip. Raises OSError.
    """
    marker = read_marker(path)
    written = marker.get("hash")
    if isinstance(written, str) and written.startswith("blake3:") and marker.get("file", path.name) == path.name:
        same = files.hash_file(path) == written.removeprefix("blake3:")
        return None if same else "its bytes are not those that were saved"
    with Source(str(path)) as source:
        try:
            for part in stated(source):
                crc = 0
                for start in range(part.start, part.start + part.length, _PIECE):
                    crc = zlib.crc32(source.read(start, min(_PIECE, part.start + part.length - start)), crc)
                if crc != part.crc:
                    return f"{printable(part.name)} does not have the content that was written"
        except TooLarge:
            return None
        except Unreadable as error:
            return printable(error.problem)
    return None


def _raise(path: Path, damage: str | None, cause: Exception | None) -> None:
    if damage is not None:
        raise CorruptError(f"{printable(str(path))} is damaged: {damage}") from cause
