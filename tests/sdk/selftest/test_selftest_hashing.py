"""Digests: equal for equal bits, by name, whatever holds them."""

from __future__ import annotations

import threading
from collections import UserDict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from ckpt.selftest.hashing import UNSEEN, digest, digests


@dataclass
class Batch:
    pixels: torch.Tensor
    labels: torch.Tensor


class Words:
    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids
        self.me = self


class Slots:
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Pixel:
    def __init__(self, value: int) -> None:
        self.value = value


def deep(value: Any) -> Any:
    for _ in range(20):
        value = {"in": [value]}
    return value


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (torch.zeros(2), ["value"]),
        ((torch.zeros(2), torch.ones(2)), ["0", "1"]),
        ({"a": {"b": torch.zeros(1)}, "lr": 0.1}, ["a.b", "lr"]),
        (UserDict({"ids": torch.zeros(1)}), ["ids"]),
        (Batch(torch.zeros(1), torch.ones(1)), ["pixels", "labels"]),
        ([1, 2, 3], ["value"]),
        ({"state": (3, (1, 2, 3), None)}, ["state.0", "state.1", "state.2"]),
    ],
)
def test_names(value: Any, names: list[str]) -> None:
    assert list(digests(value)) == names


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.complex64, torch.float8_e5m2]
)
def test_every_dtype_is_read_bit_by_bit(dtype: torch.dtype) -> None:
    tensor = torch.tensor([0, 1, 1]).to(dtype)
    other = torch.tensor([0, 1, 0]).to(dtype)
    assert digest(tensor) == digest(tensor.clone()) != digest(other)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.tensor(0.0), torch.tensor(-0.0)),
        (torch.zeros(4), torch.zeros(2, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (np.zeros(2), np.array([0.0, -0.0])),
        (0.1, 0.1 + 2**-55),
        ({"a": 1}, {"b": 1}),
        ("word", "words"),
        (b"12", b"13"),
        ([1, 2], [1, 3]),
        (None, 0),
        ({1, 2}, {1, 3}),
        ({"seen": {"a", "b"}}, {"seen": {"a", "c"}}),
        (Decimal("0.1"), Decimal("0.2")),
        (datetime(2020, 1, 1), datetime(2020, 1, 2)),
        (Slots(1), Slots(2)),
        ([Batch(torch.zeros(1), torch.zeros(1))], [Batch(torch.zeros(1), torch.ones(1))]),
        ([Pixel(1)], [Pixel(2)]),
        ({"a": {}}, {}),
        ({1: 0.5, "1": 0.5}, {1: 0.25, "1": 0.5}),
        (deep(1.0), deep(2.0)),
        (deep(torch.zeros(5000)), deep(torch.cat([torch.zeros(2500), torch.ones(1), torch.zeros(2499)]))),
        (np.array([Pixel(1)], dtype=object), np.array([Pixel(2)], dtype=object)),
    ],
)
def test_what_differs_in_a_bit_differs(a: Any, b: Any) -> None:
    assert digests(a) == digests(a)
    assert digests(a) != digests(b)


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3).t(),
        torch.arange(4.0)[::2],
        torch.tensor([1 + 2j]).conj(),
        torch.eye(3).to_sparse(),
        torch.zeros(0),
        torch.nn.Parameter(torch.ones(2)),
    ],
)
def test_the_layout_of_memory_is_not_looked_at(value: torch.Tensor) -> None:
    plain = value.detach().to_dense() if value.is_sparse else value.detach()
    assert digest(value) == digest(plain.resolve_conj().contiguous().clone())


def test_objects_of_the_same_content_are_the_same_wherever_they_lie() -> None:
    assert digests([Pixel(1), Pixel(2)]) == digests([Pixel(1), Pixel(2)]) and digests(Slots(1)) == digests(Slots(1))
    assert digests({"a", "b", "c"}) == digests({"c", "b", "a"})


def test_what_cannot_be_looked_into_says_so() -> None:
    assert digests({"lock": threading.Lock()}) == {"lock": f"{UNSEEN}a lock"}


def test_data_that_holds_itself_ends() -> None:
    loop: list[Any] = [torch.zeros(1)]
    loop.append(loop)
    assert digests(loop)["1"] == "itself"


def test_a_tensor_without_data_is_told_by_its_shape() -> None:
    assert digests(torch.zeros(3, device="meta")) == {"value": "float32 [3]"}


def test_objects_that_lead_to_themselves_end() -> None:
    assert "ids" in digests(Words(torch.zeros(1)))
