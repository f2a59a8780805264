"""The trash: removals that can be taken back, on real files."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.exceptions import AddressError, LockedError, OperationError, UsageError
from ckpt.records import Reason
from ckpt.trash import Trash, TrashEntry, entry_to_json
from ckpt.trash.journal import SETTLED_BYTES, Journal

DAY = 86400.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "exp"
    (directory / "checkpoints").mkdir(parents=True)
    for step in (100, 200):
        save(directory, step)
    return directory


def save(run: Path, step: int, content: bytes | None = None) -> list[Path]:
    data = run / "checkpoints" / f"step-{step:06d}.pt"
    data.write_bytes(content if content is not None else os.urandom(3000))
    marker = data.with_suffix(".json")
    marker.write_text(json.dumps({"step": step}))
    os.utime(data, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_002))
    return [data, marker]


def pair(run: Path, step: int) -> list[Path]:
    data = run / "checkpoints" / f"step-{step:06d}.pt"
    return [data, data.with_suffix(".json")]


def trash_of(run: Path) -> Trash:
    return Trash(run / ".trash")


def remove(run: Path, paths: list[Path], **options: Any) -> TrashEntry:
    settings: dict[str, Any] = {
        "run": "a" * 32,
        "checkpoint": {"id": "c1", "step": 100, "metrics": {"val_loss": 0.5}},
        "plan": "01234567",
        "reasons": [],
        "near_misses": [Reason(rule="last", text="last: #6, keeps 5", rank=6, limit=5)],
        "keep_for_s": DAY,
        **options,
    }
    return trash_of(run).remove(paths, **settings)


def snapshot(run: Path) -> dict[str, tuple[int, int, bytes]]:
    """Inode, mtime and content of every file outside the trash."""
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and ".trash" not in path.parts:
            info = path.lstat()
            found[str(path.relative_to(run))] = (info.st_ino, info.st_mtime_ns, path.read_bytes())
    return found


def journal(run: Path) -> list[dict[str, Any]]:
    return list(files.read_json_lines(run / ".trash" / "journal.jsonl"))


def test_a_removed_checkpoint_comes_back_identical(run: Path) -> None:
    before = snapshot(run)
    entry = remove(run, pair(run, 100))
    assert [path.exists() for path in (*pair(run, 100), *pair(run, 200))] == [False, False, True, True]
    assert (run / ".trash" / entry.id / "checkpoints" / "step-000100.pt").is_file()
    assert trash_of(run).restore(entry.id) == pair(run, 100)
    assert snapshot(run) == before
    assert trash_of(run).entries() == []
    assert not (run / ".trash" / entry.id).exists()


def test_nothing_is_made_before_the_first_removal(run: Path) -> None:
    trash = trash_of(run)
    assert trash.entries() == [] and trash.recover() == []
    with pytest.raises(AddressError):
        trash.restore("0" * 15)
    with pytest.raises(OperationError, match="does not exist"):
        remove(run, [run / "checkpoints" / "gone.pt"])
    assert not (run / ".trash").exists()


def test_the_journal_tells_every_act_before_and_after(run: Path) -> None:
    first = remove(run, pair(run, 100))
    trash_of(run).restore(first.id)
    second = remove(run, pair(run, 200))
    trash_of(run).purge(second.id)
    assert [(line["op"], line["id"]) for line in journal(run)] == [
        ("remove", first.id),
        ("removed", first.id),
        ("restore", first.id),
        ("restored", first.id),
        ("remove", second.id),
        ("removed", second.id),
        ("purge", second.id),
        ("purged", second.id),
    ]


def test_an_entry_tells_what_why_and_until_when(run: Path) -> None:
    size = sum(path.stat().st_size for path in pair(run, 100))
    entry = remove(run, pair(run, 100), now=1000.0, keep_for_s=60.0, reasons=[{"rule": "asked", "text": "asked"}])
    assert (entry.trashed_at, entry.purge_at, entry.bytes, entry.plan) == (1000.0, 1060.0, size, "01234567")
    assert entry.path == str(pair(run, 100)[0])
    assert set(entry.files) == {str(path) for path in pair(run, 100)}
    assert trash_of(run).entries() == [entry]
    shown = entry_to_json(entry)
    assert json.loads(json.dumps(shown)) == shown
    assert list(shown) == [
        "id",
        "run",
        "path",
        "bytes",
        "trashed_at",
        "purge_at",
        "plan",
        "reasons",
        "near_misses",
        "checkpoint",
        "files",
    ]
    assert shown["near_misses"] == [{"rule": "last", "text": "last: #6, keeps 5", "rank": 6, "limit": 5}]


def test_entries_are_listed_newest_first_and_their_ids_sort_by_time(run: Path) -> None:
    older = remove(run, pair(run, 100), now=2000.0)
    newer = remove(run, pair(run, 200), now=2001.0)
    assert [entry.id for entry in trash_of(run).entries()] == [newer.id, older.id]
    assert older.id < newer.id


def test_entries_of_one_moment_keep_the_order_of_their_removal(run: Path) -> None:
    removed = []
    for step in range(300, 312):
        removed.append(remove(run, save(run, step), now=2000.0).id)
    assert [entry.id for entry in trash_of(run).entries()] == removed[::-1]


def test_a_restore_never_overwrites(run: Path) -> None:
    entry = remove(run, pair(run, 100))
    pair(run, 100)[1].write_text("another")
    with pytest.raises(OperationError, match=r"step-000100\.json is taken"):
        trash_of(run).restore(entry.id)
    assert pair(run, 100)[1].read_text() == "another"
    assert not pair(run, 100)[0].exists()
    pair(run, 100)[1].unlink()
    assert trash_of(run).restore(entry.id) == pair(run, 100)


def test_a_restore_makes_the_directory_that_is_gone(run: Path) -> None:
    entry = remove(run, [*pair(run, 100), *pair(run, 200)])
    (run / "checkpoints").rmdir()
    trash_of(run).restore(entry.id)
    assert pair(run, 200)[0].is_file()


def test_a_restore_says_which_file_is_missing(run: Path) -> None:
    entry = remove(run, pair(run, 100))
    (run / ".trash" / entry.id / "checkpoints" / "step-000100.pt").unlink()
    with pytest.raises(OperationError, match=r"step-000100\.pt of trash entry .* is missing"):
        trash_of(run).restore(entry.id)
    assert not pair(run, 100)[1].exists()


def test_a_name_can_be_used_again_while_its_first_file_is_in_the_trash(run: Path) -> None:
    first = remove(run, pair(run, 100))
    save(run, 100, b"second")
    second = remove(run, pair(run, 100))
    assert trash_of(run).recover() == []
    trash_of(run).restore(second.id)
    assert pair(run, 100)[0].read_bytes() == b"second"
    with pytest.raises(OperationError, match="is taken"):
        trash_of(run).restore(first.id)


def test_a_purge_deletes_only_its_entry(run: Path) -> None:
    entry, other = remove(run, pair(run, 100)), remove(run, pair(run, 200))
    assert trash_of(run).purge(entry.id) == entry.bytes
    assert [left.id for left in trash_of(run).entries()] == [other.id]
    with pytest.raises(AddressError) as caught:
        trash_of(run).purge(entry.id)
    assert caught.value.candidates == (other.id,)


def test_a_purge_follows_no_link_and_counts_no_bytes_that_stay(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    kept = tmp_path / "kept.pt"
    os.link(pair(run, 100)[0], kept)
    entry = remove(run, pair(run, 100))
    (run / ".trash" / entry.id / "link").symlink_to(outside)
    (run / ".trash" / entry.id / "checkpoints" / "file").symlink_to(outside / "precious")
    freed = trash_of(run).purge(entry.id)
    assert (outside / "precious").read_text() == "precious"
    assert kept.stat().st_nlink == 1
    assert freed < entry.bytes


def test_a_long_journal_is_not_read_again_for_each_act(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run / ".trash" / "journal.jsonl"
    remove(run, pair(run, 100), checkpoint={"id": "c1", "note": "x" * 2 * SETTLED_BYTES})
    trash_of(run).recover()
    read: list[int] = []
    real = files.read_json_lines

    def counted(path: Path, *, offset: int = 0, limit: int | None = None) -> Iterator[Any]:
        read.append(path.stat().st_size - offset)
        return real(path, offset=offset, limit=limit)

    monkeypatch.setattr(files, "read_json_lines", counted)
    entry = remove(run, pair(run, 200))
    trash_of(run).restore(entry.id)
    assert read and max(read) < SETTLED_BYTES < path.stat().st_size
    assert len(Journal(path.parent).entries()) == 2, "its history is whole"


def test_what_is_open_in_a_long_journal_is_found_whatever_was_settled(run: Path) -> None:
    first = remove(run, pair(run, 100), checkpoint={"id": "c1", "note": "x" * 2 * SETTLED_BYTES})
    trash_of(run).recover()
    lines = Journal(run / ".trash")
    lines.begin("purge", first.id)
    assert lines.open_acts() == {first.id: "purge"}
    assert len(trash_of(run).recover()) == 1
    assert lines.open_acts() == {}


def test_another_journal_in_the_place_of_a_settled_one_is_read_from_its_start(run: Path) -> None:
    first = remove(run, pair(run, 100), checkpoint={"id": "c1", "note": "x" * 2 * SETTLED_BYTES})
    trash_of(run).recover()
    lines = Journal(run / ".trash")
    removal = lines.path.read_bytes().splitlines(keepends=True)[0]
    other = run / "other"
    other.write_bytes(removal + b'{"v": 2}\n' * 100)
    other.rename(lines.path)
    assert lines.open_acts() == {first.id: "remove"}


@pytest.mark.parametrize("content", ["", "[]", '{"size": -1}', '{"size": "x", "inode": 1}', '{"size": 1e9}'])
def test_a_note_of_what_is_settled_that_is_none_is_passed_over(run: Path, content: str) -> None:
    entry = remove(run, pair(run, 100))
    lines = Journal(run / ".trash")
    lines.begin("restore", entry.id)
    (run / ".trash" / "settled").write_text(content)
    assert lines.open_acts() == {entry.id: "restore"}


@pytest.mark.parametrize("keep_for_s", [-1.0, float("nan"), float("inf")])
def test_a_waiting_time_that_is_none_is_refused(run: Path, keep_for_s: float) -> None:
    with pytest.raises(UsageError, match="keep_for_s"):
        remove(run, pair(run, 100), keep_for_s=keep_for_s)


def test_links_and_strangers_are_refused(run: Path, tmp_path: Path) -> None:
    before = snapshot(run)
    link = run / "checkpoints" / "latest.pt"
    link.symlink_to("step-000200.pt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.pt").write_bytes(b"x")
    (run / "linked").symlink_to(elsewhere)
    os.mkfifo(run / "pipe")
    refusals: list[tuple[Path, type[Exception], str]] = [
        (link, OperationError, "is a symbolic link"),
        (run / "linked" / "model.pt", OperationError, "cannot be removed"),
        (run / "pipe", OperationError, "neither a file nor a directory"),
        (elsewhere / "model.pt", UsageError, "is not below"),
        (run / ".." / "elsewhere" / "model.pt", UsageError, "is not below"),
        (run, UsageError, "is not below"),
        (run / ".trash", UsageError, "cannot be removed into the trash"),
        (run / ".trash" / "journal.jsonl", UsageError, "cannot be removed into the trash"),
    ]
    for path, kind, text in refusals:
        with pytest.raises(kind, match=text):
            remove(run, [*pair(run, 100), path])
    assert snapshot(run).keys() - {"checkpoints/latest.pt"} == before.keys()
    assert (elsewhere / "model.pt").exists()
    assert not (run / ".trash").exists()


def test_a_trash_that_is_a_link_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (run / ".trash").symlink_to(tmp_path / "other")
    with pytest.raises(OperationError, match="cannot be used"):
        remove(run, pair(run, 100))
    assert list((tmp_path / "other").iterdir()) == []
    assert pair(run, 100)[0].exists()


def test_a_restore_through_a_link_is_refused(run: Path, tmp_path: Path) -> None:
    entry = remove(run, [*pair(run, 100), *pair(run, 200)])
    (run / "checkpoints").rmdir()
    (run / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(OperationError, match="was not restored"):
        trash_of(run).restore(entry.id)
    assert not (tmp_path / "step-000100.pt").exists()
    assert len(trash_of(run).entries()) == 1


def test_a_run_reached_through_a_link_has_the_same_trash(run: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(run.parent)
    alias = tmp_path / "alias" / run.name
    before = snapshot(run)
    entry = Trash(alias / ".trash").remove(pair(run, 100), run="r", checkpoint={}, plan="", reasons=[], keep_for_s=DAY)
    assert not pair(run, 100)[0].exists()
    trash_of(run).restore(entry.id)
    assert snapshot(run) == before


def test_a_moved_run_keeps_its_trash(run: Path) -> None:
    before = snapshot(run)
    entry = remove(run, pair(run, 100))
    moved = run.rename(run.with_name("renamed"))
    (listed,) = trash_of(moved).entries()
    assert listed.path == str(pair(moved, 100)[0])
    trash_of(moved).restore(entry.id)
    assert snapshot(moved) == before


def test_directories_go_and_come_back_whole(run: Path) -> None:
    directory = run / "checkpoints" / "epoch=3"
    (directory / "shards").mkdir(parents=True)
    for number in range(3):
        (directory / "shards" / f"{number}.bin").write_bytes(os.urandom(100))
    os.link(directory / "shards" / "0.bin", directory / "hard")
    before = snapshot(run)
    entry = remove(run, [directory])
    assert entry.bytes == 400
    assert not directory.exists()
    trash_of(run).restore(entry.id)
    assert snapshot(run) == before
    again = remove(run, [directory])
    trash_of(run).purge(again.id)
    assert not any((run / ".trash").glob("*/"))


@pytest.mark.parametrize("name", [b"ck-\xff\xfe.pt", b"a\nb\t.pt", b"-rf", b"x" * 250, "\u202eoops.pt".encode()])
def test_names_of_any_bytes(run: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(run / "checkpoints") + b"/" + name))
    path.write_bytes(b"content")
    entry = remove(run, [path])
    assert not path.exists()
    (listed,) = trash_of(run).entries()
    assert listed.files == (str(path),)
    json.dumps(entry_to_json(listed), allow_nan=False).encode("utf-8")
    assert trash_of(run).restore(entry.id) == [path]
    assert path.read_bytes() == b"content"


def test_values_that_json_cannot_hold_are_kept_under_their_names(run: Path) -> None:
    remove(run, pair(run, 100), checkpoint={"metrics": {"val_loss": float("nan")}})
    (entry,) = trash_of(run).entries()
    assert entry.checkpoint == {"metrics": {"val_loss": "NaN"}}


def test_an_entry_without_its_description_is_read_from_the_journal(run: Path) -> None:
    entry = remove(run, pair(run, 100))
    (run / ".trash" / entry.id / "entry.json").unlink()
    assert trash_of(run).entries() == [entry]
    trash_of(run).restore(entry.id)
    assert pair(run, 100)[0].exists()


def test_lines_and_entries_of_another_version_are_left_alone(run: Path) -> None:
    entry = remove(run, pair(run, 100))
    with open(run / ".trash" / "journal.jsonl", "ab") as stream:
        stream.write(json.dumps({"v": 2, "op": "purge", "id": entry.id}).encode() + b"\n")
        stream.write(b'["not an object"]\n{"v": 1, "op": 3, "id": []}\n{"torn')
    stranger = run / ".trash" / ("f" * 15)
    stranger.mkdir()
    (stranger / "entry.json").write_text(json.dumps({"v": 9, "id": "f" * 15}))
    (stranger / "data").write_text("whatever")
    assert trash_of(run).recover() == []
    assert trash_of(run).entries() == [entry]
    assert (stranger / "data").exists()
    again = remove(run, pair(run, 200))
    assert {found.id for found in trash_of(run).entries()} == {entry.id, again.id}, "a torn line spoils only itself"


def test_a_description_cannot_lead_outside(run: Path, tmp_path: Path) -> None:
    entry = remove(run, pair(run, 100))
    described = run / ".trash" / entry.id / "entry.json"
    raw = json.loads(described.read_text())
    raw["items"][0]["path"] = "../../escaped.json"
    described.write_text(json.dumps(raw))
    assert trash_of(run).entries() == [entry], "the journal's own copy is used instead"
    trash_of(run).restore(entry.id)
    assert not list(tmp_path.glob("escaped*"))


def test_a_file_that_changed_since_it_was_looked_at_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trash = trash_of(run)
    made = trash._moves.make

    def rewritten(entry: TrashEntry) -> None:
        made(entry)
        pair(run, 100)[0].write_bytes(b"rewritten in place")

    monkeypatch.setattr(trash._moves, "make", rewritten)
    with pytest.raises(OperationError, match="has changed since"):
        trash.remove(pair(run, 100), run="r", checkpoint={}, plan="", reasons=[], keep_for_s=DAY)
    assert [path.exists() for path in pair(run, 100)] == [True, True]
    assert trash.entries() == [] and trash.recover() == []
    assert journal(run)[-1]["op"] == "undone"


def test_a_removal_of_nothing_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="at least one file"):
        remove(run, [])


def test_acts_of_two_processes_wait_for_each_other(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = remove(run, pair(run, 100))
    monkeypatch.setattr("ckpt.trash.acts.LOCK_WAIT_S", 0.1)
    with files.FileLock(run / ".trash" / "journal.jsonl"), pytest.raises(LockedError):
        trash_of(run).restore(entry.id)
    assert len(trash_of(run).entries()) == 1
    trash_of(run).restore(entry.id)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; needs the right to mount."""
    target = tmp_path / "small"
    target.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(target)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield target
    subprocess.run(["umount", "-l", str(target)], check=True)


