"""Bytes that are free again when several checkpoints go together."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt.records import Checkpoint
from ckpt.retention import Policy, combine, plan
from ckpt.scan.freeing import Freeing, measured

SIZE = 1 << 16


def checkpoint(path: Path, step: int, *, unique: int = 0) -> Checkpoint:
    return Checkpoint(
        id=f"{step:012x}", run="r", path=str(path), framework="ckpt", seq=step, step=step, bytes=SIZE,
        unique_bytes=unique, saved_at=float(step), files=(str(path),),
    )  # fmt: skip


def twins(directory: Path) -> list[Checkpoint]:
    """Two directories with two names of one file."""
    for name in ("a", "b"):
        (directory / name).mkdir()
    (directory / "a" / "weights").write_bytes(os.urandom(SIZE))
    os.link(directory / "a" / "weights", directory / "b" / "weights")
    return [checkpoint(directory / "a", 1), checkpoint(directory / "b", 2)]


def test_twins_free_their_bytes_only_together(tmp_path: Path) -> None:
    first, second = twins(tmp_path)
    freeing = Freeing.of(first)
    assert freeing.bytes == 0
    freeing.join(Freeing.of(second))
    assert freeing.bytes == SIZE
    os.link(tmp_path / "a" / "weights", tmp_path / "elsewhere")
    freeing = Freeing.of(first)
    freeing.add(second)
    assert freeing.bytes == 0, "a third name keeps it"


def test_what_shares_nothing_is_not_looked_at_and_what_is_gone_frees_nothing(tmp_path: Path) -> None:
    assert Freeing.of(checkpoint(tmp_path / "nowhere", 1, unique=SIZE)).bytes == SIZE
    assert Freeing.of(checkpoint(tmp_path / "nowhere", 1, unique=1)).bytes == 0


def test_a_plan_that_removes_both_twins_says_what_that_frees(tmp_path: Path) -> None:
    newest = checkpoint(tmp_path / "c", 3, unique=SIZE)
    made = combine([plan([*twins(tmp_path), newest], Policy(keep_last=1), 10.0)])
    assert len(made.runs[0].remove) == 2 and made.freed_at_purge == 0
    assert measured(made).freed_at_purge == SIZE
    assert measured(made).id == made.id
