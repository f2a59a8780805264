"""Zip files that lie about what is in them, and files that are two things at once, by name."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

SOUND = b"\x80\x02}X\x05\x00\x00\x00epochK\x03s."
EVIL = b"cos\nsystem\n(S'true'\ntR."


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these entries."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return raw.getvalue()


def torch_zip(pickled: bytes, **storages: bytes) -> bytes:
    """A torch file around a pickle."""
    return archive(
        {
            "archive/data.pkl": pickled,
            **{f"archive/data/{k}": v for k, v in storages.items()},
            "archive/version": b"3\n",
        }
    )


def _local(name: bytes, size: int, crc: int, *, method: int = 0, flags: int = 0, extra: bytes = b"") -> bytes:
    head = (b"PK\x03\x04", 20, flags, method, 0, 0, crc, size, size, len(name), len(extra))
    return struct.pack("<4s5H3I2H", *head) + name + extra


def _central(name: bytes, size: int, crc: int, offset: int, *, packed: int | None = None, method: int = 0) -> bytes:
    head = (b"PK\x01\x02", 20, 20, 0, method, 0, 0, crc, size if packed is None else packed, size, len(name))
    return struct.pack("<4s6H3I5H2I", *head, 0, 0, 0, 0, 0, offset) + name


def _end(count: int, length: int, offset: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, length, offset, len(comment)) + comment


def _joined(body: bytes, records: bytes, count: int, comment: bytes = b"") -> bytes:
    return body + records + _end(count, len(records), len(body), comment)


def _fifield(layers: int) -> bytes:
    """Entries that quote the headers of those behind them, so that one kernel stands for all (David Fifield, 2019)."""
    kernel = zlib.compress(bytes(1 << 20), 9)[2:-4]
    body, records = b"", b""
    for index in range(layers):
        name = b"archive/data/%d" % index
        records += _central(name, 1 << 20, zlib.crc32(bytes(1 << 20)), len(body), packed=len(kernel) + 40, method=8)
        body += _local(name, 1 << 20, 0, method=8)
    return _joined(body + kernel, records, layers)


def _overlaps() -> Iterator[tuple[str, bytes]]:
    yield "quoted overlap", _fifield(200)
    name = b"archive/data.pkl"
    body = _local(name, len(SOUND), zlib.crc32(SOUND)) + SOUND
    one = _central(name, len(SOUND), zlib.crc32(SOUND), 0)
    yield (
        "one header for many entries",
        _joined(body, b"".join(_central(b"archive/d%03d.pkl" % n, len(SOUND), 0, 0) for n in range(900)) + one, 901),
    )
    yield "entry that is the directory", _joined(body, one + _central(b"archive/data/0", 4, 0, len(body)), 2)
    yield "entry behind the file", _joined(body, one + _central(b"archive/data/0", 4, 0, 1 << 31), 2)
    yield (
        "entry that is too long",
        _joined(body, one.replace(struct.pack("<I", len(SOUND)), struct.pack("<I", 1 << 30)), 1),
    )
    yield "two names for one pickle", _joined(body, one + one, 2)
    yield "other name in its own header", _joined(body.replace(b"data.pkl", b"data.pkx"), one, 1)
    yield "other checksum in its own header", _joined(_local(name, len(SOUND), 7) + SOUND, one, 1)
    yield "other size in its own header", _joined(_local(name, 3, zlib.crc32(SOUND)) + SOUND, one, 1)
    yield (
        "other method in its own header",
        _joined(_local(name, len(SOUND), zlib.crc32(SOUND), method=8) + SOUND, one, 1),
    )
    yield (
        "extra field beyond the file",
        _joined(_local(name, len(SOUND), zlib.crc32(SOUND), extra=bytes(60000)), one, 1),
    )
    hidden = _local(name, len(EVIL), zlib.crc32(EVIL)) + EVIL
    yield "hidden pickle before", _joined(hidden + body, _central(name, len(SOUND), zlib.crc32(SOUND), len(hidden)), 1)
    yield "two roots", archive({"b/data.pkl": SOUND, "a/data.pkl": EVIL})
    yield "no root", archive({"data.pkl": SOUND})
    yield "root upwards", archive({"../../data.pkl": SOUND, "../../data/0": b"1234"})
    yield "root absolute", archive({"/etc/data.pkl": SOUND})
    yield "names of escapes", archive({"\x1b[31m\n/data.pkl": SOUND, "\x1b[31m\n/\x07": b"x"})


def _ends() -> Iterator[tuple[str, bytes]]:
    whole = torch_zip(SOUND)
    at = whole.rindex(b"PK\x05\x06")
    start = whole.index(b"PK\x01\x02")
    yield "a comment", whole[:-2] + struct.pack("<H", 5) + b"hello"
    yield "a comment that is an end", whole[:-2] + struct.pack("<H", 22) + _end(0, 0, 0)
    yield "a comment of ends", whole[:-2] + struct.pack("<H", 22 * 2900) + _end(1, 1, 1) * 2900
    yield "a comment cut short", whole[:-2] + struct.pack("<H", 50) + b"hello"
    yield "two ends", whole + _end(3, at - start, start)
    yield "ends without number", b"PK\x03\x04" + b"PK\x05\x06" * 200_000
    yield (
        "entries without number",
        whole[:start] + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65534, 65534, len(whole) - start, start, 0),
    )
    yield "empty directory", whole[:start] + _end(0, 0, start)
    yield "directory before the file", whole[:at] + _end(3, at - start, 1 << 31)
    yield "directory of 4 GB", whole[:at] + _end(3, 0xFFFFFFFE, 0)
    yield "several disks", whole[:at] + struct.pack("<4s4H2IH", b"PK\x05\x06", 1, 0, 3, 3, at - start, start, 0)
    for lie in (0, 1, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1):
        wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, at - start, lie)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
        narrow = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        yield f"zip64 offset {lie}", whole[:at] + wide + locator + narrow
        elsewhere = struct.pack("<4sIQI", b"PK\x06\x07", 0, lie, 1)
        yield f"zip64 part at {lie}", whole[:at] + wide + elsewhere + narrow
        many = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, lie, lie, at - start, start)
        yield f"zip64 count {lie}", whole[:at] + many + locator + narrow
    yield "zip64 part missing", whole[:at] + narrow
    record = _central(b"archive/data.pkl", 0xFFFFFFFF, 0, 0, packed=0xFFFFFFFF)
    yield "zip64 sizes missing", _joined(b"PK\x03\x04" + bytes(60), record, 1)


def _many() -> Iterator[tuple[str, bytes]]:
    for count in (65_000, 95_000, 600_000):
        names = [b"a/%d" % n for n in range(count)]
        head = _local(b"a/data.pkl", len(SOUND), zlib.crc32(SOUND)) + SOUND
        records = [_central(b"a/data.pkl", len(SOUND), zlib.crc32(SOUND), 0)]
        body, offset = [head], len(head)
        for name in names:
            body.append(_local(name, 0, 0))
            records.append(_central(name, 0, 0, offset))
            offset += 30 + len(name)
        directory = b"".join(records)
        total = count + 1
        wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, total, total, len(directory), offset)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + len(directory), 1)
        narrow = _end(min(total, 0xFFFF), min(len(directory), 0xFFFFFFFF), offset)
        yield f"{count} entries", b"".join(body) + directory + wide + locator + narrow


def _inside() -> Iterator[tuple[str, bytes]]:
    zeros = bytes(32 << 20)
    yield "deflated pickle", archive({"archive/data.pkl": zeros}, zipfile.ZIP_DEFLATED)
    yield "bzip2 pickle", archive({"archive/data.pkl": zeros[: 1 << 20]}, zipfile.ZIP_BZIP2)
    yield "lzma pickle", archive({"archive/data.pkl": zeros[: 1 << 20]}, zipfile.ZIP_LZMA)
    yield "deflated storage", archive({"archive/data.pkl": SOUND, "archive/data/0": zeros}, zipfile.ZIP_DEFLATED)
    yield (
        "deflated keras",
        archive(
            {"metadata.json": b'{"keras_version": "3.0"}', "config.json": zeros, "model.weights.h5": zeros},
            zipfile.ZIP_DEFLATED,
        ),
    )
    yield (
        "nested lists in keras",
        archive(
            {"metadata.json": b"[" * 100_000, "config.json": b"[" * 100_000, "model.weights.h5": b"\x89HDF\r\n\x1a\n"}
        ),
    )
    yield (
        "noise in keras",
        archive(
            {
                "metadata.json": b"{}",
                "config.json": b"{}",
                "model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 99,
            }
        ),
    )
    yield (
        "deflated sb3",
        archive({"data": b"{}", "policy.pth": zeros, "_stable_baselines3_version": b"2.0"}, zipfile.ZIP_DEFLATED),
    )
    yield (
        "pickle in sb3",
        archive(
            {
                "data": b'{"x": {":type:": "x", ":serialized:": "gAWVCgAAAAAAAACMAm9zlIwGc3lzdGVtlJOULg=="}}',
                "policy.pth": EVIL,
            }
        ),
    )
    yield "zip in a zip", archive({"archive/data.pkl": torch_zip(EVIL)})
    packed = b"7z\xbc\xaf'\x1c\x00\x04" + struct.pack("<IQQI", 0, len(EVIL), 0, 0) + EVIL
    yield "7z", packed
    yield "7z in a zip", archive({"archive/data.pkl": packed})
    yield "7z before a zip", packed + torch_zip(SOUND)
    yield "rar", b"Rar!\x1a\x07\x01\x00" + EVIL
    yield "gzip", gzip.compress(EVIL)
    yield "gzip bomb", gzip.compress(zeros)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as made:
        for name in ("storages", "tensors", "pickle", "../../evil"):
            made.addfile(tarfile.TarInfo(name))
    yield "tar", raw.getvalue()
    yield "pickle before a zip", EVIL + torch_zip(SOUND)
    yield "pickle of protocol 2 before a zip", b"\x80\x02" + EVIL + torch_zip(SOUND)
    yield "pickle behind a zip", torch_zip(SOUND) + EVIL
    yield "bytes before a zip", bytes(512) + torch_zip(SOUND)
    header = b'{"__metadata__":{"a":"PK\\u0003"}}'
    yield "safetensors before a zip", struct.pack("<Q", len(header)) + header + torch_zip(SOUND)
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    yield "old file with an evil protocol", magic + b"\x80\x02" + EVIL + b"\x80\x02}." + SOUND + b"\x80\x02]."
    yield (
        "old file with endless keys",
        magic
        + b"\x80\x02M\xe9\x03."
        + b"\x80\x02}."
        + SOUND
        + b"\x80\x02]("
        + (b"X\x01\x00\x00\x000" * 900_000 + b"e."),
    )
    yield "old file that ends", magic + b"\x80\x02M\xe9\x03."
    yield "zip in script", b"#!/bin/sh\ntrue\nexit\n" + torch_zip(SOUND)


def zips() -> Iterator[tuple[str, bytes]]:
    """All of them."""
    yield from _overlaps()
    yield from _ends()
    yield from _many()
    yield from _inside()
