"""The `log_history` of a `trainer_state.json`: an array of flat objects in one document, read one object at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ckpt.scan.live.forms.form import READ_MAX, TAIL
from ckpt.scan.live.growing import Growing
from ckpt.scan.live.rows import Row, row_of

_ARRAY = re.compile(r'"log_history"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_FLAT = re.compile(r"\{[^{}]*\}")
_PIECE = 256 << 10
_OBJECT_MAX = 1 << 20  # characters of one object
_decoder = json.JSONDecoder()


class LogHistory:
    """The document is written anew at every save, so it is read from its start each time.

    One that is cut, as while it is written, gives the objects before the cut.
    """

    def __init__(self) -> None:
        self.offset = 0

    def read(self, file: Growing, add: Callable[[Row], None]) -> None:
        for record in objects(file):
            row = row_of(record)
            if row is not None:
                add(row)
        self.offset = file.size

    def last(self, file: Growing) -> list[Row]:
        text = file.read(max(0, file.size - TAIL), TAIL).decode("utf-8", "replace")
        rows = []
        for found in _FLAT.finditer(text):
            try:
                record = json.loads(found[0])
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                rows.append(row_of(record))
        return [row for row in rows if row is not None]


def objects(file: Growing) -> Iterator[dict[str, Any]]:
    """The objects in the array, in their order. Raises OSError."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    text = ""
    inside = False
    offset = 0
    while offset < min(file.size, READ_MAX):
        piece = file.read(offset, _PIECE)
        if not piece:
            return
        offset += len(piece)
        text += decode(piece)
        if not inside:
            start = _ARRAY.search(text)
            if start is None:
                text = text[-100:]
                continue
            text, inside = text[start.end() :], True
        at = 0
        while True:
            at = _end_of(_BETWEEN, text, at)
            if at >= len(text):
                break
            if text[at] != "{":
                return
            try:
                record, at = _decoder.raw_decode(text, at)
            except RecursionError:
                return
            except ValueError:
                break
            yield record
        text = text[at:]
        if len(text) > _OBJECT_MAX:
            return


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found is not None else at
