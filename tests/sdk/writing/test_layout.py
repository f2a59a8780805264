"""Places in an archive: aligned, without gaps, still while a pickle wobbles, beyond 4 GiB and 65535 members."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt import formats
from ckpt.saving.sending.pickling import pickle_envelope
from ckpt.writing import zipped
from ckpt.writing.layout import ALIGNMENT, LARGE, PAGE, Layout, directory, fixed, frame, lay_out

SIZES = st.one_of(
    st.integers(0, 5000), st.sampled_from([LARGE - 1, LARGE, LARGE + 1, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, 5 << 40])
)
STEMS = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=300)


def ends(layout: Layout) -> list[int]:
    return [m.offset + m.size + zipped.descriptor_size(m.header, m.size) for m in layout.members]


def storage_offsets(layout: Layout) -> list[int]:
    return [m.offset for m in layout.members[layout.first_storage :][: layout.storages]]


@given(STEMS, st.integers(0, 1 << 20), st.lists(SIZES, max_size=20))
def test_records_follow_each_other_aligned_and_without_gaps(stem: str, pickle_size: int, sizes: list[int]) -> None:
    layout = lay_out(stem, pickle_size, sizes)
    data = [f"data/{number}" for number in range(len(sizes))]
    names = ["data.pkl", ".format_version", ".storage_alignment", "byteorder", *data]
    names += ["version", ".data/serialization_id"]
    assert [m.name for m in layout.members] == [f"{stem}/{name}" for name in names]
    assert [m.header for m in layout.members] == [0, *ends(layout)[:-1]]
    assert layout.directory == ends(layout)[-1]
    assert [m.name for m in layout.members[layout.first_storage :][: layout.storages]] == names_of(stem, sizes)
    for member in layout.members:
        assert member.offset % (PAGE if member.size >= LARGE and "/data/" in member.name else ALIGNMENT) == 0
        padding = member.offset - member.header - zipped.local_size(member.name.encode(), member.header, member.size)
        assert 0 <= padding <= 61_000
    assert layout.size == layout.directory + len(directory(layout, [0] * len(layout.members)))


def names_of(stem: str, sizes: list[int]) -> list[str]:
    return [f"{stem}/data/{number}" for number in range(len(sizes))]


@given(st.integers(0, 1 << 18), st.lists(st.integers(0, 3 * LARGE), max_size=8))
def test_the_frame_covers_all_but_the_storages_once_and_in_order(pickle_size: int, sizes: list[int]) -> None:
    layout = lay_out("step-000010", pickle_size, sizes)
    reached, holes = 0, []
    for offset, part in frame(layout, b"p" * pickle_size):
        if offset != reached:
            holes.append((reached, offset))
        reached = offset + len(part)
    assert reached == layout.size
    storages = layout.members[layout.first_storage :][: layout.storages]
    assert holes == [(m.offset, m.offset + m.size) for m in storages if m.size]


@given(st.integers(1, 1 << 19), st.integers(-300, 300), st.lists(st.integers(0, 3 * LARGE), min_size=1, max_size=8))
def test_storages_stay_where_they_were_while_the_pickle_wobbles(size: int, change: int, sizes: list[int]) -> None:
    first = lay_out("step-000010", size + 300, sizes)
    second = lay_out("step-000020", size + 300 + change, sizes, like=first)
    grown = ends(first)[0] + change > first.members[1].offset - 128
    assert grown or storage_offsets(second) == storage_offsets(first)
    assert grown or second.size == first.size
    # Back again: what one layout moved, the next keeps.
    third = lay_out("step-000030", size + 300, sizes, like=second)
    assert storage_offsets(third) == storage_offsets(second)


def test_without_an_earlier_layout_most_changes_of_a_pickle_move_nothing() -> None:
    moved = sum(
        storage_offsets(lay_out("s", size, [1 << 20])) != storage_offsets(lay_out("s", size + 20, [1 << 20]))
        for size in range(100_000, 140_000, 10)
    )
    assert moved <= 4000 // 100


def test_a_layout_of_quite_another_pickle_is_not_followed() -> None:
    huge, tiny = lay_out("s", 3_000_000, [10]), lay_out("s", 100, [10])
    assert lay_out("s", 100, [10], like=huge) == tiny
    assert lay_out("s", 3_000_000, [10], like=tiny) == huge


def test_a_pickle_that_outgrows_its_room_gets_another() -> None:
    first = lay_out("s", 5000, [10])
    room = first.members[1].offset - ends(first)[0]
    kept = []
    for growth in range(room - 200, room + 200):
        layout = lay_out("s", 5000 + growth, [10], like=first)
        assert sum(len(part) for _, part in frame(layout, bytes(5000 + growth))) == layout.size - 10
        kept.append(storage_offsets(layout) == storage_offsets(first))
    assert kept == sorted(kept, reverse=True) and {*kept} == {True, False}


@pytest.mark.parametrize("pickle_size", [1 << power for power in range(25)])
def test_the_room_is_no_more_than_padding_can_fill(pickle_size: int) -> None:
    layout = lay_out("step-000010", pickle_size, [])
    room = layout.members[1].offset - ends(layout)[0]
    assert room < 34_000
    assert room < pickle_size / 4 + 1200


def test_room_behind_a_small_pickle_is_small() -> None:
    assert lay_out("step-000010", 300, []).size < 4000
    for size in (1000, 10_000, 100_000, 1_000_000):
        layout = lay_out("step-000010", size, [])
        assert layout.size - size < 2800 + max(1024, size // 4)


@pytest.mark.parametrize("stem", ["", "a/b", "/", "x" * 40_000])
def test_a_stem_that_is_no_folder_name_is_refused(stem: str) -> None:
    with pytest.raises(ValueError, match="cannot name the folder"):
        lay_out(stem, 10, [])


def test_a_pickle_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="pickle of 10 bytes, and this has 11"):
        list(frame(lay_out("s", 10, []), bytes(11)))


def test_layouts_travel_between_processes() -> None:
    layout = lay_out("step-000010", 5000, [1, LARGE, 0])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(layout), type=Layout) == layout


def test_a_file_beyond_4_gib_is_read_by_python_and_torch(tmp_path: Path) -> None:
    path = tmp_path / "wide.pt"
    state = {"big": torch.empty((1 << 32) + 5, dtype=torch.uint8), "none": torch.empty(0), "last": torch.arange(300.0)}
    last = state["last"].numpy().tobytes()
    pickled = pickle_envelope(state)
    sizes = [storage.nbytes() for storage in pickled.storages]
    layout = lay_out("wide", len(pickled.data), sizes)
    # A hole stands for the zeros of the large storage. Its checksum is left open, as torch leaves it on request.
    with path.open("wb") as stream:
        for offset, part in frame(layout, pickled.data):
            stream.seek(offset)
            stream.write(part)
        contents = {m.name: m for m in layout.members}
        stream.seek(contents["wide/data/2"].offset)
        stream.write(last)
        crcs = [zlib.crc32(last) if m.name == "wide/data/2" else 0 for m in layout.members]
        stream.seek(layout.directory)
        stream.write(directory(layout, crcs))
    assert path.stat().st_size == layout.size > 1 << 32
    with zipfile.ZipFile(path) as archive:
        assert [(i.filename, i.header_offset, i.file_size) for i in archive.infolist()] == [
            (m.name, m.header, m.size) for m in layout.members
        ]
        assert archive.read("wide/data/2") == last
    loaded = torch.load(path, weights_only=True, mmap=True)
    assert torch.equal(loaded["last"], state["last"]) and loaded["big"].numel() == (1 << 32) + 5
    assert loaded["big"][-1] == 0 and loaded["none"].shape == (0,)
    meta = torch.load(path, weights_only=True, map_location="meta")
    assert [meta[key].untyped_storage()._checkpoint_offset for key in state] == storage_offsets(layout)
    found = formats.inspect(path)
    assert found.state == "complete" and not found.problems
    assert [tensor.bytes for tensor in found.tensors] == sizes


def test_more_members_than_16_bits_can_count() -> None:
    layout = lay_out("s", 3, [1] * 66_000)
    image = bytearray(layout.size)
    for offset, part in frame(layout, b"abc"):
        image[offset : offset + len(part)] = part
    with zipfile.ZipFile(io.BytesIO(image)) as archive:
        infos = archive.infolist()
    assert len(infos) == 66_006 and infos[66_003].filename == "s/data/65999"
    assert [info.header_offset for info in infos] == [member.header for member in layout.members]


def test_what_the_layout_decides_is_the_frames() -> None:
    """All of the headers and the small records; what is left over is contents, checksums and the directory."""
    layout = lay_out("archive", 5, [0, 10, 100_000])
    whole = bytearray(layout.size)
    for offset, data in frame(layout, b"12345"):
        whole[offset : offset + len(data)] = data
    covered = 0
    for offset, data in fixed(layout):
        assert whole[offset : offset + len(data)] == data
        covered += len(data)
    records = sum(member.size for member in layout.members[1:4]) + layout.members[-2].size
    assert covered == sum(member.offset - member.header for member in layout.members) + records


@pytest.mark.parametrize("storages", [[], [0, 10, 70_000, 5]])
def test_what_is_taken_from_an_earlier_layout_is_as_if_made_anew(storages: list[int]) -> None:
    earlier = lay_out("s", 5000, storages)
    for size in (4990, 5001, 5400):
        again, anew = lay_out("s", size, storages, like=earlier), lay_out("s", size, storages)
        assert again == anew
        assert list(frame(again, b"p" * size)) == list(frame(anew, b"p" * size))
    for stem, sizes in (("t", storages), ("s", [*storages, 1])):
        assert lay_out(stem, 5000, sizes, like=earlier) == lay_out(stem, 5000, sizes)
