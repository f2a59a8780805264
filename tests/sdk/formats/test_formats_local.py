"""What a rank pickled of a tensor that it holds together with others: its own part, and what is no such thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.formats.dtypes import decode_items
from ckpt.formats.pickled.local import local_part
from ckpt.formats.pickled.values import Opaque, Tensor
from ckpt.formats.reading import opened

TENSOR = Tensor(None, 0, (2,), (1,), "float32")
SHARD = Opaque("Shard", state={"tensor": TENSOR})


@pytest.mark.parametrize("kind", ["dtensor", "sharded"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_file_holds_the_rank_s_own_elements(produced: Callable[[str], Path], kind: str, rank: int) -> None:
    base = produced("local_tensors")
    expected = json.loads((base / "expected.json").read_text())[rank][kind]
    with opened(base / f"{kind}_{rank}.pt") as found:
        (placed,) = found.tensors
        assert (placed.info.name, placed.info.shape, placed.info.dtype) == ("layer.weight", (3, 4), "float32")
        assert placed.home is not None and placed.tensor.storage is not None
        raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
        assert decode_items(raw, "float32") == [value for row in expected for value in row]


@pytest.mark.parametrize(
    ("state", "part"),
    [
        ({"_local_tensor": TENSOR}, TENSOR),
        ((None, {"_local_tensor": TENSOR}), TENSOR),
        (({"_local_tensor": TENSOR}, {}), TENSOR),
        (([SHARD], None), TENSOR),
        (([SHARD, SHARD], None), [TENSOR, TENSOR]),
        (([SHARD] * 100, None), None),
        (([SHARD, 3], None), None),
        (([Opaque("Shard", state=3)], None), None),
        ({"_local_tensor": 3}, None),
        ({"other": TENSOR}, None),
        (([], None), None),
        ((), None),
        ([SHARD], TENSOR),
        (None, None),
        ("text", None),
    ],
)
def test_the_part_in_a_state(state: Any, part: Any) -> None:
    assert local_part(state) == part
