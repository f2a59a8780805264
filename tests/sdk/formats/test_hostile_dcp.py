"""Descriptions of distributed checkpoints that no writer makes: each is answered quickly and never believed."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from ckpt.diff import diff
from ckpt.exceptions import CorruptError
from ckpt.formats import inspect
from ckpt.formats.reading import opened
from ckpt.formats.record import Inspection

Box = tuple[tuple[int, ...], tuple[int, ...]]


def tensor(shape: tuple[int, ...], boxes: list[Box]) -> TensorStorageMetadata:
    """A description of a tensor of floats that consists of boxes: offsets and sizes of each."""
    chunks = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in boxes]
    return TensorStorageMetadata(TensorProperties(torch.float32), torch.Size(shape), chunks)


def description(
    tensors: dict[str, TensorStorageMetadata], info: Callable[[], _StorageInfo] | None = None, **rest: Any
) -> Metadata:
    """A description whose chunks all lie at the beginning of one file, or where `info` says."""
    stored = {}
    for name, entry in tensors.items():
        for chunk in entry.chunks:
            place = info() if info else _StorageInfo("__0_0.distcp", 0, 100)
            stored[MetadataIndex(name, chunk.offsets)] = place
    return Metadata(dict(tensors), storage_data=stored, **rest)


def written(directory: Path, metadata: Any, data: bytes = b"\0" * 4096) -> Path:
    """A checkpoint with that description."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "__0_0.distcp").write_bytes(data)
    (directory / ".metadata").write_bytes(pickle.dumps(metadata, protocol=4))
    return directory


def quickly(path: Path, seconds: float = 20) -> Inspection:
    """What `inspect` says; it may take so much time of the processor and no more."""
    begun = time.process_time()
    found = inspect(path)
    assert time.process_time() - begun < seconds
    return found


@pytest.mark.parametrize(
    ("boxes", "problem"),
    [
        ([((0, 0), (4, 4)), ((2, 0), (2, 4))], "overlap"),
        ([((0, 0), (4, 4)), ((0, 0), (4, 3))], "overlap"),
        ([((0, 0), (2, 4)), ((2, 0), (3, 4))], "outside"),
        ([((0, 0), (2, 4)), ((2, 1), (2, 4))], "outside"),
        ([((0, 0), (2, 4)), ((2, 1), (2, 3))], "leave a part"),
        ([((0, 0), (1, 4)), ((2, 0), (2, 4))], "leave a part"),
        ([((0, 0), (2, 2)), ((0, 2), (2, 2)), ((2, 0), (2, 2))], "leave a part"),
        ([], "leave a part"),
        ([((0, 0), (2, 4)), ((2, 0), (-2, 4))], "shape that no tensor has"),
        ([((-1, 0), (5, 4))], "shape that no tensor has"),
        ([((0,), (4,))], "other dimensions"),
        ([((0, 0), (1 << 62, 4))], "shape that no tensor has"),
    ],
)
def test_chunks_that_are_not_the_tensor_are_refused(tmp_path: Path, boxes: list[Box], problem: str) -> None:
    path = written(tmp_path / "step-1", description({"weight": tensor((4, 4), boxes)}))
    found = quickly(path)
    assert found.state == "corrupt"
    assert problem in found.problems[0], found.problems
    assert "weight" in found.problems[0]


@pytest.mark.parametrize("shape", [(1 << 59, 1 << 59), (1 << 62,), (-4, 4), tuple([1] * 65), (1 << 20,) * 60])
def test_shapes_that_no_memory_holds_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = written(tmp_path / "step-1", description({"weight": tensor(shape, [(tuple([0] * len(shape)), shape)])}))
    assert quickly(path).state == "corrupt"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../outside", "..", "..\\outside", "__0_0.distcp\0", "", "link"]
)
def test_files_outside_of_the_checkpoint_are_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"\0" * 4096)
    entry = tensor((4, 4), [((0, 0), (4, 4))])
    path = written(tmp_path / "step-1", description({"weight": entry}, lambda: _StorageInfo(name, 0, 100)))
    os.symlink("/dev/zero", path / "link")  # what a user links to a file counts, what is no file does not
    found = quickly(path)
    assert found.state in ("corrupt", "incomplete") and not found.tensors
    if ".." in name or name.startswith("/"):
        assert found.state == "corrupt" and "outside of the checkpoint" in found.problems[0]


@pytest.mark.parametrize(("offset", "length"), [(-1, 10), (0, -1), (1 << 70, 1), (0, 1 << 70), (4090, 10)])
def test_places_that_the_file_does_not_have_are_refused(tmp_path: Path, offset: int, length: int) -> None:
    entry = tensor((4, 4), [((0, 0), (4, 4))])
    info = _StorageInfo("__0_0.distcp", offset, length)
    found = quickly(written(tmp_path / "step-1", description({"weight": entry}, lambda: info)))
    assert found.state in ("corrupt", "incomplete")


def test_one_list_of_chunks_in_many_tensors_is_counted_as_often_as_it_stands(tmp_path: Path) -> None:
    rows = 4000
    shared = tensor((rows, 1), [((row, 0), (1, 1)) for row in range(rows)])
    metadata = description({f"weight{number}": shared for number in range(2)})
    metadata.state_dict_metadata = dict.fromkeys([f"weight{number}" for number in range(1000)], shared)
    found = quickly(written(tmp_path / "step-1", metadata))
    assert (found.state == "corrupt" or found.problems) and found.tensor_count == 0


