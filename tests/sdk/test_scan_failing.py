"""A system that fails says nothing of a run: reading it raises, rather than telling of a run without checkpoints."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ckpt import scan
from ckpt.scan.failing import is_exhausted, is_failing


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """So many files may be open besides those that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("own", [True, False])
def test_without_descriptors_a_run_is_not_read(own: bool, left: int, runs: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=2)
    if not own:
        for path in (directory / "checkpoints").glob("*.json"):
            path.unlink()
        (directory / "run.json").unlink()
    before = scan.read_run(directory, root=directory.parent)
    assert len(before.checkpoints) == 2
    with descriptors_left(left):
        try:
            during = scan.read_run(directory, root=directory.parent)
        except OSError as error:
            assert error.errno == errno.EMFILE
        else:
            assert left, "nothing could be opened"
            assert during.checkpoints == before.checkpoints
    assert scan.read_run(directory, root=directory.parent).checkpoints == before.checkpoints


def test_what_a_user_may_not_read_is_no_failure() -> None:
    assert is_failing(OSError(errno.EIO, ""))
    assert is_failing(OSError(errno.EMFILE, ""))
    assert not is_exhausted(OSError(errno.EIO, ""))
    for number in (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        assert not is_failing(OSError(number, "")), errno.errorcode[number]
