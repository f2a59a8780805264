from __future__ import annotations

from ckptd.space.alarm import Alarm, judged

HOUR = 3600.0


def told(*forecasts: tuple[float, float | None]) -> list[tuple[float, str]]:
    """What is said over forecasts (seconds until full) at some times."""
    alarm, said = Alarm(), []
    for at, full in forecasts:
        alarm, kind = judged(alarm, full, at, 6 * 3600.0)
        if kind is not None:
            said.append((at, kind))
    return said


def test_it_is_told_once_while_the_disk_fills() -> None:
    assert told((0, 8 * HOUR), (10, 5.9 * HOUR), (20, 5 * HOUR), (30, 60.0), (40, 0.0)) == [(10, "disk.filling")]


def test_a_forecast_that_swings_around_the_limit_says_nothing_more() -> None:
    swings = [(float(at), (5.9 if at % 2 else 6.1) * HOUR) for at in range(0, 5000, 10)]
    swings += [(5000.0 + at, (5.0 if at % 20 else None) and 5.0 * HOUR) for at in range(0, 2000, 10)]
    assert len(told((0, 5.0 * HOUR), *swings)) == 1


def test_recovery_lasts_before_it_is_told_and_arms_the_alarm_again() -> None:
    assert told(
        (0, HOUR), (10, None), (500, None), (600, None), (620, 20 * HOUR), (700, None), (710, HOUR), (720, HOUR)
    ) == [(0, "disk.filling"), (620, "disk.recovered"), (710, "disk.filling")]


def test_what_was_never_said_is_not_taken_back() -> None:
    assert told((0, None), (10, 7 * HOUR), (20, None), (5000, None)) == []


def test_the_limit_can_be_another() -> None:
    assert judged(Alarm(), 100.0, 0.0, limit_s=99.0)[1] is None
    assert judged(Alarm(), 98.0, 0.0, limit_s=99.0)[1] == "disk.filling"


def test_a_disk_that_is_short_now_fills_whatever_is_foreseen() -> None:
    alarm, told_of = judged(Alarm(), None, 0.0, 99.0, short=True)
    assert told_of == "disk.filling"
    assert judged(alarm, None, 5000.0, 99.0, short=True) == (alarm, None)
    assert judged(alarm, None, 5000.0, 99.0)[0].well_since == 5000.0
