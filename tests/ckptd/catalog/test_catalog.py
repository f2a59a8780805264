from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckpt import scan
from ckpt.exceptions import DaemonError
from ckpt.records import Checkpoint, Run
from ckpt.retention import Policy, plan
from ckpt.scan import RunView, Wishes
from ckptd.catalog.catalog import ASIDE_MAX, LAZY_S, REST_MAX_S, Catalog
from ckptd.catalog.documents import SCHEMA
from ckptd.catalog.sameness import same
from ckptd.process import lifecycle


def view(path: str = "/x/exp", *, run: str = "a" * 32, **fields: Any) -> RunView:
    checkpoints = [
        Checkpoint(
            id=f"{step:012x}",
            run=run,
            path=f"{path}/checkpoints/step-{step}.pt",
            files=(f"{path}/checkpoints/step-{step}.pt",),
            seq=step,
            step=step,
            loss=loss,
            metrics={"acc": loss},
        )
        for step, loss in ((1, math.nan), (2, 0.5), (3, math.inf))
    ]
    return RunView(
        run=Run(id=run, name="exp", root="/x", path=path, own=True, **fields),
        checkpoints=tuple(checkpoints),
        plan=plan(checkpoints, Policy(keep_last=1), 0.0),
        wishes=Wishes(own={"keep_last": 1}),
    )


def test_a_restart_knows_everything_bit_for_bit(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    catalog.load()
    odd = view("/x/caf\udce9")
    catalog.put(odd)
    assert catalog.flush() == 1
    again = Catalog(tmp_path / "catalog")
    assert again.load() == []
    found = again.at("/x/caf\udce9")
    assert found is not None
    assert same(found, odd)
    assert found.plan.remove == odd.plan.remove or repr(found.plan.remove) == repr(odd.plan.remove)
    assert len(found.plan.remove) == 1


def test_files_are_plain_json_under_the_rules_of_the_disk(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.flush()
    text = (tmp_path / f"{'a' * 32}.json").read_text("utf-8")
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the file"))
    assert document["runs"]["1"]["schema"] == SCHEMA
    assert '"NaN"' in text
    assert '"Infinity"' in text


def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    assert catalog.flush() == 1
    catalog.put(view())
    assert catalog.flush() == 0
    catalog.put(view(status="failed"))
    assert catalog.flush() == 1


def test_a_damaged_file_is_moved_aside_and_the_others_are_read(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.put(view("/x/other", run="b" * 32))
    catalog.flush()
    broken = tmp_path / f"{'a' * 32}.json"
    broken.write_bytes(broken.read_bytes()[:100])
    again = Catalog(tmp_path)
    assert again.load() == [broken.name]
    assert [v.run.path for v in again.all()] == ["/x/other"]
    assert not broken.exists()
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


SHAPES: list[dict[str, Any]] = [
    {"view": {}},
    {"schema": "2"},
    {"schema": SCHEMA, "written": 0.0, "version": "", "signature": None, "run": {"id": 3}, "policy": {}},
    {"schema": SCHEMA, "run": None, "policy": None, "checkpoints": None},
]


@pytest.mark.parametrize("document", [*SHAPES, [], 3, None])
def test_another_shape_is_moved_aside_too(tmp_path: Path, document: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"runs": {"1": document}}))
    assert Catalog(tmp_path).load() == ["x.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoints": [{"id": "a", "run": "a" * 32}]},
        {"checkpoints": [{"id": "a", "run": "b" * 32, "path": "/x"}]},
        {"wishes": {"own": {"keep_last": 0}}},
        {"wishes": {"own": {"keep_lots": 1}}},
        {"wishes": {"own": 3}},
        {"run": {"id": "c" * 32, "name": "", "root": "", "path": "/x", "own": True}},
        {"written": None},
    ],
)
def test_a_document_that_contradicts_itself_or_its_name_is_moved_aside(tmp_path: Path, change: dict[str, Any]) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.flush()
    path = tmp_path / f"{'a' * 32}.json"
    tables = json.loads(path.read_text("utf-8"))
    tables["runs"]["1"].update(change)
    path.write_text(json.dumps(tables))
    again = Catalog(tmp_path)
    assert again.load() == [path.name]
    assert again.all() == []


def test_an_older_schema_is_thrown_away_without_a_word_to_the_user(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"runs": {"1": {"schema": SCHEMA - 1, "view": {}}}}))
    assert Catalog(tmp_path).load() == []
    assert list(tmp_path.iterdir()) == []


