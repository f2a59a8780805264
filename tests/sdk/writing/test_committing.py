"""A finished file's name and marker: all of it, or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.files import hash_file, read_json, temporary_name
from ckpt.writing.committing import commit, earlier
from ckpt.writing.jobs import Staged

MARKER = {"run": "r", "seq": 1, "attempt": 1, "saved_at": 5.0, "step": 7}


def staged(directory: Path, content: bytes = b"content") -> Staged:
    path = temporary_name(directory / "step-000007.pt")
    path.write_bytes(content)
    return Staged(
        path=os.fsencode(path),
        stem="step-000007",
        size=len(content),
        hash=hash_file(path),
        fingerprint="f",
        inode=path.stat().st_ino,
    )


def test_the_marker_says_what_name_and_file_decide(tmp_path: Path) -> None:
    done = commit(staged(tmp_path), (), MARKER)
    assert done.path == tmp_path / "step-000007.pt" and done.path.read_bytes() == b"content"
    assert read_json(done.path.with_suffix(".json")) == done.marker
    assert done.marker["bytes"] == 7 and done.marker["file"] == "step-000007.pt" and done.record.step == 7
    assert sorted(os.listdir(tmp_path)) == ["step-000007.json", "step-000007.pt"]


@pytest.mark.parametrize("there", ["step-000007.pt", "step-000007.json"])
def test_what_lies_there_is_never_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"mine")
    assert commit(staged(tmp_path), {"step-000007-2.pt"}, MARKER).path.name == "step-000007-3.pt"
    assert (tmp_path / there).read_bytes() == b"mine"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", [1, 2])
def test_a_directory_that_cannot_be_synced_lists_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: int
) -> None:
    count = 0

    def fail(directory: Path) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise error

    monkeypatch.setattr(files, "fsync_directory", fail)
    with pytest.raises(type(error)):
        commit(staged(tmp_path), (), MARKER)
    whole = call == 2 and isinstance(error, KeyboardInterrupt)  # behind the last step it is saved
    assert sorted(os.listdir(tmp_path)) == (["step-000007.json", "step-000007.pt"] if whole else [])


def test_an_earlier_commit_is_known_by_its_save_alone(tmp_path: Path) -> None:
    assert earlier(tmp_path, "step-000007", MARKER) is None
    commit(staged(tmp_path, b"other"), (), {**MARKER, "seq": 0})
    assert earlier(tmp_path, "step-000007", MARKER) is None
    done = commit(staged(tmp_path), (), MARKER)
    assert earlier(tmp_path, "step-000007", MARKER) == done
    assert earlier(tmp_path, "step-000007", {"step": 7}) is None