def test_where_there_are_more_chunks_than_are_read_the_name_still_tells(tmp_path: Path) -> None:
    entry = tensor((75_000, 1), [((row, 0), (1, 1)) for row in range(75_000)])
    found = quickly(written(tmp_path / "step-12", description({"weight": entry})))
    assert (found.state, found.step, found.from_name) == ("complete", 12, ("step",))
    assert found.problems and found.tensor_count == 0


def test_chunks_in_stairs_do_not_take_quadratic_time(tmp_path: Path) -> None:
    size = 4000
    boxes = [((row, row), (size - row, 1)) for row in range(size)]
    found = quickly(written(tmp_path / "step-1", description({"weight": tensor((size, size), boxes)})))
    assert found.state == "corrupt" or found.problems


def test_a_graph_without_end_is_refused(tmp_path: Path) -> None:
    entry = tensor((4, 4), [((0, 0), (4, 4))])
    entry.chunks.append(entry.chunks)  # type: ignore[arg-type]
    metadata = Metadata({"weight": entry}, storage_data={})
    metadata.planner_data = {"weight": metadata}
    assert quickly(written(tmp_path / "step-1", metadata)).state == "corrupt"


@pytest.mark.parametrize(
    "paths",
    [
        {"a": ("x",), "b": ("x", "y"), "c": ("x",)},
        {"a": ("x", 10**15), "b": ("x", -1), "c": ()},
        {"a": tuple(["x"] * 5000), "b": ("x", None), "c": "abc"},
    ],
)
def test_paths_that_contradict_each_other_lose_no_tensor(tmp_path: Path, paths: dict[str, Any]) -> None:
    entry = tensor((4, 4), [((0, 0), (4, 4))])
    found = quickly(written(tmp_path / "step-1", description({"a": entry, "b": entry, "c": entry}, planner_data=paths)))
    assert found.state == "complete" and found.tensor_count == 3


@pytest.mark.parametrize("value", [{}, [], None, 5, "text", Metadata({}, storage_data=None)])
def test_other_pickles_are_no_description(tmp_path: Path, value: Any) -> None:
    assert quickly(written(tmp_path / "step-1", value)).state == "corrupt"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04.", b"garbage" * 10])
def test_a_value_that_cannot_be_read_makes_the_checkpoint_corrupt(tmp_path: Path, data: bytes) -> None:
    info = _StorageInfo("__0_0.distcp", 0, len(data))
    metadata = Metadata({"step": BytesStorageMetadata()}, storage_data={MetadataIndex("step"): info})
    found = quickly(written(tmp_path / "run", metadata, data))
    assert found.state == "corrupt" and "step" in found.problems[0]


def test_a_chunk_that_is_something_else_is_not_compared(tmp_path: Path) -> None:
    import io

    held = io.BytesIO()
    torch.save(torch.zeros(2, 2), held)
    raw = held.getvalue()
    entry = tensor((4, 4), [((0, 0), (4, 4))])
    metadata = description({"weight": entry}, lambda: _StorageInfo("__0_0.distcp", 0, len(raw)))
    paths = [written(tmp_path / name / "step-1", metadata, raw) for name in "ab"]
    with pytest.raises(CorruptError, match="is not what"):
        diff(*paths)


def test_a_sparse_tebibyte_is_described_at_once_and_read_where_it_is_asked(tmp_path: Path) -> None:
    import io

    held = io.BytesIO()
    torch.save(torch.arange(16.0).view(4, 4), held)
    raw = held.getvalue()
    far = (1 << 40) - len(raw)
    huge = tensor((1 << 18, 1 << 19), [((0, 0), (1 << 18, 1 << 19))])
    metadata = description({"huge": huge}, lambda: _StorageInfo("__0_0.distcp", 0, far))
    metadata.state_dict_metadata["small"] = tensor((4, 4), [((0, 0), (4, 4))])
    metadata.storage_data[MetadataIndex("small", torch.Size((0, 0)))] = _StorageInfo("__0_0.distcp", far, len(raw))
    path = written(tmp_path / "step-1", metadata)
    with (path / "__0_0.distcp").open("r+b") as file:
        file.truncate(far)
        file.seek(far)
        file.write(raw)
    found = quickly(path, 5)
    assert found.state == "complete" and found.bytes_read < 1 << 20
    with opened(path) as checkpoint:
        small = next(placed for placed in checkpoint.tensors if placed.info.name == "small")
        assert small.home is not None and small.tensor.storage is not None
        whole = small.home.bytes_of(small.tensor.storage, 0, 64)
        assert torch.frombuffer(bytearray(whole), dtype=torch.float32).tolist() == list(range(16))
    assert checkpoint.inspection.bytes_read < 1 << 20


def test_what_went_through_an_extension_is_named_and_not_read(tmp_path: Path) -> None:
    info = _StorageInfo("__0_0.distcp", 0, 100, ["stream.zstd"])
    entry = tensor((4, 4), [((0, 0), (4, 4))])
    metadata = description({"weight": entry}, lambda: info)
    metadata.state_dict_metadata["epoch"] = BytesStorageMetadata()
    metadata.storage_data[MetadataIndex("epoch")] = info
    found = quickly(written(tmp_path / "step-1", metadata))
    assert found.state == "complete" and found.tensor_count == 1
    assert found.problems == (
        "left out: the bytes of tensors that are kept as stream.zstd",
        "left out: values that are kept as stream.zstd",
    )
