"""Every value comes back from a file as it was, or is refused when it is saved, with its place."""

from __future__ import annotations

import collections
import enum
import io
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.exceptions import StateError
from ckpt.saving.envelope.plain import from_plain, to_plain
from ckpt.saving.sending.pickling import pickle_envelope

torch.set_num_threads(1)


def returned(value: Any) -> Any:
    """The value behind a file, as torch itself writes and reads it. Raises StateError when it is refused."""
    plain = to_plain(value, "here")
    pickle_envelope(plain)
    stream = io.BytesIO()
    torch.save(plain, stream)
    stream.seek(0)
    return from_plain(torch.load(stream, weights_only=True), "here")


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return bool(a.dtype == b.dtype and torch.equal(a, b))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype) and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        factories = [getattr(item, "default_factory", None) for item in (a, b)]
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a) and factories[0] is factories[1]
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)


KEYS = st.one_of(
    st.sampled_from(["$ndarray", "$frozenset", "$defaultdict", "$dict", "$bytes", "$int", "factory", "dtype", "a"]),
    st.text(max_size=3),
    st.integers(-5, 5),
    st.booleans(),
    st.none(),
    st.tuples(st.integers(), st.text(max_size=2)),
    st.integers(-(1 << 2050), 1 << 2050),
    st.frozensets(st.integers(), max_size=2),
    st.binary(max_size=2),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([(1 << n) + d for n in (2038, 2039, 2040, 9000) for d in (-1, 0, 1)]).map(lambda n: -n),
    st.sampled_from([(1 << n) + d for n in (2038, 2039, 2040, 9000) for d in (-1, 0, 1)]),
    st.floats(),
    st.text(st.characters(codec=None), max_size=4),
    st.binary(max_size=3),
    st.binary(max_size=3).map(bytearray),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([torch.float32, getattr(torch, "int1", torch.int8), torch.device("cpu"), torch.Size([2, 3])]),
    st.sampled_from(["float32", "int8", "bool", "complex64", "uint64"]).map(lambda name: np.zeros((2, 0, 1), name)),
    st.lists(st.integers(0, 9), max_size=3).map(np.array),
    st.lists(st.integers(0, 9), max_size=3).map(torch.tensor),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(collections.OrderedDict),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: collections.defaultdict(list, d)),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: collections.Counter(d)),
        st.frozensets(KEYS, max_size=3),
        st.sets(KEYS, max_size=3),
        inner.map(lambda value: [value, value]),
    ),
    max_leaves=8,
)


@settings(max_examples=250, deadline=None)
@given(VALUES)
def test_a_value_comes_back_as_it_was_or_is_refused_at_the_save(value: Any) -> None:
    try:
        found = returned(value)
    except StateError as error:
        assert error.message.startswith("here")
    else:
        assert same(found, value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        [b"", {"a": b""}],
        1 << 2039,
        [1, -(1 << 5000)],
        {"$ndarray": [1, 2], "dtype": "int8"},
        {"$frozenset": [1]},
        {"$defaultdict": {}, "factory": "list"},
        {"$dict": {"$int": 3}},
        collections.Counter({"a": 1 << 3000, "b": np.arange(2)}),
    ],
)
def test_what_a_safe_loader_lacks_or_we_use_ourselves_comes_back(value: Any) -> None:
    assert same(returned(value), value)


class Text(str, enum.Enum):  # noqa: UP042 - its own text is another than its value
    A = "a"


class Number(enum.IntEnum):
    THREE = 3


class Rate(float, enum.Enum):
    HALF = 0.5


def test_members_of_enumerations_are_their_values() -> None:
    found = returned({Text.A: [Text.A, Number.THREE, Rate.HALF]})
    assert same(found, {"a": ["a", 3, 0.5]})


class Sub(torch.Tensor):
    pass


def freed() -> torch.Tensor:
    tensor = torch.ones(4)
    tensor.untyped_storage().resize_(0)
    return tensor


SEEN_TWICE = torch.ones(4)
ZEROS = np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.longdouble(1), "number of float128"),
        (np.clongdouble(1), "number of complex256"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "MaskedArray"),
        (np.array([[1]]).view(np.matrix), "matrix"),
        (np.array([1], ml_dtypes.int4), "array of int4"),
        ({1: {frozenset({1})}}, "set of what"),
        ({(1, frozenset({1})): 1}, r"key \(1, frozenset"),
        ({b"": 1}, "key b''"),
        (torch.nn.parameter.UninitializedParameter(), "no shape yet"),
        (torch.ones(2, 2).to_mkldnn(), "layout"),
        (torch.empty(2, dtype=torch.int4), "tensor of torch.int4"),  # type: ignore[attr-defined]
        (torch.ones(2).as_subclass(Sub), "is a Sub"),
        (torch.ones(2, device="meta"), "on meta"),
        (freed(), "without its memory"),
        ([SEEN_TWICE, SEEN_TWICE.view(torch.int32)], r"here\.a\[0\] are the same memory"),
        ([ZEROS, ZEROS.view(np.int32)], r"here\.a\[0\] are the same memory"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: Any, told: str) -> None:
    with pytest.raises(StateError, match=told) as caught:
        returned({"a": value})
    assert caught.value.message.startswith("here.a")
    assert caught.value.hint


def test_what_is_sharded_is_refused_with_its_place() -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        sharded = distribute_tensor(torch.ones(4), init_device_mesh("cpu", (2,)))
        with pytest.raises(StateError, match=r"here\.w is a DTensor"):
            returned({"w": torch.nn.Parameter(sharded)})
    finally:
        dist.destroy_process_group()


def nested(kind: Any, levels: int) -> Any:
    value: Any = np.zeros(1)
    for _ in range(levels):
        value = kind(value)
    return value


@pytest.mark.parametrize(
    "kind",
    [
        lambda inner: collections.defaultdict(list, a=inner),
        lambda inner: {"$int": inner},
        lambda inner: [inner],
    ],
)
def test_what_is_as_deep_as_it_may_be_comes_back_and_one_level_more_is_refused(kind: Any) -> None:
    returned(nested(kind, 100))
    with pytest.raises(StateError, match="nested deeper than 100"):
        returned(nested(kind, 101))


def test_frozensets_as_deep_as_they_may_be_come_back() -> None:
    value: Any = frozenset({1})
    for _ in range(50):
        value = frozenset({(value,)})
    deep = [value]
    with pytest.raises(StateError):
        returned([deep])
    assert returned(frozenset({(1, 2)})) == frozenset({(1, 2)})


def test_what_stands_at_two_places_is_made_once_and_stays_one() -> None:
    value: Any = [1]
    for _ in range(20):
        value = [value, value]
    found = returned(value)
    assert found[0] is found[1]
    assert found[0][0] is found[1][1]


def test_what_unfolds_beyond_all_bounds_is_refused_at_once() -> None:
    value: Any = [torch.ones(1)]
    for _ in range(60):
        value = {"a": value, "b": value}
    with pytest.raises(StateError, match="unfolds into more"):
        to_plain(value, "here")


def test_infinities_and_nan_keep_their_kind() -> None:
    found = returned([math.nan, -0.0, np.float32("inf")])
    assert math.isnan(found[0])
    assert math.copysign(1, found[1]) == -1
    assert found[2] == math.inf