def fill(directory: Path) -> None:
    with open(directory / "ballast", "ab", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while stream.write(b"\0" * size):
                    pass
            except OSError:
                continue


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_still_removes_restores_and_purges(small_disk: Path) -> None:
    run = small_disk / "exp"
    (run / "checkpoints").mkdir(parents=True)
    for step in (100, 200, 300):
        save(run, step)
    first = remove(run, pair(run, 100))
    fill(small_disk)
    before = snapshot(run)
    with pytest.raises(OSError, match="No space left"):
        (run / "probe").write_bytes(b"x" * 5000)
    (run / "probe").unlink()
    second = remove(run, pair(run, 200))
    trash_of(run).restore(second.id)
    assert snapshot(run) == before
    assert trash_of(run).purge(first.id) == first.bytes


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_too_full_for_the_journal_moves_nothing(small_disk: Path) -> None:
    run = small_disk / "exp"
    (run / "checkpoints").mkdir(parents=True)
    save(run, 100)
    before = snapshot(run)
    fill(small_disk)
    with pytest.raises(OperationError, match="No space left") as caught:
        remove(run, pair(run, 100))
    assert caught.value.hint is not None and "free a few KB" in caught.value.hint
    assert snapshot(run) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_file_on_another_file_system_is_never_copied(run: Path, small_disk: Path) -> None:
    mount = run / "checkpoints" / "mounted"
    mount.mkdir()
    subprocess.run(["mount", "--bind", str(small_disk), str(mount)], check=True)
    try:
        (mount / "step.pt").write_bytes(b"x")
        with pytest.raises(OperationError) as caught:
            remove(run, [*pair(run, 100), mount / "step.pt"])
        assert caught.value.hint is not None and "file system" in caught.value.hint
        assert (mount / "step.pt").exists() and pair(run, 100)[0].exists() and pair(run, 100)[1].exists()
        assert trash_of(run).entries() == [] and trash_of(run).recover() == []
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_the_reserve_is_private_and_comes_back(run: Path) -> None:
    entry = remove(run, pair(run, 100))
    reserve = run / ".trash" / "reserve"
    assert stat.S_IMODE(reserve.stat().st_mode) == 0o600
    spares = sorted(path.name for path in reserve.parent.glob("reserve.*"))
    assert spares == [f"reserve.{number}" for number in range(1, 8)]
    reserve.unlink()
    trash_of(run).purge(entry.id)
    assert reserve.stat().st_size == 64 << 10


def test_nothing_is_made_where_a_link_in_place_of_the_trash_leads(run: Path, tmp_path: Path) -> None:
    remove(run, pair(run, 100))
    elsewhere = tmp_path / "elsewhere"
    (run / ".trash").rename(elsewhere)
    (run / ".trash").symlink_to(elsewhere)
    (elsewhere / "journal.jsonl").unlink()
    before = sorted(path.name for path in elsewhere.iterdir())
    trash = trash_of(run)
    assert trash.entries() == [] and trash.recover() == []
    for act in (trash.restore, trash.purge):
        with pytest.raises(AddressError, match="nothing in the trash"):
            act(before[0])
    assert sorted(path.name for path in elsewhere.iterdir()) == before


def half_removed(run: Path) -> TrashEntry:
    """A removal that ended after its first rename: the marker is in the trash, the weights are not."""
    entry = remove(run, pair(run, 100))
    data, _ = pair(run, 100)
    (run / ".trash" / entry.id / "checkpoints" / data.name).rename(data)
    lines = (run / ".trash" / "journal.jsonl").read_text().splitlines(keepends=True)
    (run / ".trash" / "journal.jsonl").write_text("".join(lines[:-1]))
    return entry


def test_a_removal_that_was_interrupted_is_finished_if_nothing_changed(run: Path) -> None:
    before = snapshot(run)
    entry = half_removed(run)
    (said,) = trash_of(run).recover()
    assert said.endswith("the removal was finished")
    assert not any(path.exists() for path in pair(run, 100))
    trash_of(run).restore(entry.id)
    assert snapshot(run) == before


def test_a_removal_that_was_interrupted_is_taken_back_if_the_rest_changed(run: Path) -> None:
    half_removed(run)
    data, marker = pair(run, 100)
    os.utime(data)
    (said,) = trash_of(run).recover()
    assert "had changed meanwhile, and the removal was taken back" in said
    assert data.exists() and marker.exists()
    assert trash_of(run).entries() == [] and trash_of(run).recover() == []


def test_a_removal_that_was_interrupted_overwrites_nothing_that_is_new(run: Path) -> None:
    entry = half_removed(run)
    new = save(run, 100, b"new")
    (said,) = trash_of(run).recover()
    assert "other files have its names now" in said
    assert new[0].read_bytes() == b"new" and [found.id for found in trash_of(run).entries()] == [entry.id]
    assert trash_of(run).recover() == []


def test_a_directory_that_cannot_be_tidied_after_a_restore_is_tidied_later(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = remove(run, pair(run, 100))
    trash = trash_of(run)

    def refused(found: TrashEntry) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(trash._moves, "clear", refused)
        assert trash.restore(entry.id) == pair(run, 100)
    assert (run / ".trash" / entry.id).exists()
    assert [line.endswith("the restore was finished") for line in trash.recover()] == [True]
    assert not (run / ".trash" / entry.id).exists() and all(path.exists() for path in pair(run, 100))


PURGE_AS_NOBODY = """
import os, sys
sys.path[:0] = sys.argv[2].split(":")
import fcntl
from pathlib import Path
from ckpt.trash import Trash
os.setgid(65534)
os.setuid(65534)
run = Path(sys.argv[1])
(run / "checkpoint-1" / "inner").mkdir(parents=True)
(run / "checkpoint-1" / "inner" / "a.pt").write_bytes(b"x" * 100)
os.chmod(run / "checkpoint-1" / "inner", 0o500)
trash = Trash(run / ".trash")
entry = trash.remove([run / "checkpoint-1"], run="r", checkpoint={}, plan="", reasons=[], keep_for_s=1.0)
print(trash.purge(entry.id))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="changes the user")
def test_a_purge_empties_directories_that_are_read_only(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    for part in (tmp_path, *tmp_path.parents[:3]):
        if part.stat().st_uid == 0 and part != Path("/tmp"):
            os.chmod(part, part.stat().st_mode | 0o055)
    command = [sys.executable, "-I", "-c", PURGE_AS_NOBODY, str(tmp_path / "run"), ":".join(p for p in sys.path if p)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("100", "")
    assert not list((tmp_path / "run").rglob("*.pt"))
