"""Files with bytes changed at random: an answer every time, and never an error that was not meant."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ckpt.formats import inspect, inspection_to_json
from ckpt.formats.pickled import stream
from ckpt.formats.source import Unreadable

torch.set_num_threads(1)


def _seeds() -> dict[str, bytes]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {"model": model, "optimizer": optimizer.state_dict(), "loss": torch.tensor(0.5), "args": {"a": (1, {2})}}
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.pt"
        for name, options in (
            ("zip", {}),
            ("zip5", {"pickle_protocol": 5}),
            ("legacy", {"_use_new_zipfile_serialization": False}),
        ):
            torch.save(content, path, **options)
            found[name] = path.read_bytes()
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(content, path)
        finally:
            torch.serialization.set_crc32_options(True)
        found["unchecked"] = path.read_bytes()
        save_file(model.state_dict(), path, metadata={"epoch": "3"})
        found["safetensors"] = path.read_bytes()
    return found


SEEDS = _seeds()
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(("set", "drop", "insert", "u32", "u64")),
        st.binary(min_size=8, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def _changed(whole: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    raw = bytearray(whole)
    for where, how, noise in changes:
        at = int(where * max(1, len(raw)))
        if how == "set":
            raw[at : at + 1] = noise[:1]
        elif how == "drop":
            del raw[at : at + 1 + noise[0] % 40]
        elif how == "insert":
            raw[at:at] = noise[: 1 + noise[0] % 8]
        elif how == "u32":
            raw[at : at + 4] = struct.pack("<I", 0xFFFFFFFF - noise[0])
        else:
            raw[at : at + 8] = struct.pack("<Q", (1 << 63) + noise[0])
    return bytes(raw)


@pytest.mark.parametrize("seed", SEEDS)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(changes=CHANGES)
def test_changed_files_get_an_answer(tmp_path: Path, seed: str, changes: list[tuple[float, str, bytes]]) -> None:
    path = tmp_path / f"a.{seed}.pt"
    path.write_bytes(_changed(SEEDS[seed], changes))
    found = inspect(path)
    assert found.state in ("complete", "incomplete", "corrupt")
    assert found.state == "complete" or found.problems
    json.dumps(inspection_to_json(found), allow_nan=False)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(changes=CHANGES, protocol=st.sampled_from(("zip", "zip5", "legacy")))
def test_changed_pickles_raise_only_what_they_should(protocol: str, changes: list[tuple[float, str, bytes]]) -> None:
    whole = SEEDS[protocol]
    start = whole.index(b"\x80")
    try:
        stream.load(_changed(whole[start : start + 3000], changes))
    except Unreadable:
        pass


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=200))
def test_noise_is_no_pickle_or_a_harmless_one(data: bytes) -> None:
    try:
        stream.load(data)
    except Unreadable:
        pass
