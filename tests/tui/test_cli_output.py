"""The sink: modes, colours, questions, progress."""

from __future__ import annotations

import io
import json
import math
import sys
import threading
import time

import pytest

from ckpt.exceptions import AddressError, UsageError
from ckpt_tui import output
from ckpt_tui.output import Declined, Output, Paint


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class Bytes(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="backslashreplace")

    @property
    def written(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_each_mode_prints_its_own_thing() -> None:
    seen = {}
    for mode in ("human", "json", "quiet"):
        stream = Bytes()
        out = Output(mode, stdout=stream, stderr=io.StringIO())  # type: ignore[arg-type]
        out.data({"a": 1}, ids=["id1", "id2"], human=lambda: ["one line"])
        seen[mode] = stream.written
    assert seen == {"human": b"one line\n", "json": b'{"a":1}\n', "quiet": b"id1\nid2\n"}


def test_ids_keep_their_bytes() -> None:
    stream = Bytes()
    Output("quiet", stdout=stream).data({}, ids=["/r/a\udcffb"], human=list)
    assert stream.written == b"/r/a\xffb\n"


def test_json_has_no_nan() -> None:
    stream = Bytes()
    Output("json", stdout=stream).json({"x": math.nan})
    assert json.loads(stream.written) == {"x": None}


def test_narration_goes_to_stderr_and_is_escaped() -> None:
    err = io.StringIO()
    out = Output("human", stdout=Bytes(), stderr=err)
    out.say("run \x1b[31mred\nnext")
    assert err.getvalue() == "run \\x1b[31mred\nnext\n"
    quiet = io.StringIO()
    Output("quiet", stdout=Bytes(), stderr=quiet).say("hidden")
    assert quiet.getvalue() == ""


def test_errors_are_objects_too_in_json_mode() -> None:
    err = io.StringIO()
    Output("json", stdout=Bytes(), stderr=err).error(AddressError("no run", hint="try exp1", candidates=["exp1"]))
    first, second, last = err.getvalue().splitlines()
    assert (first, second) == ("ckpt: no run", "try exp1")
    assert json.loads(last)["error"] == {
        "kind": "AddressError",
        "message": "no run",
        "hint": "try exp1",
        "candidates": ["exp1"],
        "exit_code": 2,
    }


@pytest.mark.parametrize(
    ("environment", "tty", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, False, True),
        ({"CLICOLOR_FORCE": "0"}, False, False),
        ({"CLICOLOR": "0"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tty: bool, wanted: bool) -> None:
    for name in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert output.colours_wanted(Tty() if tty else io.StringIO()) is wanted


def test_json_is_never_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert Output("human", stdout=Tty()).paint.enabled
    assert not Output("json", stdout=Tty()).paint.enabled


def test_paint_escapes_what_it_colours() -> None:
    assert Paint(True)("a\x1b]0;x\x07", "bold red") == "\x1b[1;31ma\\x1b]0;x\\x07\x1b[0m"
    assert Paint(False)("\u202etxt", "red") == "\\u202etxt"
    assert Paint(True)("", "red") == ""


def test_without_a_terminal_nothing_is_done_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Output("human", stdout=Bytes(), stderr=io.StringIO())
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="nothing was done") as caught:
        out.confirm("delete?", yes=False)
    assert caught.value.hint is not None and "--yes" in caught.value.hint
    out.confirm("delete?", yes=True)


@pytest.mark.parametrize(("typed", "goes_on"), [("y", True), ("YES", True), ("n", False), ("", False), ("sure", False)])
def test_the_answer_decides(monkeypatch: pytest.MonkeyPatch, typed: str, goes_on: bool) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdin", Tty(typed + "\n"))
    out = Output("human", stdout=Bytes(), stderr=err)
    if goes_on:
        out.confirm("delete?", yes=False)
    else:
        with pytest.raises(Declined):
            out.confirm("delete?", yes=False)
    assert err.getvalue() == "delete? [y/N] "


def test_progress_only_on_a_terminal_and_only_when_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_INTERVAL_S", 0.0)
    total = 2 * output.PROGRESS_FROM
    err = Tty()
    with Output("human", stdout=Bytes(), stderr=err).progress("copying a\x1bb", total) as advance:
        assert advance is not None
        advance(total // 2)
    assert "50%" in err.getvalue() and "copying a\\x1bb" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")
    for stream, size in ((io.StringIO(), total), (Tty(), 1000)):
        with Output("human", stdout=Bytes(), stderr=stream).progress("copying", size) as advance:
            assert advance is None
        assert stream.getvalue() == ""


def test_progress_is_rate_limited() -> None:
    err = Tty()
    with Output("human", stdout=Bytes(), stderr=err).progress("copying", 2 * output.PROGRESS_FROM) as advance:
        assert advance is not None
        for _ in range(10_000):
            advance(1)
    assert err.getvalue().count("copying") < 20


def test_waiting_is_told_on_a_terminal_once_it_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WAITING_FROM_S", 0.01)
    monkeypatch.setenv("COLUMNS", "40")
    err = Tty()
    with Output("human", stdout=Bytes(), stderr=err).waiting("looking at /a\x1b" + "x" * 100):
        deadline = time.monotonic() + 20
        while "looking" not in err.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    shown = err.getvalue()
    assert "looking at /a\\x1b" in shown and " s" in shown and shown.endswith("\r\x1b[K")
    assert all(len(line) < 40 for line in shown.replace("\x1b[K", "").split("\r"))


def test_waiting_is_silent_when_short_or_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Tty()
    with Output("human", stdout=Bytes(), stderr=quick).waiting("looking"):
        pass
    assert quick.getvalue() == ""
    monkeypatch.setattr(output, "WAITING_FROM_S", 0.0)
    for mode, stream in (("human", io.StringIO()), ("json", Tty()), ("quiet", Tty())):
        with Output(mode, stdout=Bytes(), stderr=stream).waiting("looking"):  # type: ignore[arg-type]
            time.sleep(0.05)
        assert stream.getvalue() == ""


def test_waiting_ends_with_the_error_that_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WAITING_FROM_S", 0.0)
    before = threading.active_count()
    with pytest.raises(UsageError), Output("human", stdout=Bytes(), stderr=Tty()).waiting("looking"):
        raise UsageError("no")
    assert threading.active_count() == before
