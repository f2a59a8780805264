"""The face of the forms in which trainings write metrics to a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ckpt.scan.live.growing import Growing
from ckpt.scan.live.rows import Row

READ_MAX = 256 << 20
"""Bytes of one file that one question reads; of a larger one the end is read."""
TAIL = 64 << 10
"""Bytes at the end of a file in which its last state is looked for."""


class Form(Protocol):
    """Reads one file, from where it stood the last time. It takes whole items only, so it may be asked at any moment.

    Content never makes it raise: what is no row is passed over. Raises OSError.
    """

    offset: int
    """Bytes of the file that were read."""

    def read(self, file: Growing, add: Callable[[Row], None]) -> None:
        """Gives the rows from `offset` on, and moves it."""

    def last(self, file: Growing) -> list[Row]:
        """The rows in the last TAIL bytes of a file, read by nobody yet."""
