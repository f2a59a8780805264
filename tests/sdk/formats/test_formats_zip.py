"""Zip directories that lie."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from ckpt.formats import inspect
from ckpt.formats.containers.zipdir import content_offset, read_directory, read_entry
from ckpt.formats.source import Damaged, Source, Unfinished


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.pt"
    torch.save({"model": torch.nn.Linear(4, 4).state_dict(), "epoch": 3}, path)
    return path


def zip_of(path: Path, **entries: bytes) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path.read_bytes()


def test_entries_are_those_that_zipfile_finds(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive, Source(saved) as source:
        entries = read_directory(source)
        assert {name: (e.size, e.crc) for name, e in entries.items()} == {
            info.filename: (info.file_size, info.CRC) for info in archive.infolist()
        }
        for name, entry in entries.items():
            assert read_entry(source, entry, limit=1 << 20) == archive.read(name)
            at = content_offset(source, entry)
            assert source.read(at, entry.size) == archive.read(name)


def test_zip64_sizes_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a/data.pkl", "w", force_zip64=True) as entry:
        entry.write(b"\x80\x02}.")
    assert inspect(path).state == "complete"


@pytest.mark.parametrize("part", ["directory", "end", "local"])
def test_a_flipped_bit_never_gives_other_facts(saved: Path, part: str) -> None:
    whole = saved.read_bytes()
    before = inspect(saved)
    directory = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x06\x06")
    span = {"directory": (directory, end), "end": (end, len(whole)), "local": (0, 64)}[part]
    chooser = random.Random(7)
    states = set()
    for _ in range(250):
        at, bit = chooser.randrange(*span), chooser.randrange(8)
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        found = inspect(saved)
        states.add(found.state)
        if found.state == "complete":
            assert (found.epoch, found.tensors) == (before.epoch, before.tensors)
        else:
            assert found.problems and "Error" not in found.problems[0]
    assert "corrupt" in states or "incomplete" in states


def test_a_flipped_bit_in_the_metadata_is_found_by_its_checksum(saved: Path) -> None:
    whole = saved.read_bytes()
    start = whole.index(b"\x80\x02}")
    for at in range(start, start + 150):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = inspect(saved)
        assert found.state == "corrupt" and "content that was written" in found.problems[0]


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = zip_of(path, **{"data.pkl": b"\x80\x02}.", "data/0": bytes(64), "data/1": bytes(64)})
    with zipfile.ZipFile(path) as archive:
        offsets = {info.filename: info.header_offset for info in archive.infolist()}
    first, second = struct.pack("<I", offsets["archive/data/0"]), struct.pack("<I", offsets["archive/data/1"])
    directory = whole.index(b"PK\x01\x02")
    path.write_bytes(
        whole[:directory] + whole[directory:].replace(second + b"archive/data/1", first + b"archive/data/1")
    )
    found = inspect(path)
    assert found.state == "corrupt" and "overlaps" in found.problems[0]


def test_many_entries_over_one_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = zip_of(path, **{"data.pkl": b"\x80\x02}."})
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    record = whole[start:end]
    records = b"".join(record.replace(b"data.pkl", b"d%03d.pkl" % index) for index in range(50)) + record
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 51, 51, len(records), start, 0)
    path.write_bytes(whole[:start] + records + tail)
    assert inspect(path).state == "corrupt"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_not_inflated(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 100_000 + b"N.")
    found = inspect(path)
    assert found.state == "corrupt" and "compressed" in found.problems[0]


def test_directories_that_contradict_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = zip_of(path, **{"data.pkl": b"\x80\x02}.", "version": b"3"})
    path.write_bytes(whole.replace(b"archive/data.pkl", b"archive/data.pkx", 1))
    with Source(path) as source, pytest.raises(Damaged, match="contradicts"):
        read_entry(source, read_directory(source)["archive/data.pkl"], limit=100)
    assert "contradicts" in inspect(path).problems[0]
    path.write_bytes(whole.replace(b"PK\x01\x02", b"PK\x01\x03"))
    assert "broken entry" in inspect(path).problems[0]


def test_encrypted_and_twice_named_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = zip_of(path, **{"data.pkl": b"\x80\x02}.", "data.pkx": b"3"})
    path.write_bytes(whole.replace(b"data.pkx", b"data.pkl"))
    assert "twice" in inspect(path).problems[0]
    at = whole.index(b"PK\x01\x02") + 8
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    assert "encrypted" in inspect(path).problems[0]


def test_a_zip_that_torch_did_not_write_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    zip_of(path, **{"readme.txt": b"hello"})
    found = inspect(path)
    assert (found.framework, found.format, found.state) == ("unknown", "unknown", "corrupt")


@pytest.mark.parametrize(
    "content", [b"hello, this is text\n" * 20, b"\x00" * 4096, b"7z\xbc\xaf'\x1c" + b"x" * 99, b"x"]
)
def test_other_files_are_unknown(tmp_path: Path, content: bytes) -> None:
    for suffix in ("pt", "bin", "ckpt"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        found = inspect(path)
        assert (found.framework, found.state) == ("unknown", "corrupt")
        assert found.problems


def test_an_empty_file_and_the_first_bytes_of_a_zip_are_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for length in range(5):
        path.write_bytes(b"PK\x03\x04x"[:length])
        assert inspect(path).state == "incomplete", length


def test_a_directory_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 5, 5, 1 << 30, 4, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(100) + tail)
    with Source(path) as source, pytest.raises(Damaged):
        read_directory(source)


def test_a_sparse_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with open(path, "wb") as stream:
        stream.write(b"PK\x03\x04")
        stream.truncate(1 << 40)
    found = inspect(path)
    assert found.state == "incomplete" and found.bytes == 1 << 40
    assert found.bytes_read < 1 << 20


def test_a_source_that_shrinks_meanwhile_is_unfinished(saved: Path) -> None:
    with Source(saved) as source:
        saved.write_bytes(b"PK")
        with pytest.raises(Unfinished, match="shorter"):
            source.read(0, source.size)
