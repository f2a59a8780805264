"""What was read of files is kept as long as they look the same, and doubted in the order in which it was read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import scan
from ckpt.scan import cache as cache_module


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were opened."""
    names: list[str] = []
    real = cache_module.formats.inspect

    def inspect(path: Any) -> Any:
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(cache_module.formats, "inspect", inspect)
    return names


def test_a_file_whose_content_changed_under_its_old_times_is_opened_again(tmp_path: Path, opened: list[str]) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(b"one")
    cache = scan.Cache()
    times = file.stat()
    cache.inspect(str(file), times)
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    cache.inspect(str(file), file.stat())
    cache.inspect(str(file), file.stat())
    assert opened == ["a.pt", "a.pt"]


def test_a_setting_that_equals_another_checkpoint_s_stays_what_it_is(tmp_path: Path) -> None:
    import torch

    cache = scan.Cache()
    found = []
    for value in (1, True, 1.0, 1.0):
        path = tmp_path / f"{len(found)}.pt"
        torch.save({"epoch": 1, "model": {"w": torch.zeros(1)}, "config": {"ema": value}}, path)
        found.append(cache.inspect(str(path), path.stat()).config)
    assert [type(config["ema"]) for config in found] == [int, bool, float, float]
    assert found[2] is found[3]


def test_doubting_goes_round(tmp_path: Path, opened: list[str]) -> None:
    names = ["a.pt", "b.pt", "c.pt"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    cache = scan.Cache()

    def look() -> list[str]:
        opened.clear()
        for name in names:
            cache.inspect(str(tmp_path / name), (tmp_path / name).stat())
        return list(opened)

    assert look() == names
    rounds = []
    for _ in range(3):
        cache.doubt(1)
        rounds.append(look())
    assert rounds == [["a.pt"], ["b.pt"], ["c.pt"]]
