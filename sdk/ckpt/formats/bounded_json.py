"""JSON of strangers: refused before it is parsed where its values would take much memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ckpt.formats.source import TooLarge

MAX_VALUES = 400_000
MAX_ASCII_BYTES = 16 << 20
MAX_OTHER_BYTES = 4 << 20  # one letter beyond ASCII makes every letter of the text take up to four bytes


def parse(
    raw: bytes,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    constant: Callable[[str], Any] | None = None,
) -> Any:
    """The value of a JSON text; `pairs` makes the objects and `constant` what NaN and Infinity stand for.

    Raises TooLarge, json.JSONDecodeError, and ValueError for what is no UTF-8 or nested too deep.
    """
    if len(raw) > (MAX_ASCII_BYTES if raw.isascii() else MAX_OTHER_BYTES):
        raise TooLarge(f"its JSON has {len(raw)} bytes, more than is read")
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise TooLarge(f"its JSON holds more than {MAX_VALUES} values")
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
