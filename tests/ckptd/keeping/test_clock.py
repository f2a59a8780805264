from __future__ import annotations

import time

import pytest

from ckptd.keeping.clock import Clock


def test_a_wall_clock_that_is_set_ahead_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * 86400)
    assert abs(clock.now() - real()) < 60
    assert clock.ahead_s() > 9 * 365 * 86400


def test_a_wall_clock_that_is_set_back_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert clock.now() < real() - 3500


def test_a_wait_begins_late_while_the_wall_clock_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert abs(clock.latest() - real()) < 60
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert clock.latest() > real() + 3500


def test_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    first = clock.now()
    time.sleep(0.02)
    assert clock.now() > first
