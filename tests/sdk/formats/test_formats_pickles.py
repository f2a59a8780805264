"""Pickles built to run code, to lie or to exhaust the reader."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ckpt.formats import inspect, inspection_to_json
from ckpt.formats.pickled import stream
from ckpt.formats.pickled.values import Opaque
from ckpt.formats.source import Damaged, TooLarge, Unfinished, Unreadable


def torch_file(path: Path, data: bytes, **others: bytes) -> Path:
    """A torch zip around a pickle of ours."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in others.items():
            archive.writestr(f"archive/data/{name}", content)
        archive.writestr("archive/version", b"3\n")
    return path


class Runs:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
def test_no_code_of_a_file_runs(tmp_path: Path, protocol: int) -> None:
    import os

    trace = tmp_path / "trace"
    data = pickle.dumps({"epoch": 3, "evil": Runs(os.system, f"touch {trace}")}, protocol=protocol)
    found = inspect(torch_file(tmp_path / "a.pt", data))
    assert not trace.exists()
    assert found.state == "complete" and found.epoch == 3
    assert found.unknown_globals == ("posix.system",)


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch never'\ntR.",
        b"(S'touch never'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch never'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85\x81.",
        b"cbuiltins\neval\n(S'1/0'\ntR.",
        b"c__main__\nExploit\n)\x81}X\x09\x00\x00\x00__class__K\x01sb.",
    ],
)
def test_calls_become_opaque_values(data: bytes) -> None:
    loaded = stream.load(data)
    assert isinstance(loaded.value, Opaque)
    assert loaded.unknown == (loaded.value.path,)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, "three", b"four", None, True, (5, (6,)), {"x": {}}], 7: -1, "big": 1 << 200, "neg": -(1 << 90)},
        [[], {}, (), "", b"", 0, 255, 256, 65535, 65536, -1, 1 << 31, -(1 << 31), 1e300, float("inf")],
        {"same": ["shared"] * 3, "text": "héllo\n\\u1234 \U0001f600", "lone": "\udc80"},
        list(range(600)),
        {"bytes": bytes(range(256)) * 300, "long": "x" * 70000},
    ],
)
@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_out_as_they_went_in(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    loaded = stream.load(b"head" + data + b"tail", 4)
    assert loaded.value == value
    assert loaded.end == 4 + len(data)
    assert loaded.unknown == ()


@pytest.mark.parametrize("protocol", range(6))
def test_a_member_of_an_enumeration_by_its_name_is_shown_by_it(protocol: int) -> None:
    data = pickle.dumps(Runs(getattr, zipfile.Path, "RED"), protocol=protocol)
    loaded = stream.load(data)
    assert (loaded.value.path, loaded.value.args) == ("zipfile.Path", ("RED",))
    assert loaded.unknown == ("zipfile.Path",)


@pytest.mark.parametrize(
    "arguments",
    [
        (object, "mro"),
        (list, "append"),
        (zipfile.Path, "__subclasses__"),
        (zipfile.Path, "a.b"),
        (zipfile.Path, "R" * 201),
        (zipfile.Path, b"RED"),
        ("text", "format"),
        (getattr, "RED"),
        (Runs(getattr, zipfile.Path, "RED"), "name"),
        (zipfile.Path, "RED", None),
        (zipfile.Path,),
        (),
    ],
)
def test_any_other_attribute_is_reported(arguments: tuple[Any, ...]) -> None:
    loaded = stream.load(pickle.dumps([Runs(getattr, zipfile.Path, "RED"), Runs(getattr, *arguments)]))
    assert type(loaded.value[1]) is Opaque and loaded.value[1].path == "builtins.getattr"
    assert "builtins.getattr" in loaded.unknown


def test_every_cut_of_a_pickle_is_told_from_a_whole_one() -> None:
    for protocol in range(6):
        data = pickle.dumps({"a": [1, 300, 70000, 2.5, "text", b"raw", 1 << 100], "b": ({}, None)}, protocol=protocol)
        for end in range(len(data)):
            with pytest.raises(Unfinished):
                stream.load(data[:end])


def bomb_memo() -> bytes:
    return b"\x80\x02]r\xff\xff\xff\xff."


def bomb_nested(depth: int, opening: bytes = b"]", closing: bytes = b"a") -> bytes:
    return b"\x80\x02" + opening * depth + closing * (depth - 1) + b"."


def bomb_laughs(levels: int) -> bytes:
    out = [b"\x80\x02]q\x00"]
    for level in range(1, levels):
        out.append(b"(" + b"h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"lq" + bytes([level]))
    return b"".join(out) + b"."


def bomb_tuple_keys(levels: int) -> bytes:
    return b"\x80\x02}(K\x01" + b"2\x86" * levels + b"K\x01u."


def bomb_copies(items: int, copies: int) -> bytes:
    listing = b"](" + b"K\x01" * items + b"eq\x01"
    return b"\x80\x02cbuiltins\nlist\nq\x00" + listing + b"h\x00h\x01\x85R" * copies + b"."


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (bomb_memo(), 1),
        (bomb_nested(900_000), 10),
        (bomb_nested(900_000, b"(", b"t"), 10),
        (bomb_nested(300_000, b"(", b"d"), 10),
        (bomb_laughs(200), 5),
        (bomb_tuple_keys(100_000), 5),
        (bomb_copies(5000, 100_000), 10),
        (b"\x80\x02" + b"}" * 3_000_000 + b".", 15),
        (b"\x80\x02" + b"N" * 5_000_000 + b".", 15),
        (b"\x80\x02K\x012" * 100 + b".", 1),
        (b"\x80\x05\x8f" + b"\x91" * 10, 1),
    ],
    ids=["memo", "lists", "tuples", "dicts", "laughs", "keys", "copies", "many dicts", "many values", "dup", "sets"],
)
def test_bombs_neither_hang_nor_fill_the_memory(tmp_path: Path, data: bytes, seconds: float) -> None:
    path = torch_file(tmp_path / "a.pt", data)
    start = time.process_time()
    found = inspect(path)
    inspection_to_json(found)
    assert time.process_time() - start < seconds
    assert found.state in ("complete", "corrupt")
    assert found.tensors == ()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"xx.",
        b"\x80\x05\x96" + struct.pack("<Q", (1 << 64) - 1) + b"xx.",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"xx.",
        b"\x80\x02\x8b\xff\xff\xff\x7f00.",
        b"\x80\x02X\xff\xff\xff\xff00.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"N.",
        b"\x80\x02]",
    ],
)
def test_lengths_that_lie_are_met_before_anything_is_allocated(data: bytes) -> None:
    with pytest.raises(Unfinished):
        stream.load(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02R.",
        b"\x80\x02h\x07.",
        b"\x80\x02N)b0e.",
        b"\x80\x02K\x01K\x02s.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x09N.",
        b"\xfeN.",
        b"I12x\n.",
        b"S'open\n.",
        b"p-1\n.",
        b"\x80\x02cos\xff\nx\n.",
        b"\x80\x02](K\x01u.",
        b"L" + b"9" * 4000 + b"x\n.",
    ],
)
def test_broken_pickles_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        stream.load(data)