def test_of_two_documents_for_one_directory_the_later_counts_and_the_other_goes(tmp_path: Path) -> None:
    for run in ("b" * 32, "a" * 32):
        one = Catalog(tmp_path)
        one.put(view(run=run))
        one.flush()
    catalog = Catalog(tmp_path)
    assert catalog.load() == []
    assert [v.run.id for v in catalog.all()] == ["a" * 32]
    catalog.flush()
    assert [p.name for p in tmp_path.iterdir()] == [f"{'a' * 32}.json"]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"runs": {"1": {"schema": SCHEMA + 1, "view": {}}}}))
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "a-old.json").write_text(json.dumps({"runs": {"1": {"schema": SCHEMA - 1}}}))
    with pytest.raises(DaemonError, match="newer ckptd") as caught:
        Catalog(tmp_path).load()
    assert "ckptd rebuild" in str(caught.value.hint)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-old.json", "torn.json", "x.json"]


def test_a_forgotten_run_leaves_no_file(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.flush()
    catalog.remove("a" * 32)
    catalog.flush()
    assert list(tmp_path.iterdir()) == []
    assert catalog.at("/x/exp") is None


def test_a_copied_run_gets_an_id_of_its_own_and_keeps_it(tmp_path: Path, runs: Any) -> None:
    first = runs.run("exp1", checkpoints=2)
    shutil.copytree(first, tmp_path / "runs" / "copy")
    catalog = Catalog(None)
    _, original = catalog.put(scan.read_run(first))
    _, copy = catalog.put(scan.read_run(tmp_path / "runs" / "copy"))
    _, once_more = catalog.put(scan.read_run(tmp_path / "runs" / "copy"))
    assert copy.run.id != original.run.id
    assert once_more.run.id == copy.run.id
    assert "a copy" in copy.run.problems[0]
    assert {c.run for c in copy.checkpoints} == {copy.run.id} == {d.checkpoint.run for d in copy.plan.keep}
    assert len(catalog.all()) == 2


def test_a_moved_run_keeps_its_id(tmp_path: Path, runs: Any) -> None:
    first = runs.run("exp1", checkpoints=1)
    catalog = Catalog(None)
    _, before = catalog.put(scan.read_run(first))
    first.rename(tmp_path / "runs" / "moved")
    _, after = catalog.put(scan.read_run(tmp_path / "runs" / "moved"))
    assert after.run.id == before.run.id
    assert [v.run.path for v in catalog.all()] == [str(tmp_path / "runs" / "moved")]


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_signature_is_known_after_a_restart_and_goes_with_its_run(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view(), "seen")
    catalog.put(view("/x/other", run="b" * 32))
    assert (catalog.signature("/x/exp"), catalog.signature("/x/other"), catalog.signature("/y")) == ("seen", None, None)
    catalog.flush()
    again = Catalog(tmp_path)
    again.load()
    assert (again.signature("/x/exp"), again.signature("/x/other")) == ("seen", None)
    again.put(view())
    assert again.signature("/x/exp") is None
    again.put(view(), "later")
    again.remove("a" * 32)
    assert again.signature("/x/exp") is None


def test_a_signature_of_another_version_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view(), "seen")
    catalog.flush()
    monkeypatch.setattr(lifecycle, "version", lambda: "0.0.0+other")
    again = Catalog(tmp_path)
    assert again.load() == []
    assert again.at("/x/exp") is not None
    assert again.signature("/x/exp") is None


def test_what_a_training_changes_all_the_time_is_written_late_or_at_the_end(tmp_path: Path) -> None:
    clock = Clock()
    catalog = Catalog(tmp_path, clock=clock)
    catalog.put(view(), "first")
    assert catalog.flush(due=True) == 1
    catalog.put(view(), "second")
    catalog.put(view(updated_at=7.0, step=9), "third")
    assert catalog.waiting == 0
    assert catalog.flush(due=True) == 0
    clock.now += LAZY_S
    assert catalog.flush(due=True) == 1
    catalog.put(view(updated_at=8.0), "fourth")
    assert catalog.flush() == 1
    again = Catalog(tmp_path)
    again.load()
    assert again.signature("/x/exp") == "fourth"
    assert again.all()[0].run.updated_at == 8.0


def test_after_a_write_a_run_rests_and_the_end_writes_everything(tmp_path: Path) -> None:
    clock = Clock()
    catalog = Catalog(tmp_path, clock=clock)
    catalog.put(view())
    catalog.flush(due=True)
    catalog.put(view(status="failed"))
    assert catalog.waiting == catalog.flush(due=True) == 0
    clock.now += REST_MAX_S
    assert catalog.waiting == catalog.flush(due=True) == 1
    catalog.put(view())
    assert catalog.flush() == 1


