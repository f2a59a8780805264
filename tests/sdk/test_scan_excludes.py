from __future__ import annotations

import pytest

from ckpt.scan import Excludes


@pytest.mark.parametrize(
    "path",
    ["/r/.git", "/r/a/.git/objects", "/r/node_modules", "/r/a/b/old-1", "/r/x/y/z", "/r/x/y/z/deep", "/r/wandb/run-1"],
)
def test_left_out_with_everything_below(path: str) -> None:
    assert Excludes("/r", ("old-*", "x/y/*")).covers(path)


@pytest.mark.parametrize(
    "path", ["/r", "/r/a", "/r/x", "/r/x/y", "/r/a/x/y/z", "/r/older", "/elsewhere/.git", "/r/wandb2"]
)
def test_not_left_out(path: str) -> None:
    assert not Excludes("/r", ("old-*", "x/y/*")).covers(path)


def test_a_root_below_a_hidden_directory_is_not_left_out_by_its_own_name() -> None:
    excludes = Excludes("/home/me/.cache/runs")
    assert not excludes.covers("/home/me/.cache/runs")
    assert not excludes.covers("/home/me/.cache/runs/exp1")
    assert Excludes("/").covers("/.git")


def test_a_pattern_with_a_slash_at_its_end_means_the_directory() -> None:
    assert Excludes("/r", ("scratch/",)).covers("/r/a/scratch")
