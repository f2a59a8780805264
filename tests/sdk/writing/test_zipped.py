"""The parts of a zip file: byte for byte what torch's own writer puts around the same contents."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from ckpt.writing import zipped
from ckpt.writing.layout import Layout, Member, directory


def layout_of(path: Path) -> tuple[Layout, list[int]]:
    """Where torch put everything in a file of its own, and the checksums."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        members = []
        for info in archive.infolist():
            stream.seek(info.header_offset + 26)
            lengths = stream.read(4)
            offset = info.header_offset + 30 + sum(int.from_bytes(lengths[at : at + 2], "little") for at in (0, 2))
            members.append(
                Member(name=info.filename, header=info.header_offset, offset=offset, size=info.file_size),
            )
        crcs = [info.CRC for info in archive.infolist()]
        start = archive.start_dir
    layout = Layout(
        stem=members[0].name.partition("/")[0],
        members=tuple(members),
        first_storage=4,
        storages=len(members) - 6,
        directory=start,
        size=path.stat().st_size,
    )
    return layout, crcs


def prove_equal(path: Path) -> None:
    """Makes every part of a file of torch again, and compares."""
    layout, crcs = layout_of(path)
    with path.open("rb") as stream:

        def at(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        for member, crc in zip(layout.members, crcs, strict=True):
            header = zipped.local_header(member.name.encode(), member.header, member.offset, member.size)
            assert at(member.header, member.offset - member.header) == header
            descriptor = zipped.descriptor(member.header, member.size, crc)
            assert at(member.offset + member.size, len(descriptor)) == descriptor
            assert zipped.descriptor_size(member.header, member.size) == len(descriptor)
        assert at(layout.directory, layout.size) == directory(layout, crcs)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([20, 0, 8, 70_000], id="small"),
        pytest.param([(1 << 32) + 100, 0, 1200], id="wide"),
        pytest.param([(1 << 32) - 1, 1200], id="just wide"),
        pytest.param([(1 << 32) - 2, 1200], id="almost wide"),
    ],
)
def test_headers_descriptors_and_directory_are_those_of_torch(sizes: list[int], tmp_path: Path) -> None:
    path = tmp_path / "theirs.pt"
    with torch.serialization.skip_data():  # leaves holes where the storages would be
        torch.save([torch.empty(size, dtype=torch.uint8) for size in sizes], path)
    prove_equal(path)


@pytest.mark.parametrize("header", [0xFFFFFFFE, 0xFFFFFFFF])
def test_a_header_at_the_limit_of_32_bits_is_that_of_torch(header: int, tmp_path: Path) -> None:
    path, size = tmp_path / "theirs.pt", 0xFFFFF000
    for _ in range(2):  # after the first it is known where the large storage lies
        with torch.serialization.skip_data():
            torch.save({"big": torch.empty(size, dtype=torch.uint8), "b": torch.ones(3)}, path)
        layout, _ = layout_of(path)
        size = header - 16 - layout.members[4].offset
    assert layout.members[5].header == header
    prove_equal(path)


def test_counts_and_offsets_that_do_not_fit_are_told_in_the_wide_record() -> None:
    assert zipped.end(0xFFFF + 2, 5 << 32, 77)[-14:-2] == b"\xff" * 4 + bytes([77, 0, 0, 0]) + b"\xff" * 4
    assert zipped.end(2, 5, 77)[-14:-2] == bytes([2, 0, 2, 0, 77, 0, 0, 0, 5, 0, 0, 0])


@pytest.mark.parametrize("header", [0, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 40])
@pytest.mark.parametrize("size", [0, 1, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 40])
def test_lengths_are_known_before_the_bytes(header: int, size: int) -> None:
    name = "step/data/é".encode()
    least = zipped.local_size(name, header, size)
    for padding in (0, 1, 4095):
        made = zipped.local_header(name, header, header + least + padding, size)
        assert len(made) == least + padding and name in made
    assert zipped.central_size(name, header, size) == len(zipped.central_entry(name, header, size, 7))
    assert zipped.descriptor_size(header, size) == len(zipped.descriptor(header, size, 7))
    assert len(zipped.end(1 << 20, header, 5)) == zipped.END_SIZE
