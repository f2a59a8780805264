"""JSON under the project's rules: numbers that are not finite, paths that are not UTF-8."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt import encoding

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    written = encoding.dumps(value)
    assert encoding.loads(written) == value
    assert json.loads(written) == value
    assert encoding.loads(encoding.dumps(value, indent=2)) == value


@given(st.floats())
def test_every_float_survives_the_disk(value: float) -> None:
    back = encoding.number_from_disk(encoding.loads(encoding.dumps(value)))
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_numbers_that_are_not_finite_are_names_on_disk() -> None:
    assert encoding.loads(encoding.dumps({"a": [math.nan, math.inf], "b": (-math.inf,)})) == {
        "a": ["NaN", "Infinity"],
        "b": ["-Infinity"],
    }


@pytest.mark.parametrize("value", [True, None, "nan", "1", [], {}, "infinity", 10**400, -(10**400)])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="number"):
        encoding.number_from_disk(value)


def test_metrics_from_disk_drop_what_is_no_number() -> None:
    raw = {"a": 1, "b": "NaN", "c": "x", "d": None, "e": True, "f": [1], "g": 10**400}
    metrics = encoding.metrics_from_disk(raw)
    assert metrics.keys() == {"a", "b"} and math.isnan(metrics["b"])
    assert encoding.metrics_from_disk([1]) == encoding.metrics_from_disk(None) == {}


def test_metrics_for_json_name_what_they_hide() -> None:
    shown, names = encoding.split_nonfinite({"a": 1.5, "b": math.nan, "c\n": math.inf})
    assert shown == {"a": 1.5, "b": None, "c\\x0a": None}
    assert names == ["b", "c\\x0a"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"nan", b"\xff", b'"\xff"', b'"\\ud800"', b"[" * 100_000, b"1e999", b"{'a': 1}", "\udc80", b"\0"],
)
def test_broken_json_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError):
        encoding.loads(data)


def test_text_keeps_its_newlines_on_disk() -> None:
    note = "first\n\tsecond \x1b[31m"
    assert encoding.loads(encoding.dumps({"note": note})) == {"note": note}


def test_text_that_is_not_utf8_is_escaped_on_disk() -> None:
    assert encoding.loads(encoding.dumps({"k\udcff": "a\udc80"})) == {"k\\xff": "a\\x80"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("exp3", "exp3"),
        ("größe ✓", "größe ✓"),
        ("a\nb", "a\\x0ab"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("a\udcffb", "a\\xffb"),
        ("\ud800", "\\ud800"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066x", "\\u2066x"),
    ],
)
def test_printable_text_is_safe_for_terminals(text: str, shown: str) -> None:
    assert encoding.printable(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_printable_text_is_always_utf8_without_control_characters(text: str) -> None:
    shown = encoding.printable(text)
    shown.encode("utf-8")
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown)


@given(st.binary(max_size=60).filter(lambda raw: b"\0" not in raw))
def test_every_path_survives_json(raw: bytes) -> None:
    path = os.fsdecode(raw)
    fields = encoding.loads(encoding.dumps(encoding.path_fields(path)))
    assert encoding.path_from_fields(fields) == path
    assert ("path_b64" in fields) == (not _is_utf8(raw))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
