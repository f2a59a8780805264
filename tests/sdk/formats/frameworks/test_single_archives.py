"""Zip archives and HDF5 files that lie about themselves, or are not what they begin like."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from ckpt.formats import inspect

DEFLATED = zipfile.ZIP_DEFLATED


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def test_a_configuration_that_swells_is_not_inflated(tmp_path: Path) -> None:
    bomb = b'{"a": "' + b"a" * (100 << 20) + b'"}'
    path = archive(tmp_path / "a.keras", {"metadata.json": b"{}", "config.json": bomb}, DEFLATED)
    tracemalloc.start()
    found = inspect(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.framework == "keras" and "more than is read" in found.problems[0]
    assert peak < 20 << 20


def test_a_member_that_swells_beyond_what_it_claims_is_damage(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.keras", {"metadata.json": b"{}", "config.json": b" " * 33_456_789}, DEFLATED)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 33_456_789), struct.pack("<I", 1000)))
    tracemalloc.start()
    found = inspect(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.state == "corrupt" and "does not have the content" in found.problems[0]
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"metadata.json": b"{}", "config.json": b"[1]"}, "not a JSON object"),
        ({"metadata.json": b"{}", "config.json": b"[" * 100_000}, "not valid JSON"),
        ({"metadata.json": b"\xff", "config.json": b"{}"}, "not valid JSON"),
        ({"data": b"1", "_stable_baselines3_version": b"2"}, "not a JSON object"),
        ({"data": b"{}", "_stable_baselines3_version": b"2", "policy.pth": b"PK"}, "no zip directory"),
    ],
)
def test_archives_that_are_not_what_they_begin_like(tmp_path: Path, members: dict[str, bytes], problem: str) -> None:
    found = inspect(archive(tmp_path / "a.zip", members))
    assert found.state != "complete" and problem in found.problems[0]


@pytest.mark.parametrize(
    ("members", "missing"),
    [
        ({"metadata.json": b"{}"}, "Keras' metadata.json and config.json"),
        ({"data": b"{}"}, "Stable-Baselines3's data and version"),
        ({"other": b"{}"}, "data.pkl"),
    ],
)
def test_archives_of_somebody_else_are_whole(tmp_path: Path, members: dict[str, bytes], missing: str) -> None:
    found = inspect(archive(tmp_path / "a.zip", members))
    assert (found.state, found.format) == ("complete", "unknown")
    assert found.problems == (f"no reader knows it: it is a zip file without {missing}",)


def test_a_flipped_bit_in_the_settings_is_damage(tmp_path: Path) -> None:
    data = json.dumps({"num_timesteps": 5}).encode()
    path = archive(tmp_path / "a.zip", {"data": data, "_stable_baselines3_version": b"2"})
    assert inspect(path).step == 5
    path.write_bytes(path.read_bytes().replace(b'": 5', b'": 7'))
    assert inspect(path).state == "corrupt"


def hdf5(version: int, size: int, end: int, flags: int = 0) -> bytes:
    if version < 2:
        head = b"\x89HDF\r\n\x1a\n" + bytes((version, 0, 0, 0, 0, 8, 8, 0)) + bytes(8)
        head += (bytes(4) if version else b"") + struct.pack("<3Q", 0, (1 << 64) - 1, end)
    else:
        head = b"\x89HDF\r\n\x1a\n" + bytes((version, 8, 8, flags)) + struct.pack("<3Q", 0, (1 << 64) - 1, end)
    return head.ljust(size, b"\1")


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_an_hdf5_file_is_whole_up_to_the_end_that_it_names(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.h5"
    for size, state in ((500, "complete"), (600, "complete"), (499, "incomplete")):
        path.write_bytes(hdf5(version, size, 500))
        found = inspect(path)
        assert (found.framework, found.format, found.state) == ("unknown", "hdf5", state)


def test_an_hdf5_file_that_is_open_for_writing_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes(hdf5(3, 500, 500, flags=1))
    found = inspect(path)
    assert (found.framework, found.state) == ("keras", "incomplete")
    path.write_bytes(bytes(500))
    assert inspect(path).state == "incomplete"
    path.write_bytes(hdf5(9, 500, 500))
    assert inspect(path).state == "corrupt"
