"""safetensors files: real ones, and headers that lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import inspect, inspection_to_json

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def written(path: Path, header: Any, body: bytes = b"", *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + body)
    return path


def test_tensors_are_those_that_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {
        "a.weight": torch.zeros(2, 3),
        "b": torch.zeros(4, dtype=torch.bfloat16),
        "c": torch.zeros(0, 5, dtype=torch.int64),
        "d": torch.tensor(1.0, dtype=torch.float8_e4m3fn),
        "e": torch.zeros(3, dtype=torch.bool),
    }
    save_file(tensors, path, metadata={"format": "pt", "epoch": "3", "global_step": "1200", "val_loss": "0.25"})
    found = inspect(path)
    assert (found.state, found.framework, found.format) == ("complete", "safetensors", "safetensors")
    assert {info.name: (info.shape, info.dtype, info.bytes) for info in found.tensors} == {
        name: (tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel() * t.element_size())
        for name, t in tensors.items()
    }
    assert found.config == {"format": "pt", "epoch": "3", "global_step": "1200", "val_loss": "0.25"}
    assert (found.epoch, found.step, found.metrics) == (3, 1200, {"val_loss": 0.25})
    assert found.parameter_count == sum(t.numel() for t in tensors.values())
    assert found.resume["model"] and not found.resume["optimizer"]
    assert inspection_to_json(found)["config"]["format"] == "pt"


def test_a_file_cut_short_anywhere_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(100), "b": torch.ones(50)}, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        assert inspect(path).state == "incomplete", length
    path.write_bytes(whole + b"x")
    assert inspect(path).state == "corrupt"


def test_the_fingerprint_follows_header_and_content(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    prints = []
    for tensor in (torch.zeros(10_000), torch.zeros(10_000), torch.ones(10_000), torch.zeros(10_001)):
        save_file({"a": tensor}, path)
        prints.append(inspect(path).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert prints[0].startswith("safetensors:")


@pytest.mark.parametrize(
    ("header", "body", "problem"),
    [
        (b'{"a":' + json.dumps(F32).encode() + b',"a":' + json.dumps(F32).encode() + b"}", bytes(8), "twice"),
        (b'{"a":{"dtype":"F32","dtype":"U8","shape":[2],"data_offsets":[0,8]}}', bytes(8), "twice"),
        ({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12), "overlap"),
        ({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, bytes(20), "gap"),
        ({"a": {**F32, "data_offsets": [4, 12]}}, bytes(12), "begin at 0"),
        ({"a": {**F32, "shape": [3]}}, bytes(8), "fill"),
        ({"a": {**F32, "shape": [-2]}}, bytes(8), "dtype, shape or range"),
        ({"a": {**F32, "shape": [True, 2]}}, bytes(8), "dtype, shape or range"),
        ({"a": {**F32, "shape": [1 << 40, 1 << 40]}}, bytes(8), "larger"),
        ({"a": {**F32, "dtype": "F33"}}, bytes(8), "dtype, shape or range"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8), "dtype, shape or range"),
        ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), "does not describe"),
        ({"a": {**F32, "extra": 1}}, bytes(8), "does not describe"),
        ({"a": [1]}, b"", "does not describe"),
        ({"__metadata__": {"a": 1}}, b"", "mapping of texts"),
        ({"__metadata__": []}, b"", "mapping of texts"),
        (b'{"a": NaN}', b"", "NaN"),
        (b'{"a": 1', b"", "JSON"),
        (b'{"\xff": 1}', b"", "JSON"),
        (b"{" + b'"a":{' * 50_000, b"", "JSON"),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b"", "JSON"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, header: Any, body: bytes, problem: str) -> None:
    found = inspect(written(tmp_path / "a.safetensors", header, body))
    assert found.state == "corrupt" and found.framework == "safetensors"
    assert problem in found.problems[0]


@pytest.mark.parametrize(
    ("length", "state"), [(1 << 63, "corrupt"), (100_000_001, "corrupt"), (99_000_000, "incomplete")]
)
def test_header_lengths_that_lie_cost_nothing(tmp_path: Path, length: int, state: str) -> None:
    found = inspect(written(tmp_path / "a.safetensors", b"{}", length=length))
    assert found.state == state
    assert found.bytes_read < 200


def test_a_header_above_the_soft_cap_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", 40 << 20) + b"{")
        stream.truncate(41 << 20)
    found = inspect(path)
    assert found.state == "complete" and "more than is read" in found.problems[0]
    assert found.bytes_read < 200


def test_an_empty_header_is_a_file_without_tensors(tmp_path: Path) -> None:
    found = inspect(written(tmp_path / "a.safetensors", {}))
    assert found.state == "complete" and found.tensors == ()
