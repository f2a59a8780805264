"""Zip directories that lie."""

from __future__ import annotations

import gzip
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
    whole = zip_of(path, **{"readme.txt": b"hello", "models/model.json": b"{}"})
    found = inspect(path)
    assert (found.framework, found.format, found.state) == ("unknown", "unknown", "complete")
    assert found.problems == ("no reader knows it: it is a zip file without data.pkl",)
    # Its two listings have to agree: else it may have been anything.
    path.write_bytes(whole.replace(b"readme.txt", b"readme.txu", 1))
    assert inspect(path).state == "corrupt"


def test_a_torch_file_with_a_broken_directory_is_none_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"epoch": 1}, path)
    whole = path.read_bytes()
    name = b"a/data.pkl"
    at = whole.rindex(name)
    for position in range(at, at + len(name)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert inspect(path).state == "corrupt", position


SOMEBODY_ELSES = {
    "gzip": gzip.compress(b"x" * 99),
    "7z": b"7z\xbc\xaf'\x1c" + b"x" * 99,
    "zstd": b"\x28\xb5\x2f\xfd" + b"x" * 99,
    "tar": b"a.txt" + bytes(252) + b"ustar\x0000" + bytes(1000),
    "GGUF": b"GGUF\x03\0\0\0" + bytes(100),
}


@pytest.mark.parametrize("kind", SOMEBODY_ELSES)
def test_files_of_other_tools_are_whole_and_unknown(tmp_path: Path, kind: str) -> None:
    for suffix in ("pt", "bin", "ckpt"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(SOMEBODY_ELSES[kind])
        found = inspect(path)
        assert (found.framework, found.format, found.state) == ("unknown", "unknown", "complete")
        assert found.problems == (f"no reader knows it: it is a file of {kind}",)


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"hello, this is text\n" * 20, "no known format"),
        (b"\x00" * 4096, "zeros"),
        (b"x", "no known format"),
        (b"<!DOCTYPE html><html>Sign in</html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
    ],
)
def test_what_is_nothing_is_damage_only_where_its_name_claims_a_format(
    tmp_path: Path, content: bytes, looks: str
) -> None:
    for name in ("a.pt", "a.CKPT", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(content)
        found = inspect(tmp_path / name)
        assert (found.framework, found.state) == ("unknown", "corrupt") and looks in found.problems[0]
    for name in ("model.bin", "a.pth.tar", "model.onnx", "model.ckpt-5.index", "a"):
        (tmp_path / name).write_bytes(content)
        found = inspect(tmp_path / name)
        assert (found.framework, found.state, found.problems) == ("unknown", "complete", ("no reader knows it",))


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


def saved_entries(path: Path, epoch: int) -> dict[str, bytes]:
    """What torch.save writes, by names without the folder."""
    torch.save({"epoch": epoch, "model": {"w": torch.zeros(2)}}, path)
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def stored(path: Path, *parts: tuple[str, dict[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for folder, entries in parts:
            for name, content in entries.items():
                archive.writestr(folder + name, content)
    return path


def test_the_pickle_that_torch_loads_is_the_one_that_is_read(tmp_path: Path) -> None:
    first, second = (saved_entries(tmp_path / "saved.pt", epoch) for epoch in (1, 2))
    for parts in (
        [("longer/", first), ("longer/b/", second)],
        [("a/b/", second), ("a/", first)],
        [("a/b/", {"data.pkl": second["data.pkl"]}), ("a/", first)],
    ):
        path = stored(tmp_path / "several.pt", *parts)
        assert torch.load(path)["epoch"] == 1
        assert (inspect(path).epoch, inspect(path).state) == (1, "complete")


def test_a_zip_that_torch_refuses_or_finds_two_pickles_in_tells_nothing(tmp_path: Path) -> None:
    first, second = (saved_entries(tmp_path / "saved.pt", epoch) for epoch in (1, 2))
    outside = "lies outside of its folder"
    for parts, problem in (
        ([("longer/", first), ("a/", second)], outside),
        ([("a/", first), ("longer/", second)], outside),
        ([("a/", first), ("", second)], outside),
        ([("a/", first), ("", {"README": b""})], outside),
        ([("a/", first), ("A/", second)], outside),
        ([("", first)], "without a data.pkl"),
        ([("", {"README": b""}), ("a/", first)], "without a data.pkl"),
        ([("x/y/", first), ("a/", second)], "without a data.pkl"),
    ):
        path = stored(tmp_path / "several.pt", *parts)
        with pytest.raises(RuntimeError):
            torch.load(path)
        found = inspect(path)
        assert (found.state, found.epoch) == ("corrupt", None) and problem in found.problems[0], parts

    # Which of the two it loads depends on nothing that a person could see.
    path = stored(tmp_path / "several.pt", ("a/", first), ("a/", {"DATA.PKL": second["data.pkl"]}))
    assert torch.load(path)["epoch"] == 2
    assert "letters of another case" in inspect(path).problems[0]