FULL = """
import resource, signal, sys
from pathlib import Path
from ckpt import scan
from ckptd.catalog.catalog import RETRY_S, Catalog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
now = [0.0]
catalog = Catalog(Path(sys.argv[1]), clock=lambda: now[0])
for run in sys.argv[2:]:
    catalog.put(scan.read_run(Path(run)))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    catalog.flush(due=True)
except OSError:
    print("full", len(list(Path(sys.argv[1]).iterdir())), catalog.waiting)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
now[0] += RETRY_S
print(catalog.waiting, catalog.flush(due=True), catalog.flush())
"""


def test_a_disk_that_is_full_loses_nothing_and_the_write_is_tried_again(tmp_path: Path, runs: Any) -> None:
    paths = [str(runs.run(f"exp{number}", checkpoints=1)) for number in range(2)]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "catalog"), *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["full", "0", "0", "2", "2", "0"]
    again = Catalog(tmp_path / "catalog")
    again.load()
    assert sorted(v.run.path for v in again.all()) == sorted(paths)


def test_a_directory_that_somebody_removed_is_filled_again(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    catalog.put(view())
    catalog.put(view("/x/other", run="b" * 32))
    catalog.flush()
    shutil.rmtree(tmp_path / "catalog")
    catalog.put(view("/x/third", run="c" * 32))
    assert catalog.flush() == 3
    again = Catalog(tmp_path / "catalog")
    again.load()
    assert len(again.all()) == 3


def test_a_place_that_cannot_hold_files_is_no_reason_to_die(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("in the way")
    catalog = Catalog(tmp_path / "catalog")
    assert catalog.load() == []
    catalog.put(view())
    with pytest.raises(OSError, match="File exists"):
        catalog.flush()
    # It is not tried each second.
    assert catalog.waiting == 0
    (tmp_path / "catalog").unlink()
    assert catalog.flush() == 1


def test_what_a_kill_left_half_written_is_swept_and_few_damaged_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / f".{'a' * 32}.json.{os.getpid()}-0123abcd.tmp").write_text("{")
    for number in range(ASIDE_MAX + 3):
        (tmp_path / f"x.json.corrupt-{1000 + number}").write_text("{")
    Catalog(tmp_path).load()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == [f"x.json.corrupt-{1003 + number}" for number in range(ASIDE_MAX)]


def test_renewing_writes_everything_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text(json.dumps({"runs": {"1": {"schema": SCHEMA + 1}}}))
    (tmp_path / "y.json.corrupt-1").write_text("{")
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.flush()
    (tmp_path / f"{'a' * 32}.json").write_text("{")
    catalog.renew()
    assert [p.name for p in tmp_path.iterdir()] == [f"{'a' * 32}.json"]
    assert Catalog(tmp_path).load() == []


def test_checkpoints_are_found_by_the_beginning_of_their_ids(tmp_path: Path) -> None:
    catalog = Catalog(None)
    catalog.put(view())
    catalog.put(view("/x/other", run="b" * 32, updated_at=5.0))
    found = catalog.named("000000000002")
    assert [(v.run.path, c.step) for v, c in found] == [("/x/other", 2), ("/x/exp", 2)]
    assert [c.step for v, c in catalog.named("0") if v.run.path == "/x/exp"] == [1, 2, 3]
    assert catalog.named("1") == catalog.named("0000000000021") == []
    less = view()
    catalog.put(less.evolve(checkpoints=less.checkpoints[:1]))
    catalog.remove("b" * 32)
    assert [c.step for _, c in catalog.named("0")] == [1]


def test_all_follows_every_change() -> None:
    catalog = Catalog(None)
    catalog.put(view())
    catalog.put(view("/x/other", run="b" * 32, updated_at=5.0))
    assert [v.run.name for v in catalog.all()] == ["exp", "exp"]
    assert [v.run.id[0] for v in catalog.all()] == ["b", "a"]
    catalog.touch("a" * 32, updated_at=9.0)
    assert [v.run.id[0] for v in catalog.all()] == ["a", "b"]
    catalog.all().clear()
    catalog.remove("b" * 32)
    assert [v.run.id[0] for v in catalog.all()] == ["a"]


def test_what_is_no_file_does_not_hold_up_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "aaa.json")
    assert Catalog(tmp_path).load() == ["aaa.json"]
