"""Checkpoint directories whose files are links, as in a cache of the Hugging Face hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt import scan
from ckpt.formats import inspect

Produced = Callable[[str], Path]


@pytest.fixture
def snapshot(produced: Produced, tmp_path: Path) -> Path:
    """A model as `snapshot_download` lays it out: `snapshots/<revision>/` with links into `blobs/`."""
    base = tmp_path / "models--org--tiny"
    (base / "blobs").mkdir(parents=True)
    directory = base / "snapshots" / "abc123"
    directory.mkdir(parents=True)
    for number, path in enumerate(sorted((produced("transformers") / "sharded").iterdir())):
        shutil.copy2(path, base / "blobs" / f"{number:040x}")
        (directory / path.name).symlink_to(f"../../blobs/{number:040x}")
    return directory


def test_links_to_files_are_its_files(produced: Produced, snapshot: Path) -> None:
    original = inspect(produced("transformers") / "sharded")
    found = inspect(snapshot)
    assert (found.state, found.problems, found.framework) == ("complete", (), "transformers")
    assert (found.files, found.tensors, found.bytes) == (original.files, original.tensors, original.bytes)
    assert found.fingerprint == original.fingerprint


def test_a_link_that_leads_to_nothing_is_a_missing_file(snapshot: Path) -> None:
    link = snapshot / "model-00002-of-00004.safetensors"
    link.resolve().unlink()
    found = inspect(snapshot)
    assert found.state == "incomplete"
    assert found.problems == (f"{link.name} is missing: its link leads to nothing",)
    link.unlink()
    link.symlink_to(link.name)
    assert inspect(snapshot).problems == found.problems


def test_a_link_that_no_reader_needs_may_lead_to_nothing(snapshot: Path) -> None:
    (snapshot / "README.md").symlink_to("../../blobs/gone")
    assert inspect(snapshot).state == "complete"


def test_links_to_directories_and_to_no_files_are_not_followed(snapshot: Path, tmp_path: Path) -> None:
    files = inspect(snapshot).files
    (snapshot / "more").symlink_to(tmp_path)
    (snapshot / "null.bin").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "fifo")
    (snapshot / "fifo.bin").symlink_to(tmp_path / "fifo")
    found = inspect(snapshot)
    assert (found.state, found.files) == ("complete", files)


def test_what_a_link_leads_to_is_watched(snapshot: Path) -> None:
    run = snapshot.parent
    cache = scan.Cache()
    (before,) = scan.read_run(run, cache=cache).checkpoints
    assert (before.state, before.bytes) == ("complete", inspect(snapshot).bytes)
    sign = scan.signature(run)
    blob = (snapshot / "model-00002-of-00004.safetensors").resolve()
    raw = blob.read_bytes()
    blob.write_bytes(raw[: len(raw) // 2])
    os.utime(blob, (1_000_000, 1_000_000))
    for path in run.parent.glob("blobs/*"):
        os.utime(path, (1_000_000, 1_000_000))
    assert scan.signature(run) != sign
    (after,) = scan.read_run(run, cache=cache).checkpoints
    assert (after.state, after.saved_at) == ("incomplete", 1_000_000)
