"""Writes files that were built to harm who reads them, every kind by itself in a directory.

Usage: python hostile.py DIRECTORY. A call that some file makes would touch the file `touched` in DIRECTORY.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "parts"))

from hostile_headers import headers
from hostile_pickles import bombs, calls, lies, tricks
from hostile_zips import torch_zip, zips

TERABYTE = 1 << 40
HEADS = {
    "zip.pt": b"PK\x03\x04",
    "old.pt": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.",
    "pickle.bin": b"\x80\x02](",
    "text.bin": b"\x80\x02X\xff\xff\xff\xff",
    "header.safetensors": struct.pack("<Q", 90_000_000) + b"{",
    "tensor.safetensors": struct.pack("<Q", 2) + b"{}",
    "keras.weights.h5": b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00\x04\x00\x10\x00" + bytes(12),
    "nothing.pt": b"",
    "archive.keras": b"PK\x03\x04",
}
ENDS = {"zip.pt": b"PK\x05\x06" + bytes(18), "archive.keras": b"PK\x05\x06" + bytes(18)}


def sparse(path: Path, head: bytes, end: bytes) -> None:
    """A file of a terabyte that holds almost nothing."""
    with open(path, "wb") as stream:
        stream.write(head)
        stream.truncate(TERABYTE)
        if end:
            stream.seek(TERABYTE - len(end))
            stream.write(end)


def main() -> None:
    """Writes them all."""
    base = Path(sys.argv[1])
    mark = str(base / "touched")
    kinds: dict[str, dict[str, bytes]] = {
        "calls": {f"{name}.pt": torch_zip(data) for name, data in calls(mark)},
        "bare": {f"{name}.bin": b"\x80\x02" + data for name, data in calls(mark)},
        "tricks": {f"{name}.pt": torch_zip(data) for name, data in (*tricks(), *lies())},
        "bare tricks": {f"{name}.bin": data for name, data in (*tricks(), *lies())},
        "zips": {f"{name}.pt": data for name, data in zips()},
        "headers": {f"{name}.safetensors": data for name, data in headers()},
    }
    for kind, files in kinds.items():
        (base / kind).mkdir()
        for name, data in files.items():
            (base / kind / name).write_bytes(data)
    (base / "bombs").mkdir()
    for name, data in bombs():
        (base / "bombs" / f"{name}.pt").write_bytes(torch_zip(data))
    (base / "sparse").mkdir()
    for name, head in HEADS.items():
        sparse(base / "sparse" / name, head, b"")
        if name in ENDS:
            sparse(base / "sparse" / f"ended {name}", head, ENDS[name])
    counts = {kind.name: len(list(kind.iterdir())) for kind in base.iterdir() if kind.is_dir()}
    (base / "expected.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
