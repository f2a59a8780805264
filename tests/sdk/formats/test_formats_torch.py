"""What `inspect` says of files that torch.save really wrote, against what torch.load finds in them."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import math
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpt.formats import inspect
from ckpt.formats.reading import opened

torch.set_num_threads(1)


class Colour(enum.Enum):
    RED = "red"


BY_NAME = Colour.RED.__reduce_ex__(2)[0] is getattr
"""Whether this Python pickles members of enumerations by their names; most do it by their values."""


def training(width: int = 4) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.randn(3, width)).sum().backward()
    optimizer.step()
    return model, optimizer


KINDS = (
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.bool,
)
NEWER_KINDS = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.uint16,
    torch.uint32,
)  # torch cannot load them from old files


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_tensors(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from named_tensors(item, f"{name}.{index}" if name else str(index))


SAVERS: dict[str, dict[str, Any]] = {
    "zip-2": {"pickle_protocol": 2},
    "zip-3": {"pickle_protocol": 3},
    "zip-4": {"pickle_protocol": 4},
    "zip-5": {"pickle_protocol": 5},
    "legacy-1": {"_use_new_zipfile_serialization": False, "pickle_protocol": 1},
    "legacy-2": {"_use_new_zipfile_serialization": False},
    "legacy-4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}


@pytest.mark.parametrize("options", SAVERS.values(), ids=SAVERS)
def test_tensors_are_those_that_torch_loads(tmp_path: Path, options: dict[str, Any]) -> None:
    model, optimizer = training()
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "views": [base, base[1:3], base.t(), base[:, ::2], base[2, 3], torch.zeros(1).expand(5), torch.zeros(0, 3)],
        "kinds": {
            str(dtype): torch.ones(3, dtype=torch.float32).to(dtype)
            for dtype in (*KINDS, *(() if "_use_new_zipfile_serialization" in options else NEWER_KINDS))
        },
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
        3: (torch.ones(1), {"deep": [torch.ones(2)]}),
    }
    path = tmp_path / "a.pt"
    torch.save(state, path, **options)
    found = inspect(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols above 2
        expected = dict(named_tensors(torch.load(path, weights_only=False)))
    assert found.state == "complete", found.problems
    assert found.problems == () and found.unknown_globals == ()
    assert {info.name: (info.shape, info.dtype, info.bytes) for info in found.tensors} == {
        name: (
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            tensor.numel() * tensor.element_size(),
        )
        for name, tensor in expected.items()
    }
    assert found.tensor_count == len(expected)


@pytest.mark.parametrize("options", SAVERS.values(), ids=SAVERS)
def test_values_of_many_kinds_are_shown_plainly(tmp_path: Path, options: dict[str, Any]) -> None:
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.UTC)
    config = {
        "float": np.float32(0.5),
        "int": np.int64(-3),
        "bool": np.bool_(True),
        "text": np.str_("añb"),
        "array": np.arange(3),
        "fortran": np.zeros((3, 4), order="F"),
        "moment": moment,
        "day": datetime.date(2024, 5, 6),
        "path": pathlib.PurePosixPath("/data/set"),
        "relative": pathlib.PurePosixPath("data/set"),
        "namespace": argparse.Namespace(a=1, b=argparse.Namespace(c=[2])),
        "ordered": collections.OrderedDict([("x", 1)]),
        "default": collections.defaultdict(list, {"k": [1]}),
        "counter": collections.Counter("aab"),
        "deque": collections.deque([1, 2], maxlen=4),
        "set": {3, 1, 2},
        "frozen": frozenset(["q"]),
        "complex": 1 + 2j,
        "bytes": b"\x00\x01",
        "bytearray": bytearray(b"abc"),
        "big": 1 << 80,
        "negative": -(1 << 70),
        "none": None,
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cuda", 1),
        "enum": Colour.RED,
        "tuple": (1, "two", 3.0),
        "nan": math.nan,
        "unicode": "ünï \u202e\x1b[31m",
        "scalar": torch.tensor(0.25),
        "tensor": torch.zeros(2, 3),
        7: "integer key",
        ("a", 1): "tuple key",
    }
    path = tmp_path / "a.pt"
    torch.save({"config": config, "w": torch.zeros(1)}, path, **options)
    found = inspect(path)
    assert found.state == "complete", found.problems
    shown = dict(found.config)
    assert math.isnan(shown.pop("nan"))
    assert shown == {
        "float": 0.5,
        "int": -3,
        "bool": True,
        "text": "añb",
        "array": [0, 1, 2],
        "fortran": "<array float64 [3, 4]>",
        "moment": moment.isoformat(),
        "day": "2024-05-06",
        "path": "/data/set",
        "relative": "data/set",
        "namespace": {"a": 1, "b": {"c": [2]}},
        "ordered": {"x": 1},
        "default": {"k": [1]},
        "counter": {"a": 2, "b": 1},
        "deque": [1, 2],
        "set": [1, 2, 3],
        "frozen": ["q"],
        "complex": "(1+2j)",
        "bytes": "<2 bytes>",
        "bytearray": "<3 bytes>",
        "big": hex(1 << 80),
        "negative": hex(-(1 << 70)),
        "none": None,
        "size": [2, 3],
        "dtype": "torch.bfloat16",
        "device": "cuda:1",
        "enum": "RED" if BY_NAME else "red",
        "tuple": [1, "two", 3.0],
        "unicode": "ünï \\u202e\\x1b[31m",
        "scalar": 0.25,
        "tensor": "<tensor float32 [2, 3]>",
        "7": "integer key",
        "(a, 1)": "tuple key",
    }
    assert all("Colour" in name for name in found.unknown_globals), found.unknown_globals


def test_quantised_sparse_and_meta_tensors_do_not_stop_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(
        {
            "sparse": torch.eye(2).to_sparse(),
            "meta": torch.zeros(2, 3, device="meta"),
            "bits": torch.zeros(3, dtype=torch.float32).untyped_storage(),
            "plain": torch.ones(2),
        },
        path,
    )
    found = inspect(path)
    assert found.state == "complete", found.problems
    shapes = {info.name: info.shape for info in found.tensors}
    assert shapes["meta"] == (2, 3) and shapes["plain"] == (2,)
    assert shapes["sparse.indices"] == (2, 2) and shapes["sparse.values"] == (2,)


def test_a_pickled_module_gives_the_names_of_its_state_dict(tmp_path: Path) -> None:
    model, _ = training()
    torch.save(model, tmp_path / "whole.pt")
    torch.save({"net": model, "epoch": 2}, tmp_path / "inside.pt")
    whole, inside = inspect(tmp_path / "whole.pt"), inspect(tmp_path / "inside.pt")
    names = set(model.state_dict())
    assert {info.name for info in whole.tensors} == names
    assert {info.name for info in inside.tensors} == {f"net.{name}" for name in names}
    assert whole.parameter_count == sum(t.numel() for t in model.state_dict().values()) == inside.parameter_count
    assert inside.epoch == 2
    assert "torch.nn.modules.linear.Linear" in whole.unknown_globals


def test_parameter_count_leaves_out_the_optimizer_and_counts_tied_weights_once(tmp_path: Path) -> None:
    model, optimizer = training()
    path = tmp_path / "a.pt"
    torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, path)
    assert inspect(path).parameter_count == sum(t.numel() for t in model.state_dict().values())
    tied = torch.zeros(5, 2)
    torch.save({"embed.weight": tied, "head.weight": tied.detach(), "bias": torch.zeros(5)}, path)
    assert inspect(path).parameter_count == 15
    assert [info.name for info in inspect(path).tensors] == ["embed.weight", "head.weight", "bias"]


def test_a_bare_tensor_and_a_list_of_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(torch.zeros(2, 3), path)
    assert [(info.name, info.shape) for info in inspect(path).tensors] == [("tensor", (2, 3))]
    torch.save([torch.zeros(1), torch.zeros(2)], path)
    assert [info.name for info in inspect(path).tensors] == ["0", "1"]


def test_names_that_collide_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a.b": torch.zeros(1), "a": {"b": torch.zeros(2), 1: torch.zeros(3), "1": torch.zeros(4)}}, path)
    assert [(info.name, info.shape) for info in inspect(path).tensors] == [
        ("a.b", (1,)),
        ("a.b#2", (2,)),
        ("a.1", (3,)),
        ("a.1#2", (4,)),
    ]


def test_content_hints_are_equal_for_equal_bytes_only(tmp_path: Path) -> None:
    a = {"x": torch.arange(6.0), "y": torch.zeros(3), "empty": torch.zeros(0)}
    b = {"x": torch.arange(6.0), "y": torch.ones(3), "empty": torch.zeros(0)}
    torch.save(a, tmp_path / "a.pt")
    torch.save(b, tmp_path / "b.pt")
    hints_a, hints_b = inspect(tmp_path / "a.pt").storages, inspect(tmp_path / "b.pt").storages
    assert hints_a["x"] == hints_b["x"] and hints_a["y"] != hints_b["y"]
    assert "empty" not in hints_a and hints_a["x"].startswith("crc32:")


@pytest.fixture
def without_checksums() -> Iterator[None]:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(before)


def test_a_file_without_checksums_is_read_and_gives_no_hints(tmp_path: Path, without_checksums: None) -> None:
    torch.save({"x": torch.arange(6.0), "epoch": 4}, tmp_path / "a.pt")
    torch.save({"x": torch.arange(6.0) + 1, "epoch": 4}, tmp_path / "b.pt")
    torch.save({"x": torch.arange(6.0), "epoch": 4}, tmp_path / "c.pt")
    a, b, c = (inspect(tmp_path / f"{name}.pt") for name in "abc")
    assert a.state == "complete" and a.epoch == 4 and a.storages == {}
    # torch's own identifier is the same for all three of them.
    assert a.fingerprint != b.fingerprint
    assert a.fingerprint == c.fingerprint


@pytest.mark.parametrize("options", SAVERS.values(), ids=SAVERS)
def test_fingerprints_follow_the_content(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.save({"x": torch.arange(6.0)}, tmp_path / "a.pt", **options)
    torch.save({"x": torch.arange(6.0)}, tmp_path / "b.pt", **options)
    first, second = inspect(tmp_path / "a.pt").fingerprint, inspect(tmp_path / "b.pt").fingerprint
    torch.save({"x": torch.arange(6.0) * 2}, tmp_path / "a.pt", **options)
    assert first == second != ""
    assert inspect(tmp_path / "a.pt").fingerprint != first
    assert first.partition(":")[0] in ("torch", "torch-legacy")


def test_only_metadata_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"x": torch.zeros(4 << 20), "loss": torch.tensor(0.5)}, path)
    found = inspect(path)
    assert found.bytes == path.stat().st_size > 16 << 20
    assert found.loss == 0.5
    assert found.bytes_read <= 80 << 10


@pytest.mark.parametrize("options", [SAVERS["zip-2"], SAVERS["legacy-2"]], ids=["zip", "legacy"])
def test_a_file_cut_short_anywhere_is_incomplete(tmp_path: Path, options: dict[str, Any]) -> None:
    model, optimizer = training()
    path = tmp_path / "a.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, path, **options)
    whole = path.read_bytes()
    first = 32 if "_use_new_zipfile_serialization" in options else 0
    for step in range(60):
        path.write_bytes(whole[: first + step * (len(whole) - first) // 60])
        found = inspect(path)
        assert found.state == "incomplete", (step, found.problems)
        assert found.problems
    for missing in range(1, 30):
        path.write_bytes(whole[:-missing])
        assert inspect(path).state == "incomplete", missing
    path.write_bytes(whole + b"\0" * 7)
    assert inspect(path).state == "corrupt"


def test_torchscript_archives_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), str(path))
    found = inspect(path)
    assert found.state == "complete", found.problems
    assert sorted(info.shape for info in found.tensors) == [(2,), (2, 3)]


def test_neither_torch_nor_numpy_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"x": torch.zeros(2), "config": {"a": np.float32(1), "b": np.zeros(2)}}, path)
    program = (
        "import sys; from ckpt.formats import inspect, inspection_to_json; from ckpt.diff import diff\n"
        f"assert inspection_to_json(inspect({str(path)!r}))['state'] == 'complete'\n"
        f"assert diff({str(path)!r}, {str(path)!r}).same\n"
        "print(sorted({'torch', 'numpy', 'pickle', 'pickletools', 'safetensors'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        inspect(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(OSError, match="regular file"):
        inspect(tmp_path / "pipe.pt")


def test_an_opened_file_knows_where_its_tensors_lie(tmp_path: Path) -> None:
    for options in (SAVERS["zip-2"], SAVERS["legacy-2"]):
        path = tmp_path / "a.pt"
        tensor = torch.arange(20, dtype=torch.int32)
        torch.save({"other": torch.zeros(3), "x": tensor[4:10]}, path, **options)
        with opened(path) as file:
            placed = next(placed for placed in file.tensors if placed.info.name == "x")
            assert placed.home is not None and placed.tensor.storage is not None
            found = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            assert found == tensor[4:10].numpy().tobytes()
