"""Jobs performed on real disks, with torch and without: a checkpoint that is listed, or nothing."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import formats, paths
from ckpt.files import hash_file, read_json
from ckpt.runs import Run
from ckpt.saving.sending.pickling import pickle_envelope
from ckpt.trash import Trash
from ckpt.writing import finding_room, room
from ckpt.writing.image import CHUNK
from ckpt.writing.jobs import Job, Outcome
from ckpt.writing.layout import Layout, frame, lay_out
from ckpt.writing.performing import commit_staged, perform

torch.set_num_threads(1)

STRACE = shutil.which("strace")


class Bytes:
    """An image that lies whole in memory."""

    def __init__(self, layout: Layout, content: bytes = b"") -> None:
        self.layout = layout
        self.known: Mapping[int, int] = {}
        self.memory = memoryview(mmap.mmap(-1, layout.size))
        self.memory[: len(content)] = content

    def chunks(self) -> Iterator[memoryview]:
        for start in range(0, self.layout.size, CHUNK):
            yield self.memory[start : start + CHUNK]


def image(count: int = 1000, **more: Any) -> Bytes:
    """A checkpoint with `count` numbers."""
    pickled = pickle_envelope({"weights": {"w": torch.arange(float(count))}, **more})
    layout = lay_out("archive", len(pickled.data), [storage.nbytes() for storage in pickled.storages])
    made = Bytes(layout)
    for offset, data in frame(layout, pickled.data):
        made.memory[offset : offset + len(data)] = data
    for member, storage in zip(layout.members[layout.first_storage :], pickled.storages, strict=False):
        made.memory[member.offset : member.offset + member.size] = memoryview(
            torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        )
    return made


def marker(run: Path, step: int, **more: Any) -> dict[str, Any]:
    said = {"run": read_json(run / "run.json")["id"], "seq": step, "attempt": 1, "step": step, "epoch": 0.0}
    return {**said, "saved_at": time.time(), "loss": 1.0 / step, "metrics": {}, "label": "regular", **more}


def job(run: Path, step: int = 1, **more: Any) -> Job:
    options = {"number": step, "stem": f"step-{step:06d}", "marker": marker(run, step), **more}
    return Job(run=os.fsencode(run), **options)


def listed(run: Path) -> list[str]:
    assert {c.state for c in Run.open(run).checkpoints()} <= {"complete"}
    return sorted(Path(c.path).name for c in Run.open(run).checkpoints())


def names(run: Path) -> set[str]:
    return set(os.listdir(run / "checkpoints")) - {"latest.pt", "best.pt"}


def failure(outcome: Outcome) -> str:
    assert outcome.failure is not None and outcome.path is None and outcome.record is None
    return f"{outcome.failure.kind}: {outcome.failure.message}\n{outcome.failure.hint}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    Run.create("exp", tmp_path).close()
    return tmp_path / "exp"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A run on a disk of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("this machine does not let us mount")
    try:
        Run.create("exp", place).close()
        yield place / "exp"
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("count", [10, 1_000_000, 5_000_000])
def test_a_job_becomes_a_checkpoint(run: Path, count: int) -> None:
    made = image(count)
    outcome = perform(job(run), made)
    path = run / "checkpoints" / "step-000001.pt"
    assert outcome.failure is None and outcome.told == () and outcome.path == os.fsencode(path)
    assert path.read_bytes() == made.memory  # sealed in place
    assert torch.equal(torch.load(path, weights_only=True)["weights"]["w"], torch.arange(float(count)))
    said = read_json(path.with_suffix(".json"))
    assert said == outcome.marker
    assert said["bytes"] == made.layout.size and said["hash"] == f"blake3:{hash_file(path)}"
    assert said["fingerprint"] == formats.inspect(path).fingerprint
    assert len(outcome.crcs) == len(made.layout.members) and outcome.written_s > 0
    found = Run.open(run).checkpoint("latest")
    assert outcome.record is not None and outcome.record["id"] == found.id == said["id"]
    assert (run / "checkpoints" / "latest.pt").resolve() == path


def test_policy_pointers_and_trash_are_kept_behind_the_save(run: Path) -> None:
    Run.open(run).update(policy={"keep_last": 2})
    outcomes = [perform(job(run, step), image()) for step in range(1, 6)]
    assert listed(run) == ["step-000004.pt", "step-000005.pt"]
    assert os.readlink(run / "checkpoints" / "latest.pt") == "step-000005.pt"
    assert os.readlink(run / "checkpoints" / "best.pt") == "step-000005.pt"
    assert len(Trash(paths.RunPaths(run).trash).entries()) == 3
    assert not any(outcome.told for outcome in outcomes)


def test_what_upkeep_cannot_do_is_told_and_the_checkpoint_is_saved(run: Path) -> None:
    Run.open(run).update(policy={"keep_last": 1})
    perform(job(run, 1), image())
    (run / ".trash").write_text("in the way")
    outcome = perform(job(run, 2), image())
    assert outcome.failure is None and "could not be removed" in "".join(outcome.told)
    assert listed(run) == ["step-000001.pt", "step-000002.pt"]


def test_a_trash_that_cannot_be_read_is_told(run: Path) -> None:
    (run / ".trash").mkdir()
    (run / ".trash" / "journal.jsonl").mkdir()
    outcome = perform(job(run, 1), image())
    assert outcome.failure is None and outcome.record is not None
    assert listed(run) == ["step-000001.pt"]


def test_what_the_rules_leave_over_is_told_once_an_attempt(run: Path) -> None:
    for step in range(1, 11):
        perform(job(run, step), image())
    Run.open(run).update(policy={"keep_lst": 1})
    told = [perform(job(run, step), image()).told for step in (11, 12)]
    assert "nothing of run exp is removed" in told[0][0] and told[1] == ()
    other = job(run, 13, marker=marker(run, 13, attempt=2))
    assert "nothing of run exp is removed" in perform(other, image()).told[0]


def test_a_name_that_is_taken_or_waits_in_the_trash_gets_a_suffix(run: Path) -> None:
    first = perform(job(run, 1), image())
    assert Path(os.fsdecode(perform(job(run, 1), image(5)).path or b"")).name == "step-000001-2.pt"
    found = Run.open(run).checkpoint(first.record and first.record["id"])
    trash = Trash(paths.RunPaths(run).trash)
    trash.remove([Path(f) for f in found.files], run=found.run, checkpoint={}, plan="", reasons=(), keep_for_s=60)
    assert Path(os.fsdecode(perform(job(run, 1), image(7)).path or b"")).name == "step-000001-3.pt"
    taken = job(run, 1, taken=("step-000001-4.pt",))
    assert Path(os.fsdecode(perform(taken, image(7)).path or b"")).name == "step-000001-5.pt"


def test_a_staged_file_is_listed_later_or_never(run: Path) -> None:
    todo = job(run, 1, commit=False)
    outcome = perform(todo, image())
    assert outcome.staged is not None and outcome.path is None and outcome.crcs and listed(run) == []
    done = commit_staged(todo, outcome.staged)
    assert done.failure is None and listed(run) == ["step-000001.pt"]
    assert names(run) == {"step-000001.pt", "step-000001.json"}


def test_a_staged_file_that_cannot_be_listed_is_gone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = job(run, 1, commit=False)
    outcome = perform(todo, image())
    assert outcome.staged is not None
    os.unlink(outcome.staged.path)
    done = commit_staged(todo, outcome.staged)
    assert failure(done).startswith("failed: step-000001 could not be saved: No such file or directory")
    assert names(run) == set()


# Again, after a writer died


def test_what_was_committed_before_the_writer_died_is_not_written_again(run: Path) -> None:
    todo = job(run, 3)
    first = perform(todo, image())
    again = perform(todo, image())
    assert (again.path, again.marker, again.failure) == (first.path, first.marker, None)
    assert again.record == first.record
    assert names(run) == {"step-000003.pt", "step-000003.json"}
    perform(job(run, 3), image())  # another save of the same step
    assert perform(todo, image()).path == first.path
    assert len(listed(run)) == 2


def test_a_file_that_was_left_without_its_marker_is_taken_up(run: Path) -> None:
    todo = job(run, 3)
    perform(todo, image())
    (run / "checkpoints" / "step-000003.json").unlink()
    again = perform(todo, image())
    assert os.path.basename(again.path or b"") == b"step-000003.pt"
    assert listed(run) == ["step-000003.pt"]
    (run / "checkpoints" / "step-000003.json").unlink()
    other = perform(job(run, 3), image(77))
    assert os.path.basename(other.path or b"") == b"step-000003-2.pt"
    assert (run / "checkpoints" / "step-000003.pt").exists()


def test_what_a_dead_writer_left_half_written_goes(run: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    left = run / "checkpoints" / f".step-000001.pt.{dead.pid}-0123abcd.tmp"
    left.write_bytes(b"half")
    mine = run / "checkpoints" / f".step-000001.pt.{os.getpid()}-0123abcd.tmp"
    mine.write_bytes(b"another thread writes this")
    perform(job(run), image())
    assert not left.exists() and mine.exists()


# Failures


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_an_interrupt_passes_and_leaves_nothing(run: Path, error: BaseException, chunks: int) -> None:
    made = image(7_000_000)
    honest = list(made.chunks())

    class Interrupted:
        layout, known = made.layout, made.known

        def chunks(self) -> Iterator[memoryview]:
            yield from honest[:chunks]
            raise error

    with pytest.raises(type(error)):
        perform(job(run), Interrupted())
    assert names(run) == set()
    assert perform(job(run), made).failure is None


def test_memory_that_is_no_checkpoint_is_not_published(run: Path) -> None:
    broken = image(1000)
    broken.memory[: broken.layout.members[0].offset] = bytes(broken.layout.members[0].offset)
    assert "step-000001 was not written as it should be" in failure(perform(job(run), broken))
    assert names(run) == set()


@pytest.mark.parametrize("member", [0, 1, 2, 4, -2])
def test_a_header_that_is_torn_is_not_published(run: Path, member: int) -> None:
    torn = image(1_000_000)
    at = torn.layout.members[member].header
    torn.memory[at + 8] ^= 1  # how the record is packed: readers go by the directory, mostly
    assert "step-000001 was not written as it should be" in failure(perform(job(run), torn))
    assert names(run) == set()


def test_an_image_that_ends_early_is_not_published(run: Path) -> None:
    made = image(5_000_000)

    class Short:
        layout, known = made.layout, made.known

        def chunks(self) -> Iterator[memoryview]:
            yield from list(made.chunks())[:-1]

    assert failure(perform(job(run), Short())).startswith("failed: step-000001 could not be saved: ")
    assert names(run) == set()


def test_a_run_that_is_gone_is_a_failure(run: Path) -> None:
    todo = job(run)
    shutil.rmtree(run)
    assert failure(perform(todo, image())).startswith(
        "failed: step-000001 could not be saved: No such file or directory"
    )
    assert not run.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving up rights needs root")
def test_a_directory_of_somebody_else_is_a_failure(run: Path) -> None:
    todo = job(run)
    (run / "checkpoints").chmod(0o555)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.seteuid(65534)
            told = perform(todo, image()).failure
            code = 0 if told is not None and "Permission denied" in told.message else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert names(run) == set()


# Full disks


LARGE = 3_000_000  # numbers: 12 MB


def test_a_disk_that_will_be_full_is_told_before_a_byte_is_written(small_disk: Path) -> None:
    assert perform(job(small_disk, 1), image()).failure is None
    outcome = perform(job(small_disk, 2), image(LARGE))
    assert outcome.failure is not None and outcome.failure.kind == "full" and outcome.failure.errno == 28
    told = failure(outcome)
    assert told.startswith("full: step-000002 could not be saved: No space left on device; it needs 12.1")
    for word in ("is free in", "ckpt du", "ckpt prune exp", "ckpt trash purge exp", "when_disk_full", "untouched"):
        assert word in told
    assert outcome.written_s == 0 and listed(small_disk) == ["step-000001.pt"]
    assert perform(job(small_disk, 3), image()).failure is None


def test_a_disk_that_turns_out_to_be_full_is_told_alike(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_free", lambda directory: None)  # as where nobody says what is free
    outcome = perform(job(small_disk, 2), image(LARGE))
    assert "full: step-000002 could not be saved: No space left on device; it needs" in failure(outcome)
    assert names(small_disk) == set()
    assert perform(job(small_disk, 3), image()).failure is None


def test_a_save_may_be_skipped_when_the_disk_is_full(small_disk: Path) -> None:
    outcome = perform(job(small_disk, 2, when_full="skip"), image(LARGE))
    assert failure(outcome).startswith("skipped: step-000002 was skipped: No space left on device; it needs")
    assert names(small_disk) == set()


@pytest.mark.parametrize("is_forecast", [True, False])
def test_a_save_may_wait_until_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, is_forecast: bool
) -> None:
    if not is_forecast:
        monkeypatch.setattr(room, "_free", lambda directory: None)
    monkeypatch.setattr(finding_room, "_POLL_S", 0.02)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    waiting, told, outcomes = threading.Event(), [], []

    def tell(text: str) -> None:
        told.append(text)
        waiting.set()

    todo = job(small_disk, 2, when_full="wait", full_wait_s=300.0)
    saving = threading.Thread(target=lambda: outcomes.append(perform(todo, image(1_500_000), tell)))
    saving.start()
    assert waiting.wait(60)
    assert listed(small_disk) == []
    ballast.unlink()
    saving.join(60)
    assert listed(small_disk) == ["step-000002.pt"]
    assert outcomes[0].failure is None and outcomes[0].told == ()  # told already
    assert len(told) == 1 and "step-000002 waits up to 5 minutes for room on the disk; it needs 6.1" in told[0]


def test_a_wait_for_room_has_an_end(small_disk: Path) -> None:
    outcome = perform(job(small_disk, 2, when_full="wait", full_wait_s=0.1), image(LARGE))
    assert "full: step-000002 could not be saved: No space left on device after 0.1 seconds; it" in failure(outcome)
    assert len(outcome.told) == 1


def test_a_wait_for_room_ends_with_the_training(small_disk: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as training:
        pass
    todo = job(small_disk, 2, when_full="wait", full_wait_s=3600.0, trainer=training.pid)
    assert "No space left on device" in failure(perform(todo, image(LARGE)))


# Without torch, and with faults of the system


PERFORMER = """
import json, mmap, sys
import msgspec
from ckpt.writing.image import CHUNK
from ckpt.writing.jobs import Job
from ckpt.writing.layout import Layout
from ckpt.writing.performing import perform

