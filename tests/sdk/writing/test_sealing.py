"""Sealing: checksums, directory, identity and hash, whatever the lengths in which the bytes pass."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.writing.layout import LARGE, Layout, frame, lay_out
from ckpt.writing.sealing import Seal, Sealer


def image_of(pickle: bytes, storages: Sequence[bytes], stem: str = "step-000010") -> tuple[Layout, bytearray]:
    """A file before it is sealed, in memory that held something else."""
    layout = lay_out(stem, len(pickle), [len(storage) for storage in storages])
    image = bytearray(b"\xaa" * layout.size)
    for offset, part in frame(layout, pickle):
        image[offset : offset + len(part)] = part
    for member, storage in zip(layout.members[layout.first_storage :], storages, strict=False):
        image[member.offset : member.offset + member.size] = storage
    return layout, image


def seal(layout: Layout, image: bytearray, lengths: Iterable[int] = (), known: Mapping[int, int] | None = None) -> Seal:
    """Seals an image in chunks of the lengths, and what is left in one."""
    sealer = Sealer(layout, known or {})
    at = 0
    for length in lengths:
        sealer.seal(memoryview(image)[at : at + length])
        at = min(at + length, len(image))
    sealer.seal(memoryview(image)[at:])
    return sealer.finish()


def contents_of(layout: Layout, image: bytearray) -> list[bytes]:
    return [bytes(image[m.offset : m.offset + m.size]) for m in layout.members]


STORAGES = st.lists(st.binary(max_size=300), max_size=6)


@given(st.binary(max_size=3000), STORAGES)
def test_a_sealed_image_is_a_whole_zip_with_the_crc_of_each_member(pickle: bytes, storages: list[bytes]) -> None:
    layout, image = image_of(pickle, storages)
    made = seal(layout, image)
    assert made.crcs == tuple(zlib.crc32(content) for content in contents_of(layout, image))
    assert made.hash == blake3(image).hexdigest()
    with zipfile.ZipFile(io.BytesIO(image)) as archive:
        assert archive.testzip() is None
        assert [archive.read(f"step-000010/data/{number}") for number in range(len(storages))] == storages
        assert archive.read("step-000010/data.pkl") == pickle
        for info, member, crc in zip(archive.infolist(), layout.members, made.crcs, strict=True):
            described = image[member.offset + member.size :][:16]
            sizes = member.size.to_bytes(4, "little")
            assert crc == info.CRC
            assert not member.size or described == b"PK\x07\x08" + crc.to_bytes(4, "little") + sizes + sizes


@given(st.binary(max_size=2000), STORAGES, st.lists(st.integers(0, 600), max_size=40))
def test_any_lengths_of_chunks_give_the_same_file(pickle: bytes, storages: list[bytes], lengths: list[int]) -> None:
    layout, image = image_of(pickle, storages)
    _, other = image_of(pickle, storages)
    assert seal(layout, image, lengths) == seal(layout, other)
    assert image == other


def test_single_bytes_and_chunks_that_end_within_every_part() -> None:
    storages = [b"abc", b"", b"x" * 100]
    layout, whole = image_of(b"pickle", storages)
    expected = seal(layout, whole)
    for step in (1, 7):
        _, image = image_of(b"pickle", storages)
        assert seal(layout, image, [step] * (layout.size // step)) == expected and image == whole
    tail = layout.members[-1].offset
    descriptors = [m.offset + m.size for m in layout.members]
    for cut in {at + more for at in [*descriptors, tail, layout.directory] for more in (1, 3, 5, 9, 15)}:
        _, image = image_of(b"pickle", storages)
        assert seal(layout, image, [cut]) == expected and image == whole


def test_large_storages_pass_in_several_blocks() -> None:
    storages = [bytes(range(256)) * 4000, b"\x01" * (LARGE - 1), bytes(range(256)) * 2048]
    layout, image = image_of(b"pickle", storages)
    made = seal(layout, image)
    assert made.crcs[layout.first_storage :][:3] == tuple(zlib.crc32(storage) for storage in storages)
    assert made.hash == blake3(image).hexdigest()


@given(st.binary(max_size=2000), STORAGES)
@settings(max_examples=30)
def test_sealing_twice_changes_nothing(pickle: bytes, storages: list[bytes]) -> None:
    layout, image = image_of(pickle, storages)
    first = seal(layout, image)
    once = bytes(image)
    assert seal(layout, image) == first and image == once


@given(st.binary(max_size=2000), STORAGES, st.data())
@settings(max_examples=50)
def test_checksums_that_are_known_give_the_same_file(pickle: bytes, storages: list[bytes], data: st.DataObject) -> None:
    layout, image = image_of(pickle, storages)
    made = seal(layout, image)
    _, again = image_of(pickle, storages)
    indices = data.draw(st.sets(st.sampled_from(range(len(layout.members) - 1))))
    assert seal(layout, again, known={index: made.crcs[index] for index in indices}) == made
    assert again == image


def test_a_known_checksum_is_believed() -> None:
    layout, image = image_of(b"pickle", [b"abc"])
    assert seal(layout, image, known={layout.first_storage: 7}).crcs[layout.first_storage] == 7
    with zipfile.ZipFile(io.BytesIO(image)) as archive:
        assert archive.testzip() == "step-000010/data/0"


def identity(image: bytearray) -> str:
    with zipfile.ZipFile(io.BytesIO(image)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("serialization_id"))).decode()


def test_the_identity_is_of_names_and_contents_but_not_of_the_folder() -> None:
    def made(pickle: bytes, storages: list[bytes], stem: str) -> str:
        layout, image = image_of(pickle, storages, stem)
        seal(layout, image)
        return identity(image)

    one = made(b"pickle", [b"abc", b"d"], "step-000010")
    assert len(one) == 40 and one.isdigit()
    assert made(b"pickle", [b"abc", b"d"], "elsewhere") == one
    changed = made(b"pickle", [b"abc", b"e"], "step-000010")
    assert changed[:20] == one[:20] and changed[20:] != one[20:]
    swapped = made(b"pickle", [b"d", b"abc"], "step-000010")
    assert swapped[:20] == one[:20] and swapped[20:] != one[20:]
    assert made(b"pickle", [b"abc"], "step-000010")[:20] != one[:20]


def test_too_few_and_too_many_bytes_are_refused() -> None:
    layout, image = image_of(b"pickle", [b"abc"])
    sealer = Sealer(layout, {})
    sealer.seal(memoryview(image)[:-1])
    with pytest.raises(ValueError, match=f"has {layout.size} bytes, and only {layout.size - 1} came"):
        sealer.finish()
    with pytest.raises(ValueError, match="and more came"):
        sealer.seal(memoryview(bytearray(2)))
    sealer.seal(memoryview(image)[-1:])
    assert sealer.finish().hash == blake3(image).hexdigest()
