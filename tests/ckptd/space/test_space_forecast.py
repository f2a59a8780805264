from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ckptd.space.cadence import Cadence
from ckptd.space.forecast import FAR_S, Growth, full_in_s, growth_of, pace_of
from ckptd.space.samples import Sample

GB = 1 << 30
MB = 1 << 20


def over(seconds: float, free: Callable[[float], float], every: float = 10.0) -> list[Sample]:
    """What is free over some seconds, by a function of the time."""
    return [Sample(at * every, int(free(at * every))) for at in range(int(seconds / every) + 1)]


def falling(pace: float, start: int = 100 * GB) -> Callable[[float], float]:
    return lambda at: start - pace * at


def test_a_steady_fall_is_foretold() -> None:
    samples = over(3600, falling(10 * MB))
    free = samples[-1].free
    assert full_in_s(free, samples) == pytest.approx(free / (10 * MB), rel=0.01)


def test_minutes_are_no_trend() -> None:
    # Half of the disk in nine minutes: a copy that began, as far as anybody can tell.
    samples = over(540, falling(90 * MB))
    assert pace_of(samples) is None
    assert full_in_s(samples[-1].free, samples) is None
    later = over(1210, falling(60 * MB))
    assert full_in_s(later[-1].free, later) is not None


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_trend(seed: int) -> None:
    rng = random.Random(seed)
    level = 50.0 * GB

    def free(at: float) -> float:
        return level + rng.gauss(0, 200 * MB)

    found = full_in_s(int(level), over(3600, free))
    assert found is None or found > 86400


@pytest.mark.parametrize("begins", [0, 600, 1500, 2400, 3300])
def test_a_file_that_came_and_went_is_no_trend(begins: int) -> None:
    samples = over(3600, lambda at: 100 * GB - (40 * GB if begins <= at < begins + 280 else 0))
    assert not pace_of(samples)


def test_a_dip_does_not_hide_a_fall() -> None:
    samples = over(3600, lambda at: 100 * GB - 10 * MB * at + (30 * GB if 1200 <= at < 1500 else 0))
    assert pace_of(samples) == pytest.approx(10 * MB, rel=0.1)


@pytest.mark.parametrize("begins", [0, 300, 1250, 1800])
def test_a_copy_of_minutes_is_no_trend_at_any_time_after(begins: int) -> None:
    # 60 GB of a data set in five minutes.
    samples = over(5400, lambda at: 200 * GB - min(60 * GB, max(0.0, at - begins) * 200 * MB))
    for end in range(1300, 5400, 60):
        seen = [sample for sample in samples if end - 3600 <= sample.at <= end]
        assert full_in_s(seen[-1].free, seen) is None, end


@pytest.mark.parametrize("seed", range(5))
def test_a_disk_whose_level_jumps_is_no_trend(seed: int) -> None:
    rng = random.Random(seed)
    levels = [rng.uniform(45, 50) * GB for _ in range(30)]
    found = full_in_s(45 * GB, over(3600, lambda at: levels[int(at // 125)]))
    assert found is None or found > 6 * 3600


def test_a_staircase_of_saves_is_a_fall() -> None:
    samples = over(3600, lambda at: 100 * GB - 2 * GB * (at // 300))
    assert pace_of(samples) == pytest.approx(2 * GB / 300, rel=0.25)


def test_growing_free_space_and_few_samples_are_no_trend() -> None:
    assert pace_of(over(3600, falling(-MB))) == 0.0
    assert pace_of([]) is None
    assert not pace_of([Sample(0.0, 9), Sample(3600.0, 1)])
    assert full_in_s(5 * GB, over(3600, lambda at: 5 * GB)) is None


def test_a_full_disk_is_full_now() -> None:
    assert full_in_s(0, ()) == 0.0


def test_what_is_farther_than_a_month_is_not_foretold() -> None:
    cadence = Cadence(interval_s=3600, bytes=GB, lasting=1.0)
    assert full_in_s(int(FAR_S / 3600) * GB, (), [(cadence, 0)]) is not None
    assert full_in_s(int(FAR_S / 3600 + 2) * GB, (), [(cadence, 0)]) is None


def test_a_training_that_keeps_everything_is_foretold_without_a_trend() -> None:
    """Two saves an hour are no trend, and are known."""
    cadence = Cadence(interval_s=1800, bytes=5 * GB, lasting=1.0)
    assert full_in_s(50 * GB, (), [(cadence, 0)]) == pytest.approx(5 * 3600)
    flat = over(1300, lambda at: 50 * GB)
    assert full_in_s(50 * GB, flat, [(cadence, 0)]) == pytest.approx(5 * 3600)


def test_what_a_policy_removes_stays_in_the_trash_first() -> None:
    cadence = Cadence(interval_s=60, bytes=GB, lasting=0.0, kept_for_s=86400)
    day = 1440 * GB
    # There is no room for a day of removals …
    assert full_in_s(100 * GB, (), [(cadence, 0)]) == pytest.approx(100 * 60)
    # … or there is, and then as much leaves the trash as comes.
    assert full_in_s(day + GB, (), [(cadence, 0)]) is None
    assert full_in_s(100 * GB, (), [(cadence, day)]) is None
    assert full_in_s(100 * GB, (), [(cadence, day - 50 * GB)]) is None
    assert full_in_s(100 * GB, (), [(cadence, day - 200 * GB)]) == pytest.approx(100 * 60)


def test_what_stays_for_good_goes_on_after_the_trash_is_full() -> None:
    cadence = Cadence(interval_s=60, bytes=GB, lasting=0.1, kept_for_s=3600)
    trash = 60 * 0.9
    assert growth_of(cadence, 0)[1] == Growth(pytest.approx(0.9 * GB / 60), pytest.approx(trash * GB))
    found = full_in_s(100 * GB, (), [(cadence, 0)])
    # The trash takes 54 GB in the first hour, the kept ones 6 GB an hour all the time.
    assert found == pytest.approx(3600 + (100 - 54 - 6) / 6 * 3600)


def test_a_trend_that_a_training_explains_ends_where_its_trash_is_full() -> None:
    cadence = Cadence(interval_s=60, bytes=GB, lasting=0.0, kept_for_s=7200)
    samples = over(3600, falling(GB / 60, start=300 * GB))
    free = samples[-1].free
    assert full_in_s(free, samples) == pytest.approx(free / (GB / 60), rel=0.02)
    assert full_in_s(free, samples, [(cadence, 60 * GB)]) is None


def test_what_others_write_beside_a_training_counts() -> None:
    cadence = Cadence(interval_s=60, bytes=GB, lasting=0.0, kept_for_s=60)
    samples = over(3600, falling(GB / 60 + 10 * MB, start=300 * GB))
    free = samples[-1].free
    assert full_in_s(free, samples, [(cadence, 0)]) == pytest.approx((free - GB) / (10 * MB), rel=0.05)


def test_a_training_is_not_believed_to_take_more_than_was_lost() -> None:
    """Something else makes room, or the files share their bytes."""
    cadence = Cadence(interval_s=60, bytes=GB, lasting=1.0)
    flat = over(3600, lambda at: 50 * GB)
    assert full_in_s(50 * GB, flat, [(cadence, 0)]) is None
    assert full_in_s(50 * GB, flat[:10], [(cadence, 0)]) == pytest.approx(3000)
    half = over(3600, falling(GB / 120))
    assert full_in_s(half[-1].free, half, [(cadence, 0)]) == pytest.approx(half[-1].free / (GB / 120), rel=0.02)
