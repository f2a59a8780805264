"""Given fields in short: what is written is what was given."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt.retention.reading import given, parse
from ckpt.retention.writing import given_text, time_text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({}, ""),
        ({"keep_last": 3, "keep_best": "off"}, "keep_last=3 keep_best=off"),
        ({"keep_every": ["1h for 1d", "7d"]}, 'keep_every="1h for 1d, 7d"'),
        ({"keep_best_of": {"acc": 2, "x": {"keep": 1, "mode": "min"}}}, None),
        ({"keep_best_of": {"z": None}}, "keep_best_of.z=off"),
        ({"max_bytes": "200GB", "max_share": "50%"}, "max_bytes=200GB max_share=0.5"),
        ({"max_bytes": 123456789}, "max_bytes=123456789"),
        ({"keep_steps": [5, 1]}, "keep_steps=1,5"),
        ({"keep_for": "36h", "min_age": 90.5, "tag_best": False}, "keep_for=36h min_age=90.5s tag_best=no"),
        ({"monitor": "none", "missing_metric": "ignore"}, "monitor=none missing_metric=ignore"),
        ({"monitor": "val loss", "mode": "max"}, "monitor=val loss mode=max"),
    ],
)
def test_what_is_written_can_be_typed_again(raw: dict[str, Any], text: str | None) -> None:
    fields = given(raw)
    written = given_text(fields)
    assert text is None or written == text
    assert parse([written] if written else []) == fields


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (59.0, "59s"), (60.0, "1m"), (5400.0, "90m"), (129600.0, "36h"), (604800.0, "7d")],
)
def test_a_time_is_written_in_the_largest_unit_that_is_exact(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