class Bytes:
    def __init__(self, layout, content):
        self.layout, self.known = layout, {}
        self.memory = memoryview(mmap.mmap(-1, layout.size))
        self.memory[:] = content

    def chunks(self):
        for start in range(0, self.layout.size, CHUNK):
            yield self.memory[start : start + CHUNK]

where, jobs = sys.argv[1], sys.argv[2:]
with open(where, "rb") as stream:
    content = stream.read()
with open(where + ".layout", "rb") as stream:
    image = Bytes(msgspec.json.decode(stream.read(), type=Layout), content)
for text in jobs:
    outcome = perform(msgspec.json.decode(text, type=Job), image)
    print(msgspec.json.encode(outcome).decode(), flush=True)
print(json.dumps([name for name in ("torch", "numpy") if name in sys.modules]), flush=True)
"""


def performed(made: Bytes, todo: list[Job], *wrap: str) -> list[Any]:
    """The outcomes of jobs in a process of its own, and which heavy libraries that has imported."""
    import msgspec

    run = Path(os.fsdecode(todo[0].run))
    where = run.parent / "image"
    where.write_bytes(made.memory)
    Path(f"{where}.layout").write_bytes(msgspec.json.encode(made.layout))
    texts = [msgspec.json.encode(item).decode() for item in todo]
    done = subprocess.run(
        [*wrap, sys.executable, "-c", PERFORMER, str(where), *texts], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_writer_needs_neither_torch_nor_numpy(run: Path) -> None:
    Run.open(run).update(policy={"keep_last": 1})
    *outcomes, heavy = performed(image(3_000_000), [job(run, 1), job(run, 2)])
    assert heavy == []
    assert [outcome["failure"] for outcome in outcomes] == [None, None]
    assert listed(run) == ["step-000002.pt"]


def traces() -> bool:
    return STRACE is not None and not subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True).returncode


FAULTS = [
    ("pwrite64:error=EIO:when=1", "failed", "Input/output error"),
    ("pwrite64:error=EIO:when=2", "failed", "Input/output error"),
    ("pwrite64:error=ENOSPC:when=2", "full", "No space left on device"),
    ("pwrite64:error=EDQUOT:when=1", "full", "Disk quota exceeded"),
    ("pwrite64:retval=4096:when=1", "failed", "was not written as it should be"),  # it says so, and wrote nothing
    ("ftruncate:error=EIO:when=1", "failed", "Input/output error"),
    ("fsync:error=EIO:when=1", "failed", "Input/output error"),
    ("fsync:error=EIO:when=2", "failed", "Input/output error"),
    ("fsync:error=ENOSPC:when=3", "full", "No space left on device"),
    ("fsync:error=EIO:when=4", "failed", "Input/output error"),
    ("link,rename:error=EIO:when=1", "failed", "Input/output error"),
]


@pytest.mark.skipif(not traces(), reason="strace is not there, or may not trace here")
@pytest.mark.parametrize(("fault", "kind", "text"), FAULTS, ids=[fault for fault, _, _ in FAULTS])
def test_a_fault_of_the_system_lists_nothing_and_the_next_save_works(
    run: Path, fault: str, kind: str, text: str
) -> None:
    """The fault comes once; what is written afterwards, of the same memory, is whole."""
    # One chunk, so that one thread makes all calls: strace counts them by thread.
    inject = ["-f", "-o", os.devnull, "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}"]
    first, second, _ = performed(image(1_000_000), [job(run, 1), job(run, 2)], str(STRACE), *inject)
    assert first["failure"]["kind"] == kind and text in first["failure"]["message"]
    assert second["failure"] is None
    assert listed(run) == ["step-000002.pt"]
    assert names(run) == {"step-000002.pt", "step-000002.json"}
