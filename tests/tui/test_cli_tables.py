"""Tables and words."""

from __future__ import annotations

import math

import pytest

from ckpt_tui.output import Paint
from ckpt_tui.render import words
from ckpt_tui.tables import NARROWEST, Cell, Column, cut, cut_middle, table, text_width, wrapped

PLAIN = Paint(False)


def test_columns_are_aligned_by_their_side() -> None:
    lines = table([Column("NAME"), Column("SIZE", right=True)], [["a", "1 B"], ["long", "10 KB"]], paint=PLAIN)
    assert lines == ["NAME   SIZE", "a       1 B", "long  10 KB"]


def test_without_a_head() -> None:
    assert table([Column(), Column()], [["ab", "c"], ["d", "e"]], paint=PLAIN, head=False) == ["ab  c", "d   e"]


def test_no_trailing_space() -> None:
    lines = table([Column("A"), Column("B")], [["x", ""], ["y", "z"]], paint=PLAIN)
    assert all(line == line.rstrip() for line in lines)


def test_only_columns_that_may_be_cut_are_cut_and_only_for_a_terminal() -> None:
    columns = [Column("ID"), Column("PATH", cut=True), Column("WHY", cut=True)]
    rows = [["0123456789", "/" + "p" * 60, "w" * 20]]
    assert "p" * 60 in table(columns, rows, paint=PLAIN, width=None)[1]
    fitted = table(columns, rows, paint=PLAIN, width=50)
    assert all(len(line) <= 50 for line in fitted)
    assert fitted[1].startswith("0123456789  /pp") and "…" in fitted[1]
    assert "w" * 15 in fitted[1]


def test_a_column_is_never_cut_to_nothing() -> None:
    line = table([Column("ID"), Column("PATH", cut=True)], [["i" * 30, "p" * 60]], paint=PLAIN, width=20)[1]
    assert line == "i" * 30 + "  " + "p" * (NARROWEST - 1) + "…"


def test_cells_are_escaped_and_colour_does_not_count_as_width() -> None:
    rows = [[Cell("\x1b[2J", "red"), "x"], [Cell("abc", "red"), "y"]]
    lines = table([Column("A"), Column("B")], rows, paint=Paint(True), head=False)
    assert lines == ["\x1b[31m\\x1b[2J\x1b[0m  x", "\x1b[31mabc\x1b[0m      y"]


def test_wide_and_combining_characters() -> None:
    assert text_width("日本") == 4
    assert text_width("e\u0301") == 1
    assert cut("日本語", 5) == "日本…"
    lines = table([Column("A"), Column("B")], [["日本", "x"], ["abcd", "y"]], paint=PLAIN, head=False)
    assert lines == ["日本  x", "abcd  y"]


@pytest.mark.parametrize(
    ("age", "text"),
    [(0.5, "just now"), (12, "12 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (9 * 86400, "9 d ago"),
     (3 * 31536000, "3 y ago"), (-7300, "in 2 h")],
)  # fmt: skip
def test_ages(age: float, text: str) -> None:
    assert words.ago(1e9 - age, 1e9) == text


def test_an_unknown_time_is_a_dash() -> None:
    assert words.ago(0.0, 1e9) == words.ago(None) == words.ago(math.nan) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf"), (None, "–"), (1e-9, "1e-09"),
     (0.0, "0"), (3, "3")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_counts_and_short_values() -> None:
    assert [words.count(v) for v in (3.0, 3.25, None, math.nan)] == ["3", "3.25", "–", "NaN"]
    assert words.short({"a": [1, 2.0, None, True]}) == "{a: [1, 2, none, yes]}"
    assert words.short("x" * 100, 10) == "x" * 9 + "…"


def test_text_is_broken_between_words() -> None:
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("one two three", None) == ["one two three"]
    assert wrapped("a " + "x" * 10 + " b", 4) == ["a", "xxxx", "xxxx", "xx b"]
    assert wrapped("日本語 日本", 6) == ["日本語", "日本"] and wrapped("日本語", 5) == ["日本", "語"]


def test_escaped_text_still_fits() -> None:
    assert wrapped("a\x1b b", 5) == ["a\\x1b", "b"]
    assert all(text_width(line) <= 7 for line in wrapped("\x1b" * 20, 7))


def test_columns_of_the_highest_rank_go_first_where_cutting_is_not_enough() -> None:
    columns = [Column("NAME", cut=True, least=8), Column("ID", rank=2), Column("AGE", rank=1), Column("STATE")]
    rows = [["n" * 12, "i" * 10, "a" * 10, "whole"]]

    def titles(width: int | None) -> list[str]:
        return table(columns, rows, paint=PLAIN, width=width)[0].split()

    assert titles(None) == titles(43) == titles(39) == ["NAME", "ID", "AGE", "STATE"]
    assert titles(38) == ["NAME", "AGE", "STATE"]
    assert titles(26) == titles(15) == ["NAME", "STATE"]
    assert table(columns, rows, paint=PLAIN, width=15)[1] == "nnnnnnn…  whole"


def test_what_tells_names_apart_stands_at_their_end() -> None:
    assert cut_middle("model-epoch=01-val_loss=0.25.ckpt", 16) == "model-ep…25.ckpt"
    assert cut_middle("short", 16) == "short"
    assert text_width(cut_middle("日本語日本語", 7)) <= 7
    rows = [["epoch=1.ckpt" + "x" * 30 + "1"]]
    assert table([Column(cut=True, middle=True)], rows, paint=PLAIN, width=10, head=False) == ["epoch…xxx1"]
