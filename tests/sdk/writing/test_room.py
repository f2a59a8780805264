"""Whether a file fits, and what is said when it does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckpt.writing.jobs import Job
from ckpt.writing.room import BESIDE, Forecast, forecast, is_full, no_room


def test_a_forecast_counts_what_stands_beside_the_file(tmp_path: Path) -> None:
    found = forecast(tmp_path, 10**6)
    assert found.need == 10**6 + BESIDE
    assert found.fits
    assert not forecast(tmp_path, 1 << 60).fits


@pytest.mark.parametrize(("free", "fits"), [(None, True), (99, False), (100, True), (0, False)])
def test_what_nobody_knows_is_tried(free: int | None, fits: bool) -> None:
    assert Forecast(need=100, free=free).fits is fits


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        forecast(tmp_path / "gone", 1)


def test_a_quota_is_as_a_full_disk() -> None:
    assert is_full(OSError(errno.EDQUOT, "")) and is_full(OSError(errno.ENOSPC, ""))
    assert not is_full(OSError(errno.EIO, "")) and not is_full(ValueError())


def test_a_quota_is_told_where_the_disk_itself_has_room(tmp_path: Path) -> None:
    job = Job(number=1, run=os.fsencode(tmp_path / "exp"), stem="step-000001")
    error = OSError(errno.EDQUOT, "quota")
    told = no_room(job, tmp_path, Forecast(need=5_000, free=10**9), error)
    assert (told.kind, told.errno) == ("full", errno.EDQUOT)
    assert "5 kB" in told.message and "a quota or the number of files may be at its end" in told.message
    assert "quota or the number" not in no_room(job, tmp_path, Forecast(need=5_000, free=10), None).message


def test_figures_are_of_one_family(tmp_path: Path) -> None:
    job = Job(number=1, run=os.fsencode(tmp_path / "exp"), stem="step-000001")
    told = no_room(job, tmp_path, Forecast(need=1_199_104, free=932 << 10)).message
    assert "it needs 1.199 MB, and 954.4 kB is free" in told
    told = no_room(job, tmp_path, Forecast(need=1_199_104, free=408_532 << 10), OSError(errno.EDQUOT, "")).message
    assert "418.3 MB is free" in told
