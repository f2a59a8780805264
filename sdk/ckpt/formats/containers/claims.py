"""Files that no family recognises: what their names claim to be, and which other tools' files they are."""

from __future__ import annotations

import re

from ckpt.formats.containers.family import NotACheckpoint
from ckpt.formats.source import Damaged, Source

_CLAIMING = (".pt", ".pth", ".ckpt", ".safetensors", ".keras", ".h5", ".hdf5", ".zip")
_TORCHS = re.compile(r"(?:^|/)(?:(?:diffusion_)?pytorch_model|adapter_model|optimizer|scheduler)[^/]*\.bin$")
"""Names with a suffix of anybody's that only files of torch have."""

_OTHERS = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "RAR"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"GGUF", "GGUF"),
    (0, b"PAR1", "Parquet"),
    (0, b"ARROW1", "Arrow"),
    (0, b"SQLite format 3\0", "SQLite"),
    (4, b"TFL3", "TensorFlow Lite"),
)
"""Where a magic number stands, the number, and whose it is."""
_TAR_AT = 257
_TAR = b"ustar"


def unrecognised(source: Source) -> Damaged:
    """What to raise for a file that no family recognises: damage where its name claims a format. Raises OSError."""
    other = _other(source)
    if other is not None:
        return NotACheckpoint(f"no reader knows it: it is a file of {other}")
    if source.path.lower().endswith(_CLAIMING) or _TORCHS.search(source.path):
        return Damaged(f"it is not what its name says: {_looks(source.head(64))}")
    return NotACheckpoint("no reader knows it")


def _other(source: Source) -> str | None:
    for at, magic, name in _OTHERS:
        if source.head(at + len(magic))[at:] == magic:
            return name
    if source.size >= _TAR_AT + len(_TAR) and source.read(_TAR_AT, len(_TAR)) == _TAR:
        return "tar"
    return None


def _looks(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "it begins with zeros"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS to the file"
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return "it is a page of HTML"
    return "it is of no known format"
