"""Charts: buckets that lose no spike, scales, ticks, dots."""

from __future__ import annotations

import math
import time

import pytest

from ckpt_tui.dashboard.widgets import braille
from ckpt_tui.dashboard.widgets.braille import Scale, buckets, draw, scale_of, tick_text, ticks
from ckpt_tui.dashboard.widgets.chart import Mark, describe, thinned


def test_a_bucket_keeps_the_spike_between_a_thousand_points() -> None:
    points = [(float(i), 1.0) for i in range(10_000)]
    points[5_123] = (5123.0, 99.0)
    found = buckets(points, Scale(0, 9999), 50)
    assert len(found) == 50
    assert [b.column for b in found if b.high == 99.0] == [round(5123 * 49 / 9999)]
    assert {b.low for b in found} == {1.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_passed_over(bad: float) -> None:
    found = buckets([(0, 1.0), (1, bad), (2, 3.0)], Scale(0, 2), 3)
    assert [(b.column, b.last) for b in found] == [(0, 1.0), (2, 3.0)]
    assert scale_of([1.0, bad, 3.0]) == Scale(1.0, 3.0)


def test_a_log_scale_leaves_out_what_is_not_positive() -> None:
    assert scale_of([-1.0, 0.0, 0.01, 100.0], log=True) == Scale(0.01, 100.0, True)
    assert [b.low for b in buckets([(0, -1.0), (1, 0.0), (2, 5.0)], Scale(0, 2), 3, log=True)] == [5.0]
    assert ticks(Scale(0.01, 100.0, True), 5) == [0.01, 0.1, 1.0, 10.0, 100.0]


@pytest.mark.parametrize(("low", "high", "wanted"), [(0.0, 1.0, 4), (3.2, 97.0, 5), (-0.004, 0.013, 3), (0, 123456, 6)])
def test_ticks_are_round_and_inside(low: float, high: float, wanted: int) -> None:
    found = ticks(Scale(low, high), wanted)
    assert 1 <= len(found) <= wanted + 1
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    assert all(len(tick_text(value)) <= 7 for value in found)


def test_a_line_runs_from_corner_to_corner() -> None:
    rows = draw([(0, 0.0), (10, 10.0)], Scale(0, 10), Scale(0, 10), 5, 5)
    assert [len(row) for row in rows] == [5] * 5
    assert [row.index(next(c for c in row if c != " ")) for row in rows] == [4, 3, 2, 1, 0]


def test_equal_values_still_have_a_scale() -> None:
    assert scale_of([2.0, 2.0]) == Scale(1.0, 3.0)
    assert scale_of([]) == Scale(1.0, 10.0)
    assert scale_of([0.0]) == Scale(-1.0, 1.0)


def test_cost_follows_the_width_not_the_points() -> None:
    points = [(float(i), math.sin(i)) for i in range(100_000)]
    before = time.process_time()
    assert len(draw(points, Scale(0, 99_999), Scale(-1, 1), 100, 20)) == 20
    assert time.process_time() - before < 2.0  # a few hundredths; a library's own line takes seconds


def test_thinned_marks_keep_the_best_one() -> None:
    marks = [Mark(step, "▴", "dim") for step in range(50_000)]
    marks[31_007] = Mark(31_007, "★", "good", 3)
    kept = thinned(marks, 500)
    assert len(kept) <= 510
    assert Mark(31_007, "★", "good", 3) in kept


def test_the_title_names_what_is_not_finite() -> None:
    assert describe([(0, 2.0), (1, 0.5), (2, math.nan)]) == "last NaN · min 0.5000 · max 2.0000 · 1 not finite"
    assert describe([]) == ""
    assert braille.cell_of(5, Scale(0, 10), 11) == 5