def test_known_constructors_with_odd_arguments_stay_opaque() -> None:
    for name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_sparse_tensor"):
        loaded = stream.load(b"ctorch._utils\n" + name.encode() + b"\n(I1\ntR.")
        if name != "_rebuild_parameter":
            assert isinstance(loaded.value, Opaque)
    nested = b"ctorch._tensor\n_rebuild_from_type_v2\n" * 1000 + b"(I1\nt" + b"R" * 1000 + b"."
    assert isinstance(stream.load(nested).value, Opaque)


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI%d\ntQ%s\x89}tR."


@pytest.mark.parametrize(
    ("count", "view", "stored", "problem"),
    [
        (4, b"I0\n(I4\nt(I1\nt", 16, None),
        (4, b"I1\n(I4\nt(I1\nt", 16, "outside"),
        (4, b"I0\n(I4\nt(I2\nt", 16, "outside"),
        (4, b"I-1\n(I4\nt(I1\nt", 16, "place"),
        (4, b"I0\n(I-4\nt(I1\nt", 16, "shape"),
        (4, b"I0\n(I4\nt(I-1\nt", 16, "shape"),
        (4, b"I0\n(I4\nI1\nt(I1\nt", 16, "shape"),
        (4, b"I0\n(I1000000000000\nI1000000000000\nt(I0\nI0\nt", 16, "larger"),
        (4, b"I0\n(I4\nt(I1\nt", 12, "not all"),
        (9, b"I0\n(I4\nt(I1\nt", 16, "not all"),
        (4, b"I0\n(S'x'\nt(I1\nt", 16, "shape"),
    ],
)
def test_tensors_that_cannot_be_are_found_out(
    tmp_path: Path, count: int, view: bytes, stored: int, problem: str | None
) -> None:
    found = inspect(torch_file(tmp_path / "a.pt", TENSOR % (count, view), **{"0": bytes(stored)}))
    if problem is None:
        assert found.state == "complete" and found.tensor_count == 1
    else:
        assert found.state == "corrupt" and problem in found.problems[0]


def test_a_tensor_whose_bytes_are_missing_is_found_out(tmp_path: Path) -> None:
    found = inspect(torch_file(tmp_path / "a.pt", TENSOR % (4, b"I0\n(I4\nt(I1\nt")))
    assert found.state == "corrupt" and "not in the file" in found.problems[0]


def test_keys_that_share_a_hash_do_not_slow_the_reader_down() -> None:
    prime = (1 << 61) - 1
    pickled = io.BytesIO()
    pickled.write(b"\x80\x02}(")
    for index in range(60_000):
        raw = (prime * (index + 1)).to_bytes(12, "little")
        pickled.write(b"\x8a\x0c" + raw + b"K\x01")
    pickled.write(b"u.")
    start = time.process_time()
    assert len(stream.load(pickled.getvalue()).value) == 60_000
    assert time.process_time() - start < 5


def test_calls_within_calls_of_a_subclass_do_not_recur() -> None:
    function = b"ctorch._tensor\n_rebuild_from_type_v2\n"
    depth = 3000
    nested = (b"(" + function + b"N") * depth + b")" + b"Nt" * depth
    found = stream.load(b"\x80\x02" + function + nested + b"R.").value
    assert type(found) is Opaque and found.path == "torch._tensor._rebuild_from_type_v2"


def test_a_plain_pickle_is_no_checkpoint_but_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps({"epoch": 3, "names": ["a"]}))
    found = inspect(path)
    assert (found.framework, found.format, found.state, found.epoch) == ("unknown", "pickle", "complete", 3)
    path.write_bytes(path.read_bytes()[:-3])
    assert inspect(path).state == "incomplete"


def test_bounds_are_errors_of_their_own() -> None:
    with pytest.raises(TooLarge):
        stream.load(b"\x80\x02" + b"}" * 1_100_000 + b".")
    with pytest.raises(TooLarge):
        stream.load(b"\x80\x02" + b"(" * 50_000)
    assert issubclass(TooLarge, Unreadable) and TooLarge.state == "complete"
