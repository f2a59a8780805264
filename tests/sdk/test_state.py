"""TrainingState: what it takes, what it refuses, and that nothing changes on the way to disk and back."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.exceptions import FormatError, StateError
from ckpt.state import TEXT_UP_TO, TrainingState, values

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
]


def state(**fields: Any) -> TrainingState:
    return TrainingState(**{"epoch": 5, "global_step": 1000, "learning_rate": 1e-4, "loss": 0.1234, **fields})


def through_json(value: Any) -> Any:
    return values.decode(json.loads(json.dumps(values.encode(value))))


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def test_summary_reads_as_documented() -> None:
    made = state(metrics={"accuracy": 0.95})
    assert made.format_summary() == (
        "Epoch: 5 | Step: 1000 | Learning Rate: 1.00e-04 | Loss: 0.1234 | accuracy: 0.9500"
    )


def test_metrics_are_updated_in_place_and_become_python_floats() -> None:
    made = state(loss=torch.tensor(0.5), learning_rate=np.float32(0.25), epoch=np.int64(3))
    made.update_metrics(accuracy=np.float32(0.5), f1=torch.tensor([0.25]), rank=3)
    assert made.metrics == {"accuracy": 0.5, "f1": 0.25, "rank": 3.0}
    assert {type(v) for v in (*made.metrics.values(), made.loss, made.learning_rate)} == {float}
    assert type(made.epoch) is int


@pytest.mark.parametrize("bad", ["0.5", None, [0.5], torch.zeros(2), object()])
def test_a_metric_that_is_no_number_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(StateError, match=r"metrics\.accuracy"):
        state().update_metrics(accuracy=bad)


@pytest.mark.parametrize("fields", [{"epoch": 1.5}, {"global_step": "7"}, {"batch_size": True}, {"loss": None}])
def test_fields_of_the_wrong_kind_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StateError, match=next(iter(fields))):
        state(**fields)


def test_timestamps_are_aware_utc_and_keep_their_microsecond(tmp_path: Path) -> None:
    assert state().timestamp.tzinfo is UTC
    there = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5)))
    made = state(timestamp=there)
    assert made.timestamp == there
    assert made.timestamp.tzinfo is UTC
    made.save(tmp_path / "s.json")
    assert TrainingState.load(tmp_path / "s.json").timestamp == there
    assert made.to_dict()["timestamp"] == there.timestamp()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (3, 5)])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.filterwarnings("ignore:ComplexHalf support")
def test_every_dtype_comes_back_bit_for_bit(name: str, shape: tuple[int, ...]) -> None:
    dtype = getattr(torch, name)
    count = math.prod(shape)
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (count * dtype.itemsize,), dtype=torch.uint8)
    tensor = raw.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
    back = through_json(tensor)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert tensor_bytes(back) == tensor_bytes(tensor)


def test_views_parameters_and_conjugates_come_back_by_value() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    assert torch.equal(through_json(base.t()), base.t())
    assert torch.equal(through_json(base[:, ::2]), base[:, ::2])
    assert torch.equal(through_json(torch.nn.Parameter(base)), base)
    imaginary = torch.tensor([1 + 2j, 3 - 4j]).conj()
    assert torch.equal(through_json(imaginary), imaginary.resolve_conj())


ARRAYS = [
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.array([[1.5, -0.0], [math.nan, math.inf]]).T,
    np.array(["a", "längs"]),
    np.array([b"x", b"yz"]),
    np.array(["2026-01-01", "NaT"], dtype="datetime64[ns]"),
    np.array(3.5, dtype=np.float16),
    np.zeros((0, 4), dtype=np.complex64),
    np.array([1.0, 2.0], dtype=ml_dtypes.bfloat16),
    np.array([1.0, 2.0], dtype=ml_dtypes.float8_e4m3fn),
    np.array([True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: str(a.dtype))
def test_arrays_come_back_bit_for_bit(array: np.ndarray[Any, Any]) -> None:
    back = through_json(array)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("scalar", [np.float32(1.1), np.float64(-0.0), np.int8(-3), np.bool_(True), np.uint64(2**63)])
def test_array_scalars_keep_their_type(scalar: Any) -> None:
    back = through_json(scalar)
    assert type(back) is type(scalar)
    assert back.tobytes() == scalar.tobytes()


CONTAINERS = [
    {0: {"exp_avg": (1, 2.0)}, 1: None, "1": "a string of the same look"},
    (1, (2, [3, ()]), {}),
    {"$tensor": "not a tag"},
    {"$only": 1, "other": 2},
    OrderedDict([("b", 1), ("a", 2)]),
    defaultdict(dict, {1: {2: 3}}),
    defaultdict(None, {"x": 1}),
    Counter({30: 1, 80: 2}),
    {1, 2, 3},
    frozenset({"a"}),
    torch.Size([2, 3]),
    torch.float16,
    torch.device("cuda:1"),
    b"\x00\xff",
    bytearray(b"ab"),
    2**200,
    -(2**63),
    1 + 2j,
    complex(math.inf, -0.0),
    "line\nbreak \u202e and \udc80",
    True,
    1,
    1.0,
    5e-324,
    1e308,
]


@pytest.mark.parametrize("value", CONTAINERS, ids=lambda v: f"{type(v).__name__}")
def test_values_keep_type_and_order(value: Any) -> None:
    back = through_json(value)
    assert type(back) is type(value)
    assert values.same(back, value)
    assert repr(back) == repr(value)


@given(st.floats(width=64))
@settings(max_examples=200, deadline=None)
def test_floats_come_back_exactly(number: float) -> None:
    back = through_json([number])[0]
    if math.isnan(number):
        assert math.isnan(back)
    else:
        assert struct.pack("d", back) == struct.pack("d", number)


def test_an_optimizer_and_scheduler_come_back_and_train_on_alike(tmp_path: Path) -> None:
    """Regression: integer keys became strings and 0 of 6 parameters had momentum after a load."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        scheduler.step()
    made = state(optimizer_state=optimizer.state_dict(), scheduler_state=scheduler.state_dict())
    made.save(tmp_path / "s.json")
    back = TrainingState.load(tmp_path / "s.json")
    assert back == made
    other = torch.optim.AdamW(model.parameters(), lr=0.5)
    other.load_state_dict(back.optimizer_state)  # type: ignore[arg-type]
    assert sum("exp_avg" in entry for entry in other.state.values()) == 6
    assert values.same(other.state_dict(), optimizer.state_dict())
    torch.optim.lr_scheduler.MultiStepLR(other, [9]).load_state_dict(back.scheduler_state)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [10, TEXT_UP_TO // 4, TEXT_UP_TO // 4 + 1])
def test_small_states_are_json_and_large_ones_binary(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.json"
    made = state(metrics={"v": math.nan}, optimizer_state={"a": torch.randn(size), "b": {0: torch.randn(3)}})
    made.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    is_text = size <= TEXT_UP_TO // 4 - 3
    assert path.read_bytes().startswith(b"{") == is_text
    if is_text:
        plain = json.loads(path.read_text())
        assert (plain["epoch"], plain["metrics"]["v"], plain["format"]) == (5, "NaN", 1)
    else:
        assert path.stat().st_size < 4 * size + 4096
    assert TrainingState.load(path) == made


def test_dictionaries_are_plain_json_and_come_back() -> None:
    made = state(
        loss=math.inf,
        metrics={"v": -math.inf},
        random_state={"python": (3, (1, 2), None)},
        notes="a\nb\udcff",
        batch_size=32,
    )
    plain = made.to_dict()
    assert plain["loss"] == "Infinity"
    assert TrainingState.from_dict(json.loads(json.dumps(plain))) == made


def test_unknown_and_missing_fields_are_told() -> None:
    with pytest.raises(StateError, match="learning_rate"):
        TrainingState.from_dict({**state().to_dict(), "learning_rat": 1})
    with pytest.raises(StateError, match="needs loss"):
        TrainingState.from_dict({"epoch": 1, "global_step": 2, "learning_rate": 0.1})


def circular() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["self"] = [inner]
    return inner


REFUSED: list[tuple[Any, str]] = [
    (lambda: None, "function"),
    (torch.nn.Linear(1, 1), "Linear"),
    (circular(), "contains itself"),
    (torch.zeros(2).to_sparse(), "sparse"),
    (torch.zeros(2, device="meta"), "meta"),
    (np.array([object()]), "object"),
    (object(), "object"),
    (defaultdict(lambda: 1), "factory"),
]


@pytest.mark.parametrize(("value", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_cannot_be_stored_is_named_by_its_place_and_nothing_is_written(
    tmp_path: Path, value: Any, told: str
) -> None:
    made = state(scheduler_state={"fns": [1, {"lr_lambda": value}]})
    with pytest.raises(StateError, match=r"scheduler_state\.fns\[1\]\.lr_lambda") as caught:
        made.save(tmp_path / "x.json")
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StateError, match="lr_lambda"):
        made.to_dict()


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(StateError, match="nested deeper"):
        state(optimizer_state={"x": deep}).to_dict()


def test_the_same_list_twice_is_no_circle() -> None:
    shared = [1, 2]
    assert through_json([shared, shared]) == [[1, 2], [1, 2]]


@pytest.mark.parametrize("size", [4, 400_000])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_file_is_told_and_never_half_read(tmp_path: Path, size: int, damage: str) -> None:
    path = tmp_path / "s.json"
    state(optimizer_state={"a": torch.ones(size)}).save(path)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[data.index(b'"epoch"') if size == 4 else len(data) // 2] ^= 0x41
    path.write_bytes({"cut": data[:-40], "flip": data, "empty": b"", "other": b"[1, 2]"}[damage])
    with pytest.raises(FormatError, match=r"s\.json is no TrainingState"):
        TrainingState.load(path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    state().save(path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(FormatError, match="format is 2"):
        TrainingState.load(path)


def test_a_tag_that_was_made_up_is_refused() -> None:
    for forged in ({"$pickle": "x"}, {"$ndarray": {"dtype": "O", "shape": [1], "data": "AAAAAAAAAAA="}}):
        with pytest.raises(FormatError):
            values.decode(forged)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    state().save(path)
    before = path.read_bytes()
    with pytest.raises(StateError):
        state(optimizer_state={"f": print}).save(path)
    assert path.read_bytes() == before


def test_equality_is_bitwise() -> None:
    assert state(loss=math.nan, timestamp=datetime(2026, 1, 1, tzinfo=UTC)) == state(
        loss=math.nan, timestamp=datetime(2026, 1, 1, tzinfo=UTC)
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert state(loss=0.0, timestamp=moment) != state(loss=-0.0, timestamp=moment)
