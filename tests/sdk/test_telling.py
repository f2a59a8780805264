"""How errors are told in a log."""

from __future__ import annotations

from ckpt.exceptions import SaveError
from ckpt.telling import one_line


def test_an_error_and_its_hint_are_one_line() -> None:
    assert one_line(SaveError("it failed", hint="try again")) == "it failed; try again"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
