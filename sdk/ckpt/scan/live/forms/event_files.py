"""TensorBoard event files: records of `Event` messages, of which the scalars are read.

Event    1 wall_time: double   2 step: int64   5 summary: Summary   7 session_log: SessionLog (1 status: 1 is START)
Summary  1 value: repeated Value
Value    1 tag: string   2 simple_value: float   8 tensor: TensorProto   9 metadata (1 plugin_data (1 plugin_name))
Tensor   1 dtype   2 shape   4 tensor_content: bytes   5 float_val: float   6 double_val: double
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice

from ckpt.scan.live.forms import wire
from ckpt.scan.live.forms.form import TAIL
from ckpt.scan.live.forms.records import first_record, is_sound, records
from ckpt.scan.live.growing import Growing
from ckpt.scan.live.rows import EPOCH, Row, is_metric, plain

RECORDS_MAX = 1_000_000
"""Records of one file that one question reads; the next one goes on behind them."""

_START = 1
_FLOAT, _DOUBLE = 1, 2  # numbers of the types that a scalar's tensor has


class EventFile:
    """Reads the scalars of one file. A record whose checksum is wrong is left out.

    `prefix` is put before every tag.
    """

    def __init__(self, prefix: str = "") -> None:
        self.offset = 0
        self._prefix = prefix
        self._plugins: dict[str, str] = {}

    def read(self, file: Growing, add: Callable[[Row], None]) -> None:
        for data, checksum, end in islice(records(file, self.offset), RECORDS_MAX):
            row = self._row(data, checksum) if data else None
            self.offset = end
            if row is not None:
                add(row)

    def last(self, file: Growing) -> list[Row]:
        if file.size > TAIL:
            start = first_record(file, file.size - TAIL, TAIL)
            if start is None:
                return []
            self.offset = start
        rows: list[Row] = []
        self.read(file, rows.append)
        return rows

    def _row(self, data: bytes, checksum: bytes) -> Row | None:
        try:
            step, values, restart = self._event(data)
        except ValueError:
            return None
        # Only what is of use is checked, because the checksum is dear.
        if not (values or restart) or not is_sound(data, checksum):
            return None
        epoch = next((value for name, value in values.items() if plain(name) == EPOCH), None)
        shown = {self._prefix + name: value for name, value in values.items() if is_metric(name)}
        return Row(step, epoch, shown, restart=restart)

    def _event(self, data: bytes) -> tuple[int, dict[str, float], bool]:
        """Step, scalars by tag, and whether it says that the training began again. Raises ValueError."""
        step = 0
        restart = False
        values: dict[str, float] = {}
        for number, _, value in wire.fields(data):
            if number == 2 and isinstance(value, int):
                step = wire.signed(value)
            elif number == 5 and isinstance(value, bytes):
                for inner, _, message in wire.fields(value):
                    if inner == 1 and isinstance(message, bytes):
                        self._take(message, values)
            elif number == 7 and isinstance(value, bytes):
                restart = any(inner == 1 and said == _START for inner, _, said in wire.fields(value))
        return step, values, restart

    def _take(self, message: bytes, values: dict[str, float]) -> None:
        tag, found, tensor = "", None, None
        for number, kind, value in wire.fields(message):
            if number == 1 and isinstance(value, bytes):
                tag = value.decode("utf-8", "replace")
            elif number == 2 and kind == wire.FIXED32 and isinstance(value, bytes):
                found = float(struct.unpack("<f", value)[0])
            elif number == 8 and isinstance(value, bytes):
                tensor = value
            elif number == 9 and isinstance(value, bytes) and len(self._plugins) < 10_000:
                self._plugins[tag] = _plugin(value)
        if found is None and tensor is not None and self._plugins.get(tag, "scalars") == "scalars":
            found = _scalar(tensor)
        if found is not None and tag:
            values[tag] = found


def _plugin(metadata: bytes) -> str:
    for number, _, value in wire.fields(metadata):
        if number == 1 and isinstance(value, bytes):
            for inner, _, name in wire.fields(value):
                if inner == 1 and isinstance(name, bytes):
                    return name.decode("utf-8", "replace")
    return ""


def _scalar(tensor: bytes) -> float | None:
    """The number in a tensor of one element; None for any other."""
    dtype, raw = 0, b""
    for number, kind, value in wire.fields(tensor):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 2 and isinstance(value, bytes) and any(size != 1 for size in _sizes(value)):
            return None
        elif number in (4, 5, 6) and isinstance(value, bytes) and kind in (wire.BYTES, wire.FIXED32, wire.FIXED64):
            raw = raw + value
    if dtype == _FLOAT and len(raw) == 4:
        return float(struct.unpack("<f", raw)[0])
    if dtype == _DOUBLE and len(raw) == 8:
        return float(struct.unpack("<d", raw)[0])
    return None


def _sizes(shape: bytes) -> list[int]:
    sizes = []
    for number, _, dimension in wire.fields(shape):
        if number == 2 and isinstance(dimension, bytes):
            sizes.append(next((v for n, _, v in wire.fields(dimension) if n == 1 and isinstance(v, int)), 0))
    return sizes
