"""Verifying: a flipped bit that nothing else sees is found, by reading everything in small pieces."""

from __future__ import annotations

import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import inspect, verify
from ckpt.formats.verifying import PIECE_BYTES

WEIGHTS = {"fc.weight": torch.arange(12.0).reshape(4, 3), "fc.bias": torch.arange(4.0) + 100}


def flip(path: Path, at: int) -> None:
    """Turns over the lowest bit of one byte, and leaves the times as they were."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def place_of(path: Path, content: bytes) -> int:
    """Where in a file some bytes stand, which must be there once."""
    data = path.read_bytes()
    assert data.count(content) == 1
    return data.index(content)


@pytest.fixture
def torch_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save({"epoch": 1, "model": WEIGHTS}, path)
    return path


def test_a_whole_torch_file(torch_file: Path) -> None:
    told: list[int] = []
    found = verify(torch_file, progress=told.append)
    size = torch_file.stat().st_size
    with zipfile.ZipFile(torch_file) as archive:
        entries = archive.infolist()
    assert found.problems == () and not found.damaged and found.state == "complete"
    assert found.checksums == len([entry for entry in entries if entry.file_size])
    assert found.bytes_compared == sum(entry.file_size for entry in entries)
    assert found.bytes_read == sum(told) == size


def test_a_flipped_bit_in_a_tensor_is_found_by_verify_alone(torch_file: Path) -> None:
    flip(torch_file, place_of(torch_file, WEIGHTS["fc.bias"].numpy().tobytes()) + 5)
    assert inspect(torch_file).state == "complete"
    found = verify(torch_file)
    assert found.damaged and len(found.problems) == 1
    with zipfile.ZipFile(torch_file) as archive:
        bad = archive.testzip()
    assert bad is not None and found.problems[0].startswith(bad)


def test_every_bit_of_every_entry_counts(torch_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(torch_file) as archive:
        entries = archive.infolist()
    for entry in entries:
        copy = tmp_path / "copy.pt"
        shutil.copy2(torch_file, copy)
        with zipfile.ZipFile(copy) as archive, archive.open(entry) as stream:
            content = stream.read()
        header = copy.read_bytes()[entry.header_offset :][:30]
        start = (
            entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        )
        assert copy.read_bytes()[start : start + len(content)] == content
        flip(copy, start + len(content) - 1)
        assert verify(copy).damaged, entry.filename


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    large = torch.arange(3 * PIECE_BYTES // 4 + 12345, dtype=torch.float32)
    torch.save({"a": large, "b": large + 1, "c": torch.ones(3)}, path)
    size = path.stat().st_size
    assert size > 5 * PIECE_BYTES
    tracemalloc.start()
    found = verify(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.problems == () and found.bytes_read == size
    assert peak < 4 * PIECE_BYTES
    flip(path, size // 2)
    assert verify(path).damaged


def test_torch_files_without_checksums_are_said_to_have_none(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"model": WEIGHTS}, tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    found = verify(tmp_path / "m.pt")
    assert not found.damaged and found.bytes_compared < found.bytes_read
    flip(tmp_path / "m.pt", place_of(tmp_path / "m.pt", WEIGHTS["fc.bias"].numpy().tobytes()))
    assert not verify(tmp_path / "m.pt").damaged


def test_safetensors_state_no_checksums(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(WEIGHTS, path)
    found = verify(path)
    assert not found.damaged and found.checksums == found.bytes_compared == 0
    assert found.bytes_read == path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 1)
    cut = verify(path)
    assert cut.damaged and cut.state == "incomplete" and "before its last tensor" in cut.problems[0]


def test_a_checkpoint_of_an_own_run_is_held_against_its_marker(runs) -> None:
    path = runs.checkpoint(runs.run(), step=10)
    found = verify(path)
    assert not found.damaged and found.bytes_compared == found.bytes_read == path.stat().st_size
    # Between the entries lie bytes that no entry's checksum speaks of.
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda item: item.header_offset)
    assert entry.date_time
    flip(path, entry.header_offset + 10)
    assert [problem for problem in verify(path).problems if "BLAKE3" in problem]


def test_what_is_not_whole_is_damaged_and_not_read_further(torch_file: Path) -> None:
    with torch_file.open("r+b") as stream:
        stream.truncate(torch_file.stat().st_size - 100)
    found = verify(torch_file)
    assert found.state == inspect(torch_file).state != "complete"
    assert found.damaged and found.problems and found.bytes_read == 0


def test_a_file_that_is_written_meanwhile_is_not_called_damaged(torch_file: Path) -> None:
    content = torch_file.read_bytes()
    at = place_of(torch_file, WEIGHTS["fc.bias"].numpy().tobytes())

    def rewrite(_: int) -> None:
        torch_file.write_bytes(content[:at] + b"\0" * 16 + content[at + 16 :])
        os.utime(torch_file, ns=(1, 1))

    found = verify(torch_file, progress=rewrite)
    assert found.state == "writing" and not found.damaged


def test_a_flipped_bit_in_a_member_of_a_directory(produced, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint-2"
    shutil.copytree(produced("transformers") / "plain" / "checkpoint-2", directory)
    found = verify(directory)
    assert not found.damaged and 0 < found.bytes_compared < found.bytes_read == found_size(directory)
    state = torch.load(directory / "optimizer.pt", weights_only=True)["state"][0]["exp_avg"]
    flip(directory / "optimizer.pt", place_of(directory / "optimizer.pt", state.numpy().tobytes()))
    assert inspect(directory).state == "complete"
    (problem,) = verify(directory).problems
    assert problem.startswith("optimizer.pt: ") and problem.endswith("does not have the content that was written")


def test_a_flipped_bit_in_a_slice_of_a_distributed_checkpoint(produced, tmp_path: Path) -> None:
    directory = tmp_path / "two"
    shutil.copytree(produced("dcp") / "two" / "step-7", directory)
    found = verify(directory)
    assert not found.damaged and found.checksums > 100 and found.bytes_read == found_size(directory)
    # The last entries of zips in the file are tiny; tensors are aligned to 64 bytes and lie before them.
    data = (directory / "__1_0.distcp").read_bytes()
    entry = data.index(b"/data/0")
    start = entry + len(b"/data/0") + int.from_bytes(data[data.rindex(b"PK\x03\x04", 0, entry) :][28:30], "little")
    flip(directory / "__1_0.distcp", start)
    assert inspect(directory).state == "complete"
    (problem,) = verify(directory).problems
    assert problem.startswith("__1_0.distcp: ") and "data/0" in problem


def found_size(directory: Path) -> int:
    """Size of all files at and below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_files_that_nobody_knows_are_read_and_not_judged(produced, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint-2"
    shutil.copytree(produced("transformers") / "plain" / "checkpoint-2", directory)
    (directory / "extra.zip").write_bytes(b"PK\x03\x04 and nothing more")
    assert not verify(directory).damaged


def test_what_is_missing_or_no_checkpoint_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        verify(tmp_path)
